//! Heads of a model.

use crate::config::Config;
use core::ops::Range;

/// One head: its number, and its columns of a row.
#[derive(Clone, Debug)]
pub(super) struct HeadColumns {
    pub(super) index: usize,
    pub(super) columns: Range<usize>,
}

impl HeadColumns {
    /// Every head of a model.
    pub(super) fn all(config: &Config) -> impl Iterator<Item = Self> + use<> {
        let width = config.head_dim;
        let columns = move |index| index * width..(index + 1) * width;
        (0..config.heads).map(move |index| Self { index, columns: columns(index) })
    }
}
