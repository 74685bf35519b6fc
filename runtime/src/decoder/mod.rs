//! Text out: an answer that grows token by token (`docs/method.md`, "Text out").
//!
//! ```text
//! encode      the executor's inference                        hidden states
//! memory      their keys and values, of every decoder layer   once
//! step        one row for each hypothesis through the layers, logits, the next token
//! ```
//!
//! | file | part |
//! |---|---|
//! | `generator` | a model with its arena: begins an answer |
//! | `answer` | an answer at work: [`Generation::step`] adds a token |
//! | `memory` | keys and values of the encoder's states |
//! | `step` | rows through the decoder's layers |
//! | `logits` | the best continuations of rows, some output channels at a time |
//! | `exp_sum` | sums of exponentials |
//! | `observer` | what a caller may see of a step |
//! | `times` | answers that hold times: which ids may follow |
//! | `search` | hypotheses: which live on, which have ended |
//! | `deadline` | what a deadline sets aside for the tokens |
//! | `error` | why an answer is refused |

mod answer;
mod deadline;
mod error;
mod exp_sum;
mod generator;
mod logits;
mod memory;
mod observer;
mod search;
mod step;
mod times;

pub use answer::{Ending, Generation, PausedGeneration};
pub use deadline::{AnswerChoice, AnswerCosts};
pub use error::GenerateError;
pub use generator::{Generator, Search};
pub use observer::StepObserver;
