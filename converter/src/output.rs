//! Files that are whole or not there: written beside their place, then renamed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::NamedTempFile;

/// The temporary file of a write under way, removed if the program is interrupted.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Exit status after an interrupt, as shells expect.
const INTERRUPTED: i32 = 130;

/// Writes `bytes` to `path`: all of them, or nothing at all.
///
/// # Errors
/// Any error of creating, writing, syncing or renaming; then `path` is as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match path.metadata() {
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        _ => {}
    }
    let mut file = temporary_file(directory)?;
    set_unfinished(Some(file.path().to_owned()));
    let written = file.write_all(bytes).and_then(|()| file.as_file().sync_all());
    let persisted = written.and_then(|()| match file.persist(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.error),
    });
    set_unfinished(None);
    persisted
}

/// A temporary file with the permissions that a new file has.
fn temporary_file(directory: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".coda-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

fn set_unfinished(path: Option<PathBuf>) {
    if let Ok(mut unfinished) = UNFINISHED.lock() {
        *unfinished = path;
    }
}

/// On Ctrl-C removes an unfinished file and ends the program with status 130.
///
/// # Errors
/// The handler could not be installed.
pub fn clean_up_on_interrupt() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if let Ok(Some(path)) = UNFINISHED.lock().as_deref() {
            // Nothing more can be done about a file that cannot be removed.
            drop(std::fs::remove_file(path));
        }
        eprintln!("\ninterrupted: nothing was left half-written");
        std::process::exit(INTERRUPTED);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing").join("out");
        assert!(write_whole(&missing, b"x").is_err());
        assert!(write_whole(directory.path(), b"x").is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_write_replaces_the_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"2").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
