//! Small helpers around files.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// SHA-256 of a file.
pub(super) fn hash_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a directory, and finds out now whether files can be written there.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    let cannot = || format!("cannot write to {}", directory.display());
    std::fs::create_dir_all(directory).with_context(cannot)?;
    let probe = directory.join(".coda-trainer");
    std::fs::write(&probe, []).with_context(cannot)?;
    std::fs::remove_file(&probe).with_context(cannot)
}
