//! Letters and numbers, `\p{L}` and `\p{N}` of the regular expressions that `tokenizers` 0.22 uses.
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
