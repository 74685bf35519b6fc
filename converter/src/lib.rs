//! Packs frozen transformers and CoDA tasks into packages for `coda-runtime`, and checks them.
//!
//! | module | what it does |
//! |---|---|
//! | [`source`] | reads Hugging Face directories and CoDA task files |
//! | [`quantize`] | f32 to f16 and int8, rows to panels |
//! | [`bytes`] | the bytes of a package, of memory or of a file |
//! | [`pack`] | writes packages |
//! | [`smooth`] | evens out what is quantised to int8, before it is packed |
//! | [`sign`] | keys, and packages signed with them |
//! | [`output`] | files that are whole or not there |
//! | [`mod@say`] | what commands say, and whether it was written |
//! | [`session`] | a bound model with its arena, for host programs |
//! | [`dataset`] | labelled texts, token ids and images |
//! | [`rows`] | labelled texts in TSV and CSV files |
//! | [`folder`] | labelled pictures in class folders |
//! | [`shortlist`] | the ids that an answer may hold |
//! | [`classes`] | the labels of a file against those of a model |
//! | [`picture`] | picture files as pixels |
//! | [`sound`] | sound files as features; feature `audio` |
//! | [`preparation`] | how pictures are resized |
//! | [`grid`] | pictures of any size as patches |
//! | [`similarity`] | how embeddings are compared |
//! | [`mod@bench`] | latency at several reductions |
//! | [`evaluate`] | accuracy and latency at several reductions |
//! | [`timeline`] | when each stage of an inference ended |
//! | [`report`] | a page about a package |
//! | `oracle` | the dense encoder built with tract-core's graph API; feature `verify` |
//! | `verify` | a model against the oracle, layer by layer; feature `verify` |
//! | [`draw`] | routed patches, tokens and numbers for a terminal |
//! | [`firmware`] | constants of a plan for a firmware to compile |
#![deny(unsafe_code)]

pub mod answer;
pub mod bench;
pub mod bench_writer;
pub mod bytes;
pub mod calibrate;
pub mod calibrate_writer;
pub mod classes;
pub mod dataset;
pub mod draw;
pub mod evaluate;
pub mod evaluate_writer;
pub mod firmware;
pub mod folder;
pub mod grid;
#[cfg(feature = "audio")]
pub mod listen;
#[expect(unsafe_code, reason = "the one file that maps files to memory")]
mod mapping;
#[cfg(feature = "verify")]
pub mod oracle;
pub mod output;
pub mod pack;
pub mod picture;
pub mod preparation;
pub mod quantize;
pub mod report;
pub mod rows;
pub mod say;
pub mod session;
pub mod shortlist;
pub mod sign;
pub mod similarity;
pub mod smooth;
pub mod sound;
pub mod source;
pub mod speech;
pub mod timeline;
#[cfg(feature = "verify")]
pub mod verify;
