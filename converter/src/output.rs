//! Files that are whole or not there: written beside their place, then renamed.

use anyhow::{Context, Result, bail};
use coda_runtime::format::MAGIC;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::NamedTempFile;

/// The temporary file of a write under way, removed if the program is interrupted.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Exit status after an interrupt, as shells expect.
const INTERRUPTED: i32 = 130;

/// Writes `bytes` to `path`: all of them, or nothing at all. Through a symbolic link its target is
/// written; a file that is there already keeps its permissions.
///
/// # Errors
/// What [`file_for`] refuses, and any error of creating, writing, syncing or renaming; then `path` is
/// as it was.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let place = file_for(path)?;
    let mut file = temporary_file(folder_of(&place))?;
    set_unfinished(Some(file.path().to_owned()));
    let kept = place.metadata().map_or(Ok(()), |old| keep(file.as_file(), &old));
    let written = kept.and_then(|()| file.write_all(bytes));
    let synced = written.and_then(|()| file.as_file().sync_all());
    let persisted = synced.and_then(|()| match file.persist(&place) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.error),
    });
    set_unfinished(None);
    persisted
}

/// The file that is written for `path`: behind every symbolic link.
///
/// # Errors
/// There cannot be such a file: `-` (standard output), a directory, a device, a missing parent, a file
/// that may not be written.
pub fn file_for(path: &Path) -> io::Result<PathBuf> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if path == Path::new("-") {
        return refused(
            "files do not go to standard output: give a name, or ./- for this one".into(),
        );
    }
    let place = behind_links(path)?;
    match place.metadata() {
        Ok(found) if found.is_dir() => refused("it is a directory: give the name of a file".into()),
        Ok(found) if !found.is_file() => refused("it is not a regular file".into()),
        Ok(found) if found.permissions().readonly() => refused("it is read-only".into()),
        Err(_) if !folder_of(&place).is_dir() => {
            refused(format!("there is no directory {}", folder_of(&place).display()))
        }
        _ => Ok(place),
    }
}

/// Refuses an output that would overwrite what is read: an input, or a file of an input directory
/// that is no package.
///
/// # Errors
/// The output is an input, or [`file_for`] refuses it.
pub fn check_output(output: &Path, inputs: &[&Path]) -> Result<()> {
    let cannot = || format!("cannot write {}", output.display());
    let place = file_for(output).with_context(cannot)?;
    let Some(own) = identity(&place) else { return Ok(()) };
    for input in inputs {
        let overwritten = files_of(input, 2).into_iter().find(|file| identity(file) == Some(own));
        if let Some(file) = overwritten.filter(|_| !input.is_dir() || !is_package(&place)) {
            bail!("cannot write {}: it is an input ({})", output.display(), file.display());
        }
    }
    Ok(())
}

/// What two names of one file have in common.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// What two names of one file have in common; hard links are not seen.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

/// A file itself; of a directory the files in it, `depth` levels of directories down.
fn files_of(path: &Path, depth: usize) -> Vec<PathBuf> {
    let entries = if depth > 0 { path.read_dir().ok() } else { None };
    let Some(entries) = entries else { return vec![path.to_owned()] };
    entries.flatten().flat_map(|entry| files_of(&entry.path(), depth - 1)).collect()
}

fn is_package(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// The directory of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Follows symbolic links, also to a file that is not there yet.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    const MOST: usize = 40;
    let mut place = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = place.read_link() else { return Ok(place) };
        place = folder_of(&place).join(target);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "its symbolic links lead in a circle"))
}

/// Gives a new file the permissions of the old one and, where that is allowed, its owner.
fn keep(new: &File, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Only root may give files away; without it the file is the caller's, as a new one is.
        let _ = fchown(new, Some(old.uid()), Some(old.gid()));
    }
    new.set_permissions(old.permissions())
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
        crate::warn!("\ninterrupted: nothing was left half-written");
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
    fn what_is_no_place_for_a_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let refusal = |path: &Path| file_for(path).unwrap_err().to_string();
        assert!(refusal(&missing.join("out")).contains(missing.to_str().unwrap()));
        assert!(refusal(directory.path()).contains("directory"));
        assert!(refusal(Path::new("-")).contains("standard output"));
        assert!(refusal(Path::new("/dev/null")).contains("regular"));
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        std::os::unix::fs::symlink(&one, &other).unwrap();
        std::os::unix::fs::symlink(&other, &one).unwrap();
        assert!(refusal(&one).contains("circle"));
    }

    #[test]
    fn a_link_to_a_new_file_makes_it_and_an_old_one_keeps_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let (link, real) = (directory.path().join("link"), directory.path().join("real"));
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_whole(&link, b"new").unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&real, mode(0o640)).unwrap();
        write_whole(&link, b"newer").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"newer");
        assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        std::fs::set_permissions(&real, mode(0o440)).unwrap();
        assert!(write_whole(&link, b"newest").unwrap_err().to_string().contains("read-only"));
        assert_eq!(std::fs::read(&real).unwrap(), b"newer");
    }

    #[test]
    fn no_input_is_overwritten_but_a_package_beside_inputs_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("part")).unwrap();
        for (name, content) in [("in", &b"x"[..]), ("part/config", b"x"), ("old.coda", &MAGIC)] {
            std::fs::write(path(name), content).unwrap();
        }
        std::fs::hard_link(path("in"), path("part/same")).unwrap();
        let check = |output: &str, input: &Path| check_output(&path(output), &[input]).is_ok();
        assert!(check("new", directory.path()) && check("old.coda", directory.path()));
        assert!(!check("in", directory.path()) && !check("part/config", directory.path()));
        assert!(!check("part/same", &path("in")) && !check("old.coda", &path("old.coda")));
        assert!(check("part/config", &path("in")));
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
