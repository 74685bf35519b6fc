//! Signs packages: the writer of `coda_runtime::signature`.

use crate::output::{file_for, write_whole};
use coda_runtime::format::{ContentId, FormatError, Package};
use coda_runtime::signature::{
    Keys, MAGIC, MAJOR, MINOR, Scope, SignatureError, SignedKind, Trust, base_of, digest, envelope,
    key_id, key_list,
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

/// What the owner of a key says about a package beside the package itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Rises with every release.
    pub release: u64,
    /// The owner's number of the product.
    pub product: u64,
    /// Which of several of its kind in a device.
    pub component: u16,
}

impl Stamp {
    /// A release of product 0, component 0.
    #[must_use]
    pub const fn of(release: u64) -> Self {
        Self { release, product: 0, component: 0 }
    }

    /// What a device takes that takes this and nothing else.
    #[must_use]
    pub const fn scope(&self, kind: SignedKind, base: ContentId) -> Scope {
        let Self { release: minimum, product, component } = *self;
        Scope { kind, product, component, base: Some(base), minimum }
    }
}

/// Puts `package` behind an envelope of each key. A device that trusts one key takes a package with one
/// envelope.
///
/// # Errors
/// [`SignError::Format`] if it is no package, [`SignError::Verify`] if the keys are no keys of a list: none
/// or too many, or the same twice.
pub fn sign(package: &[u8], keys: &[&SigningKey], stamp: Stamp) -> Result<Vec<u8>, SignError> {
    let parsed = Package::parse(package)?;
    let scope = stamp.scope(SignedKind::of(parsed.kind()), base_of(&parsed));
    Ok(enclose(package, keys, scope)?)
}

/// A key list that `roots` sign: from a device's next start on `threshold` of `public_keys` must sign.
///
/// # Errors
/// [`SignError::Verify`] if `public_keys` or `roots` are no keys of a list.
pub fn sign_key_list(
    public_keys: &[VerifyingKey],
    threshold: usize,
    roots: &[&SigningKey],
    stamp: Stamp,
) -> Result<Vec<u8>, SignError> {
    let mut keys: Vec<[u8; 32]> = public_keys.iter().map(VerifyingKey::to_bytes).collect();
    keys.sort_unstable();
    Keys::new(&keys, threshold)?;
    let mut list = vec![0; key_list::LENGTH_BYTES];
    list[key_list::MAGIC_AT].copy_from_slice(&key_list::MAGIC);
    list[key_list::VERSION_AT].copy_from_slice(&key_list::VERSION.to_le_bytes());
    list[key_list::COUNT_AT].copy_from_slice(&(keys.len() as u16).to_le_bytes());
    list[key_list::THRESHOLD_AT].copy_from_slice(&(threshold as u16).to_le_bytes());
    list.extend(keys.concat());
    Ok(enclose(&list, roots, stamp.scope(SignedKind::KeyList, ContentId::default()))?)
}

/// Puts bytes behind envelopes, and reads them back as a device does.
fn enclose(bytes: &[u8], keys: &[&SigningKey], scope: Scope) -> Result<Vec<u8>, SignatureError> {
    let public: Vec<[u8; 32]> = keys.iter().map(|key| key.verifying_key().to_bytes()).collect();
    let trust = Trust::of(Keys::new(&public, public.len())?, scope);
    let mut file = Vec::new();
    keys.iter().for_each(|key| file.extend(envelope_for(bytes, key, &scope)));
    file.extend_from_slice(bytes);
    trust.open(&file)?;
    Ok(file)
}

fn envelope_for(bytes: &[u8], key: &SigningKey, scope: &Scope) -> [u8; envelope::LENGTH_BYTES] {
    let mut head = [0; envelope::LENGTH_BYTES];
    let mut put = |at: Range<usize>, value: &[u8]| head[at].copy_from_slice(value);
    put(envelope::MAGIC, &MAGIC);
    put(envelope::MAJOR, &MAJOR.to_le_bytes());
    put(envelope::MINOR, &MINOR.to_le_bytes());
    put(envelope::PACKAGE_LENGTH, &(bytes.len() as u32).to_le_bytes());
    put(envelope::RELEASE, &scope.minimum.to_le_bytes());
    put(envelope::KEY_ID, &key_id(key.verifying_key().as_bytes()));
    put(envelope::KIND, &(scope.kind as u16).to_le_bytes());
    put(envelope::COMPONENT, &scope.component.to_le_bytes());
    put(envelope::PRODUCT, &scope.product.to_le_bytes());
    put(envelope::BASE_ID, &scope.base.unwrap_or_default());
    put(envelope::DIGEST, &digest(bytes));
    let signature = key.sign(&head[envelope::SIGNED]);
    head[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
    head
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
        assert!(matches!(sign(b"no package", &[&key], Stamp::of(1)), Err(SignError::Format(_))));
    }
}
