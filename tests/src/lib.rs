//! Cross-cutting tests of coda-edge: what the test binaries and heavier commands share.

pub mod bundled;
pub mod charsmap;
pub mod head64;
pub mod hostile;
pub mod letters;
pub mod log_mel;
pub mod modules;
pub mod mutants;
pub mod nor;
pub mod seq2seq;
pub mod source;
pub mod speech;
pub mod tiny;
pub mod tolerance;
pub mod vectors;
pub mod writers;
