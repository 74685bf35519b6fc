//! `coda keygen`, `coda sign`, `coda sign-keys`, `coda verify-signature`.

use super::table::{grouped, hex};
use anyhow::{Context, Result};
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::PackageBytes;
use coda_converter::sign::{
    Stamp, generate_key, is_exposed, public_path, read_key, read_public_key, sign, sign_key_list,
    write_key,
};
use coda_converter::{say, warn};
use coda_runtime::format::{ContentId, Package};
use coda_runtime::signature::{
    Keys, Manifest, Scope, SignatureError, Signed, SignedKind, Trust, base_of, envelope, key_id,
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use std::path::{Path, PathBuf};

/// Make a key to sign packages with: a private key for you, a public one for your devices
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// The private key to write (PKCS#8 PEM); the public key is written beside it with .pub
    #[arg(short, long, value_name = "KEY")]
    output: PathBuf,
}

impl Keygen {
    pub(super) fn run(&self) -> Result<()> {
        let key = generate_key()?;
        write_key(&self.output, &key)?;
        say!("wrote {} (keep it secret)", self.output.display());
        say!("wrote {}", public_path(&self.output).display());
        print_key(&key.verifying_key());
        Ok(())
    }
}

/// A public key as people compare it and as a firmware holds it.
fn print_key(key: &VerifyingKey) {
    say!("key id {}", hex(&key_id(key.as_bytes())));
    say!("pub const KEY: [u8; 32] = {:?};", key.as_bytes());
}

/// What is signed beside the package.
#[derive(Debug, clap::Args)]
struct StampArguments {
    /// A number that rises with every release: devices refuse a lower one than they have
    #[arg(long, value_name = "N")]
    release: u64,
    /// Your number of the product: devices refuse what is for another
    #[arg(long, value_name = "N", default_value_t = 0)]
    product: u64,
    /// Which of several of its kind in a device, each with releases of its own
    #[arg(long, value_name = "N", default_value_t = 0)]
    component: u16,
}

impl StampArguments {
    const fn stamp(&self) -> Stamp {
        let Self { release, product, component } = *self;
        Stamp { release, product, component }
    }
}

/// Reads private keys; says which of them others may read.
fn private_keys(paths: &[PathBuf]) -> Result<Vec<SigningKey>> {
    let keys = paths.iter().map(|path| read_key(path)).collect::<Result<Vec<_>, _>>()?;
    for path in paths.iter().filter(|path| is_exposed(path)).map(|path| path.display()) {
        warn!("warning: others may read the private key {path}: `chmod 600 {path}`");
    }
    Ok(keys)
}

fn write_signed(path: &Path, signed: &[u8], release: u64, keys: &[SigningKey]) -> Result<()> {
    write_whole(path, signed).with_context(|| format!("cannot write {}", path.display()))?;
    say!("wrote {}: release {release}, {} bytes", path.display(), grouped(signed.len()));
    for key in keys {
        say!("key id {}", hex(&key_id(key.verifying_key().as_bytes())));
    }
    Ok(())
}

/// Sign a package, so that devices which trust the key take it and no older one
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// A base, a task or a bundle
    package: PathBuf,
    /// The private key; several for devices that want the signatures of several keys
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    stamp: StampArguments,
    /// The signed package to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Sign {
    pub(super) fn run(&self) -> Result<()> {
        let inputs = [&self.package].into_iter().chain(&self.key).map(PathBuf::as_path);
        check_output(&self.output, &inputs.collect::<Vec<_>>())?;
        let keys = private_keys(&self.key)?;
        let package = PackageBytes::read(&self.package);
        let package = package.with_context(|| format!("cannot read {}", self.package.display()))?;
        let signed = sign(&package, &keys.iter().collect::<Vec<_>>(), self.stamp.stamp());
        let signed = signed.with_context(|| format!("{}", self.package.display()))?;
        write_signed(&self.output, &signed, self.stamp.release, &keys)
    }
}

/// Sign a list of public keys, which devices then trust in place of the list before
///
/// A key that is not in the list is revoked; a new one is trusted, both from a device's next start on. Devices
/// take a list only from the root key that they were built with, and none of an older release than the one they
/// have.
#[derive(Debug, clap::Args)]
pub(crate) struct SignKeys {
    /// The public keys that may sign from now on, at most 8
    #[arg(required = true, value_name = "PUB")]
    public: Vec<PathBuf>,
    /// How many of them must sign a package
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// The root's private key; several if several must sign
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    #[command(flatten)]
    stamp: StampArguments,
    /// The signed list to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl SignKeys {
    pub(super) fn run(&self) -> Result<()> {
        let inputs = self.public.iter().chain(&self.key).map(PathBuf::as_path);
        check_output(&self.output, &inputs.collect::<Vec<_>>())?;
        let public = self.public.iter().map(|path| read_public_key(path));
        let public = public.collect::<Result<Vec<_>, _>>()?;
        let keys = private_keys(&self.key)?;
        let roots: Vec<&SigningKey> = keys.iter().collect();
        let signed = sign_key_list(&public, self.threshold, &roots, self.stamp.stamp())?;
        write_signed(&self.output, &signed, self.stamp.release, &keys)
    }
}

/// Check a signed package as a device does
#[derive(Debug, clap::Args)]
pub(crate) struct VerifySignature {
    /// A signed package or a signed list of keys
    signed: PathBuf,
    /// The public key (or the private one); several if all of them must have signed
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<PathBuf>,
    /// A signed list: its keys must have signed, and --key is the root that signed the list
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The oldest release to take
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: u64,
    /// The product of the device
    #[arg(long, value_name = "N", default_value_t = 0)]
    product: u64,
    /// The component
    #[arg(long, value_name = "N", default_value_t = 0)]
    component: u16,
    /// Write the package without its signature
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl VerifySignature {
    /// False if the package is refused.
    pub(super) fn run(&self) -> Result<bool> {
        let inputs = [&self.signed].into_iter().chain(&self.key).chain(&self.keys);
        let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
        self.output.iter().try_for_each(|path| check_output(path, &inputs))?;
        let public = self.key.iter().map(|path| Ok(read_public_key(path)?.to_bytes()));
        let public = public.collect::<Result<Vec<_>>>()?;
        let mut keys = Keys::new(&public, public.len())?;
        if let Some(path) = &self.keys {
            let list = read_signed(path)?;
            let scope = Scope { minimum: 0, ..self.scope(SignedKind::KeyList) };
            keys = match Trust::of(keys, scope).keys_of(&list) {
                Ok((keys, _)) => keys,
                Err(error) => return Ok(refused(path, error)),
            };
        }
        let bytes = read_signed(&self.signed)?;
        let trust = Trust::of(keys, self.scope(kind_of(&bytes)));
        match trust.open(&bytes) {
            Ok(signed) => match self.agrees(&signed, &trust, &bytes)? {
                Ok(_) => self.accepted(&signed, &trust),
                Err(error) => Ok(refused(&self.signed, error)),
            },
            Err(error) => Ok(refused(&self.signed, error)),
        }
    }

    /// Whether kind and base of the envelope are those of what is behind it: a device knows what it wants
    /// and refuses the one or the other.
    fn agrees(
        &self,
        signed: &Signed<'_>,
        trust: &Trust,
        bytes: &[u8],
    ) -> Result<Result<Manifest, SignatureError>> {
        let (kind, base) = match trust.scope().kind {
            SignedKind::KeyList => (SignedKind::KeyList, ContentId::default()),
            _ => {
                let package = Package::parse(signed.package());
                let package = package.with_context(|| self.signed.display().to_string())?;
                (SignedKind::of(package.kind()), base_of(&package))
            }
        };
        let scope = Scope { kind, base: Some(base), ..*trust.scope() };
        Ok(Trust::of(trust.keys().clone(), scope).manifest(bytes))
    }

    fn scope(&self, kind: SignedKind) -> Scope {
        let Self { product, component, at_least: minimum, .. } = *self;
        Scope { kind, product, component, base: None, minimum }
    }

    fn accepted(&self, signed: &Signed<'_>, trust: &Trust) -> Result<bool> {
        let (name, kind) = (self.signed.display(), trust.scope().kind);
        if kind == SignedKind::KeyList {
            let keys = Keys::parse(signed.package())?;
            for key in keys.public_keys() {
                say!("key id {}", hex(&key_id(key)));
            }
            say!("{} of them must sign", keys.threshold());
        }
        if let Some(path) = &self.output {
            write_whole(path, signed.package())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let signer = trust.keys().public_keys().get(signed.manifest().signer());
        let signer = signer.map(|key| hex(&key_id(key))).unwrap_or_default();
        say!("{name}: a {} of release {}, signed with key {signer}", kind.name(), signed.release());
        Ok(true)
    }
}

fn read_signed(path: &Path) -> Result<PackageBytes> {
    PackageBytes::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// What an envelope says it is; a device knows what it wants.
fn kind_of(bytes: &[u8]) -> SignedKind {
    let all = [SignedKind::Base, SignedKind::Task, SignedKind::Bundle, SignedKind::KeyList];
    let code = bytes.get(envelope::KIND).unwrap_or_default();
    let found = all.into_iter().find(|kind| (*kind as u16).to_le_bytes() == code);
    found.unwrap_or(SignedKind::Task)
}

fn refused(path: &Path, error: SignatureError) -> bool {
    warn!("error: {}: {error}", path.display());
    false
}
