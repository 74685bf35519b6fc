//! What a decoder family is.

use crate::source::error::SourceError;
use crate::source::family::checkpoint::Checkpoint;
use crate::source::family::entries::Entries;
use crate::source::generation::Generation;
use coda_runtime::config::Config;

/// How one kind of decoder is described and stored.
pub(super) struct DecoderFamily {
    /// Its names in the `model_type` of a `config.json`.
    pub(super) model_types: &'static [&'static str],
    /// A tensor that no checkpoint with such a decoder lacks, behind the prefix of the whole.
    pub(super) probe: &'static str,
    /// What stands before every name where nothing else is found.
    pub(super) prefixes: &'static [&'static str],
    /// The decoder that the fields describe.
    pub(super) config: fn(&Checkpoint<'_>) -> Result<Config, SourceError>,
    /// Its tensors.
    pub(super) tensors: fn(&Checkpoint<'_>, &mut Entries<'_>) -> Result<(), SourceError>,
    /// Settings that the architecture has and no generation file says.
    pub(super) settle:
        fn(&Checkpoint<'_>, &Config, bool, &mut Generation) -> Result<(), SourceError>,
}
