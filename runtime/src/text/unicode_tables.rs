//! Unicode tables as `tokenizers` 0.22 sees them: categories of `unicode_categories` 0.1.1 (Unicode
//! 8.0), decompositions and combining classes of `unicode-normalization-alignments` 0.1.12 (9.0).
//!
//! The numbers are generated, and the compiler makes the tables from them:
//!
//! ```text
//! cargo run --release -p coda-tests --bin gen_unicode_tables > runtime/src/text/unicode_tables.bin
//! ```

use super::code_points::{CodePoints, Decompositions};

/// Little-endian words: for each table how many follow, and these.
const FILE: &[[u8; 4]] = include_bytes!("unicode_tables.bin").as_chunks().0;

const fn word(at: usize) -> u32 {
    u32::from_le_bytes(FILE[at])
}

/// Where the first word of a table is.
const fn start(table: usize) -> usize {
    let (mut start, mut before) = (1, 0);
    while before < table {
        start += word(start - 1) as usize + 1;
        before += 1;
    }
    start
}

/// The table of this number: an item is made of so many words, from `at` on.
macro_rules! table {
    ($number:literal, $words:literal, $at:ident => $item:expr) => {{
        const START: usize = start($number);
        const COUNT: usize = word(START - 1) as usize / $words;
        let mut $at = START;
        let mut items = [$item; COUNT];
        while $at < START + COUNT * $words {
            items[($at - START) / $words] = $item;
            $at += $words;
        }
        items
    }};
}

macro_rules! code_points {
    ($basic:literal, $supplementary:literal) => {
        CodePoints {
            basic: &table!($basic, 2, at => [word(at) as u16, word(at + 1) as u16]),
            supplementary: &table!($supplementary, 2, at => [word(at), word(at + 1)]),
        }
    };
}

/// Categories Cc, Cf and Co.
pub(super) static CONTROLS: CodePoints = code_points!(0, 1);

/// ASCII punctuation and the categories P.
pub(super) static PUNCTUATION: CodePoints = code_points!(2, 3);

/// Category Mn.
pub(super) static MARKS: CodePoints = code_points!(4, 5);

/// The marks of combining class 0.
pub(super) static STARTER_MARKS: CodePoints = code_points!(6, 7);

/// Canonical decompositions without nonspacing marks; Hangul is computed.
pub(super) static DECOMPOSITIONS: Decompositions = Decompositions {
    runs: &table!(8, 3, at => (word(at), word(at + 1) as u16, word(at + 2) as u16)),
    values: &table!(9, 1, at => word(at) as u16),
    sequences: &table!(10, 1, at => word(at)),
};

/// Combining characters that are not nonspacing marks: first, last, combining class.
pub(super) static KEPT_COMBINING: &[(u32, u32, u8)] =
    &table!(11, 3, at => (word(at), word(at + 1), word(at + 2) as u8));

/// What `\w` of regular expressions takes for other than `char::is_alphanumeric` does.
pub(super) static WORD_DIFFERENCES: CodePoints = code_points!(12, 13);
