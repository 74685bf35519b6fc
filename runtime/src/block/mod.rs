//! What the layers of encoders and decoders are made of; whoever calls says which rows and which keys.
//!
//! | file | part |
//! |---|---|
//! | `context` | what every stage needs to know |
//! | `rows` | rows into a linear map |
//! | `rotary` | queries and keys turned by their positions |
//! | `attention` | scores, softmax and context over given keys |
//! | `feed_forward` | what follows attention, and the adapter |
//! | `workers` | rows shared out among cores |

mod attention;
mod context;
mod feed_forward;
#[cfg(feature = "more-families")]
mod rotary;
mod rows;
mod workers;

#[cfg(feature = "decoder")]
pub(crate) use attention::{CachedKeys, attend_cached};
pub(crate) use attention::{Keys, LowRank, PackedLowRank, Queries, RelativeBias, attend};
pub(crate) use context::Context;
pub(crate) use feed_forward::{adapter_down, adapter_up, feed_forward, project_attended};
#[cfg(feature = "more-families")]
pub(crate) use rotary::turn;
pub(crate) use rows::{PreparedRows, Transform, apply, map_vector, norm_rows, rows_of, stage_rows};
#[cfg(feature = "std")]
pub use workers::ThreadPool;
pub(crate) use workers::{Cores, Watched, for_row_tiles};
pub use workers::{ThisCore, Workers};
