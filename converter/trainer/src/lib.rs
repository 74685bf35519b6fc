//! The light-weight training phase of CoDA: adapters, routers, norms and heads on a frozen base.
//!
//! | module | what it does |
//! |---|---|
//! | [`ops`] | operations with hand-written gradients, for candle's autograd |
//! | [`model`] | encoder and decoder in the runtime's definitions, with what is trained |
//! | [`data`] | labelled sets, their split, order and batches |
//! | [`writing`] | answers that a model learns to write |
//! | [`loss`] | cross-entropy, and what a teacher says |
//! | [`optimizer`] | `AdamW` with a rate for each group |
//! | [`settings`], [`number`] | every hyper-parameter |
//! | [`results`], [`report`] | the records of many trainings, and the page that is made of them |
//! | [`train`] | the loop: steps, validation, early stop |
//! | [`answers`] | what a teacher said, for many trainings |
//! | [`checkpoint`] | the state in one file, and back to the bit |
//! | [`weights`] | tasks and bases as the converter reads them |
//! | [`record`], [`plot`] | `training.json` and the curves |
//! | [`random`] | draws that are functions of seed, purpose and step |
#![deny(unsafe_code)]

pub mod answers;
pub mod checkpoint;
pub mod data;
pub mod loss;
pub mod model;
pub mod number;
pub mod ops;
pub mod optimizer;
pub mod plot;
pub mod random;
pub mod record;
pub mod report;
pub mod results;
pub mod saliency;
pub mod settings;
pub mod train;
pub mod weights;
pub mod writing;
