//! Signs packages: the writer of `coda_runtime::signature`.

use crate::output::{file_for, write_whole};
use coda_runtime::format::{FormatError, Package};
use coda_runtime::signature::{
    MAGIC, MAJOR, MINOR, SignatureError, Trust, digest, envelope, key_id,
};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    self, DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why nothing is signed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SignError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is not a key.
    #[error("{} is no {expected}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What the reader says.
        reason: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// What is to be signed is no package.
    #[error("only packages are signed: {0}")]
    Format(#[from] FormatError),
    /// The signed package does not verify.
    #[error("the signed package cannot be read back: {0}")]
    Verify(#[from] SignatureError),
}

/// A new private key, from the system's random numbers.
///
/// # Errors
/// [`SignError::Random`].
pub fn generate_key() -> Result<SigningKey, SignError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(SignError::Random)?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Where the public key of a private one is: beside it, `.pub` behind the name.
#[must_use]
pub fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Writes a private key as PKCS#8 PEM that only its owner may read, and its public key beside it as
/// SPKI PEM. No existing key is overwritten, neither private nor public.
///
/// # Errors
/// [`SignError::File`].
pub fn write_key(path: &Path, key: &SigningKey) -> Result<(), SignError> {
    let failed = |error: io::Error| SignError::File { path: path.to_owned(), error };
    let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
    let private = pair.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(other(error)))?;
    let public = key.verifying_key().to_public_key_pem(LineEnding::LF);
    let public = public.map_err(|error| failed(other(error)))?;
    file_for(path).map_err(failed)?;
    let beside = public_path(path);
    if beside.symlink_metadata().is_ok() {
        let error =
            io::Error::new(io::ErrorKind::AlreadyExists, "it exists: no key is overwritten");
        return Err(SignError::File { path: beside, error });
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    io::Write::write_all(&mut file, private.as_bytes()).map_err(failed)?;
    let path = beside;
    write_whole(&path, public.as_bytes()).map_err(|error| SignError::File { path, error })
}

/// Others than its owner may read the file of a private key.
#[cfg(unix)]
#[must_use]
pub fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

/// Others than its owner may read the file of a private key; not known here.
#[cfg(not(unix))]
#[must_use]
pub fn is_exposed(_: &Path) -> bool {
    false
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

fn read(path: &Path) -> Result<String, SignError> {
    std::fs::read_to_string(path).map_err(|error| SignError::File { path: path.to_owned(), error })
}

/// Reads a private key as [`write_key`] or `openssl genpkey -algorithm ed25519` writes it.
///
/// # Errors
/// [`SignError::File`] or [`SignError::Key`].
pub fn read_key(path: &Path) -> Result<SigningKey, SignError> {
    SigningKey::from_pkcs8_pem(&read(path)?).map_err(|error| SignError::Key {
        path: path.to_owned(),
        expected: "private key (`coda keygen` makes one)",
        reason: error.to_string(),
    })
}

/// Reads a public key, or that of a private key.
///
/// # Errors
/// [`SignError::File`] or [`SignError::Key`].
pub fn read_public_key(path: &Path) -> Result<VerifyingKey, SignError> {
    let text = read(path)?;
    let public = VerifyingKey::from_public_key_pem(&text);
    let of_private = |error: pkcs8::spki::Error| match SigningKey::from_pkcs8_pem(&text) {
        Ok(key) => Ok(key.verifying_key()),
        Err(_) => Err(SignError::Key {
            path: path.to_owned(),
            expected: "public key",
            reason: error.to_string(),
        }),
    };
    public.or_else(of_private)
}

/// Puts `package` behind an envelope that `key` signs.
///
/// # Errors
/// [`SignError::Format`] if it is no package.
pub fn sign(package: &[u8], key: &SigningKey, release: u64) -> Result<Vec<u8>, SignError> {
    let length = Package::parse(package)?.bytes().len() as u32;
    let mut bytes = vec![0; envelope::LENGTH_BYTES];
    let mut put = |at: Range<usize>, value: &[u8]| bytes[at].copy_from_slice(value);
    put(envelope::MAGIC, &MAGIC);
    put(envelope::MAJOR, &MAJOR.to_le_bytes());
    put(envelope::MINOR, &MINOR.to_le_bytes());
    put(envelope::PACKAGE_LENGTH, &length.to_le_bytes());
    put(envelope::RELEASE, &release.to_le_bytes());
    put(envelope::KEY_ID, &key_id(key.verifying_key().as_bytes()));
    put(envelope::DIGEST, &digest(package));
    let signature = key.sign(&bytes[envelope::SIGNED]);
    bytes[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
    bytes.extend_from_slice(package);
    Trust::new(key.verifying_key().as_bytes())?.at_least(release).open(&bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let key = generate_key().unwrap();
        write_key(&path, &key).unwrap();
        assert_eq!(read_key(&path).unwrap(), key);
        assert_eq!(read_public_key(&path).unwrap(), key.verifying_key());
        assert_eq!(read_public_key(&public_path(&path)).unwrap(), key.verifying_key());
        assert!(read_key(&public_path(&path)).is_err());
        assert!(matches!(write_key(&path, &generate_key().unwrap()), Err(SignError::File { .. })));
        assert_eq!(read_key(&path).unwrap(), key);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn what_is_no_package_is_not_signed() {
        let key = generate_key().unwrap();
        assert!(matches!(sign(b"no package", &key, 1), Err(SignError::Format(_))));
    }
}
