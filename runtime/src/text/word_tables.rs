//! Letters and numbers, `\p{L}` and `\p{N}` of the regular expressions that `tokenizers` 0.22 uses, and
//! canonical composition as `unicode-normalization-alignments` 0.1.12 has it (Unicode 9.0).
//!
//! The numbers are generated, and the compiler makes the tables from them:
//!
//! ```text
//! cargo run --release -p coda-tests --bin gen_unicode_tables -- words > runtime/src/text/word_tables.bin
//! ```

use super::code_points::CodePoints;

/// Little-endian words: for each table how many follow, and these.
const FILE: &[[u8; 4]] = include_bytes!("word_tables.bin").as_chunks().0;

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

macro_rules! ranges {
    ($number:literal, $type:ty) => {{
        const START: usize = start($number);
        const COUNT: usize = word(START - 1) as usize / 2;
        let mut ranges = [[0; 2]; COUNT];
        let mut at = 0;
        while at < COUNT {
            ranges[at] = [word(START + 2 * at) as $type, word(START + 2 * at + 1) as $type];
            at += 1;
        }
        ranges
    }};
}

/// Category L.
pub(super) static LETTERS: CodePoints =
    CodePoints { basic: &ranges!(0, u16), supplementary: &ranges!(1, u32) };

/// Category N.
pub(super) static NUMBERS: CodePoints =
    CodePoints { basic: &ranges!(2, u16), supplementary: &ranges!(3, u32) };

/// Items of some words each.
#[cfg(feature = "compose")]
macro_rules! items {
    ($number:literal, $words:literal) => {{
        const START: usize = start($number);
        const COUNT: usize = word(START - 1) as usize / $words;
        let mut items = [[0; $words]; COUNT];
        let mut at = 0;
        while at < COUNT * $words {
            items[at / $words][at % $words] = word(START + at);
            at += 1;
        }
        items
    }};
}

/// A character and the two that it is made of, the second 0 if there is one only; ascending.
#[cfg(feature = "compose")]
pub(super) static PAIRS: &[[u32; 3]] = &items!(4, 3);

/// Places of the pairs that are composed, ascending by the two.
#[cfg(feature = "compose")]
pub(super) static COMPOSITIONS: &[u16] = &{
    const START: usize = start(5);
    const COUNT: usize = word(START - 1) as usize;
    let mut places = [0; COUNT];
    let mut at = 0;
    while at < COUNT {
        places[at] = word(START + at) as u16;
        at += 1;
    }
    places
};

/// First, last and combining class of characters that are no starters.
#[cfg(feature = "compose")]
pub(super) static CLASSES: &[[u32; 3]] = &items!(6, 3);
