//! `coda keygen`, `coda sign`, `coda verify-signature`.

use super::table::{grouped, hex};
use anyhow::{Context, Result};
use coda_converter::output::{check_output, write_whole};
use coda_converter::pack::PackageBytes;
use coda_converter::sign::{
    generate_key, is_exposed, public_path, read_key, read_public_key, sign, write_key,
};
use coda_converter::{say, warn};
use coda_runtime::format::Package;
use coda_runtime::signature::{Trust, key_id};
use ed25519_dalek::VerifyingKey;
use std::path::PathBuf;

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

/// Sign a package, so that devices which trust the key take it and no older one
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// A base, a task or a bundle
    package: PathBuf,
    /// The private key
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// A number that rises with every release: devices refuse a lower one than they have
    #[arg(long, value_name = "N")]
    release: u64,
    /// The signed package to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Sign {
    pub(super) fn run(&self) -> Result<()> {
        check_output(&self.output, &[&self.package, &self.key])?;
        let key = read_key(&self.key)?;
        if is_exposed(&self.key) {
            let path = self.key.display();
            warn!("warning: others may read the private key {path}: `chmod 600 {path}`");
        }
        let package = PackageBytes::read(&self.package);
        let package = package.with_context(|| format!("cannot read {}", self.package.display()))?;
        let signed = sign(&package, &key, self.release);
        let signed = signed.with_context(|| format!("{}", self.package.display()))?;
        write_whole(&self.output, &signed)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        let (bytes, release) = (grouped(signed.len()), self.release);
        say!("wrote {}: release {release}, {bytes} bytes", self.output.display());
        say!("key id {}", hex(&key_id(key.verifying_key().as_bytes())));
        Ok(())
    }
}

/// Check a signed package as a device does
#[derive(Debug, clap::Args)]
pub(crate) struct VerifySignature {
    /// A signed package
    signed: PathBuf,
    /// The public key (or the private one)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The oldest release to take
    #[arg(long, value_name = "N", default_value_t = 0)]
    at_least: u64,
    /// Write the package without its signature
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl VerifySignature {
    /// False if the package is refused.
    pub(super) fn run(&self) -> Result<bool> {
        let inputs = [&*self.signed, &self.key];
        self.output.iter().try_for_each(|path| check_output(path, &inputs))?;
        let key = read_public_key(&self.key)?;
        let trust = Trust::new(key.as_bytes())?.at_least(self.at_least);
        let bytes = PackageBytes::read(&self.signed);
        let bytes = bytes.with_context(|| format!("cannot read {}", self.signed.display()))?;
        let signed = match trust.open(&bytes) {
            Ok(signed) => signed,
            Err(error) => {
                warn!("error: {}: {error}", self.signed.display());
                return Ok(false);
            }
        };
        let package = Package::parse(signed.package());
        let package = package.with_context(|| format!("{}", self.signed.display()))?;
        if let Some(path) = &self.output {
            write_whole(path, package.bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        say!(
            "{}: a {} of release {}, signed with key {}",
            self.signed.display(),
            package.kind().name(),
            signed.release(),
            hex(&key_id(key.as_bytes()))
        );
        Ok(true)
    }
}
