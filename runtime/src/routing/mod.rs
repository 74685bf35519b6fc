//! Which tokens pass a layer, and how much of its update they keep (`docs/method.md`, "One layer").

mod budget;
mod deadline;
#[cfg(feature = "pruning")]
mod grid;
mod select;
mod selected;
mod soft_top_k;

pub use budget::{Budget, BudgetError, tokens_for_reduction};
pub use deadline::{CostModel, DeadlineChoice, DeadlineError, TOKEN_GROUP, token_step};
#[cfg(feature = "pruning")]
pub use grid::grid;
pub use select::{RouteScratch, Selection, route};
pub(crate) use selected::Selected;
pub use soft_top_k::{CoordinateAscent, exact, iterated};
