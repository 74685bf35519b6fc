//! Files as they lie on a disk: read whole, or why not.

use super::error::SourceError;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// How files begin that stand where a JSON or safetensors file should, and what they are.
const STAND_INS: [(&[u8], &str); 7] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself: run `git lfs pull` in its directory",
    ),
    (b"<!DOCTYPE", "a web page: download the file itself"),
    (b"<!doctype", "a web page: download the file itself"),
    (b"<html", "a web page: download the file itself"),
    (b"PK\x03\x04", "a PyTorch file under another name: save the model as safetensors"),
    (b"\x80\x02", "a PyTorch file under another name: save the model as safetensors"),
    (b"GGUF", "a GGUF file under another name: save the model as safetensors"),
];

/// The largest file of text that is read: the tokenizers of a million tokens have some 30 MiB.
pub(super) const LARGEST_TEXT: u64 = 256 << 20;

/// The bytes of a file of text: JSON, or a vocabulary. A larger one than any of these is refused before it is
/// read.
pub(super) fn read_text(path: &Path) -> Result<Vec<u8>, SourceError> {
    text_below(path, LARGEST_TEXT)
}

fn text_below(path: &Path, most: u64) -> Result<Vec<u8>, SourceError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() && found.len() > most => {
            let problem = format!("{} bytes are too many for a file of text", found.len());
            Err(SourceError::Container { path: path.to_owned(), problem })
        }
        _ => read(path),
    }
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    let read = |source| SourceError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(read(Error::other("it is not a regular file")));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    let unlike = |problem| SourceError::Container { path: path.to_owned(), problem };
    if bytes.is_empty() {
        return Err(unlike("the file is empty: download it again".to_owned()));
    }
    match STAND_INS.iter().find(|(start, _)| bytes.starts_with(start)) {
        Some((_, what)) => Err(unlike(format!("this is {what}"))),
        None => Ok(bytes),
    }
}

/// The bytes of a file; `None` if there is none. A link that leads nowhere is an error.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        _ => read_text(path).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_text_that_is_too_large_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        std::fs::write(&path, "{\"a\": 1}").unwrap();
        assert_eq!(text_below(&path, 8).unwrap(), b"{\"a\": 1}");
        let error = text_below(&path, 7).unwrap_err().to_string();
        assert!(error.contains("8 bytes") && error.contains("config.json"), "{error}");
        // As large as a disk may say, without a byte of it.
        std::fs::File::create(&path).unwrap().set_len(LARGEST_TEXT + 1).unwrap();
        assert!(read_text(&path).is_err());
    }
}
