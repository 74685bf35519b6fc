//! Prints `runtime/src/text/unicode_tables.bin`: each table as the count of its numbers and then the
//! numbers, all as little-endian u32, in the order of `unicode_tables.rs`:
//!
//! ```text
//! cargo run --release -p coda-tests --bin gen_unicode_tables > runtime/src/text/unicode_tables.bin
//! ```
//!
//! The tables say what `tokenizers` says: they are read off the crates it uses for Unicode,
//! `unicode_categories` for categories and `unicode-normalization-alignments` for decompositions and
//! combining classes, one scalar value at a time. Nothing comes from a newer Unicode version. What is
//! part of a word beside an added token is asked of `tokenizers` itself.
//!
//! With `words` behind it prints `word_tables.bin` instead: the letters and numbers of the pattern of
//! byte-level models, asked of `tokenizers` as well.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, OffsetReferential, OffsetType, Tokenizer};
use tokenizers::{PreTokenizedString, PreTokenizer as _};
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{
    canonical_combining_class, compose, decompose_canonical,
};

/// Neighbouring decompositions this far apart share a range; those between map to themselves.
const LARGEST_GAP: u32 = 6;
/// A decomposition to anything but one basic character is written as this value plus its place in
/// the sequences. Surrogates never occur as decompositions.
const SEQUENCE: u32 = 0xd800;
/// Marks the last character of a sequence.
const LAST: u32 = 1 << 31;

/// Inclusive ranges of scalar values, with a number for each.
type Ranges = Vec<[u32; 3]>;

fn scalars() -> impl Iterator<Item = char> {
    '\0'..=char::MAX
}

fn is_hangul_syllable(c: char) -> bool {
    ('\u{ac00}'..='\u{d7a3}').contains(&c)
}

fn decomposed(c: char) -> Vec<char> {
    let mut characters = Vec::new();
    decompose_canonical(c, |part| characters.push(part));
    characters
}

/// First, last and class of each range of characters of one class other than 0.
fn ranges_of(class: impl Fn(char) -> u8) -> Ranges {
    let mut ranges = Ranges::new();
    for c in scalars() {
        let (code, class) = (u32::from(c), u32::from(class(c)));
        match ranges.last_mut() {
            _ if class == 0 => {}
            Some([_, last, of]) if *last + 1 == code && *of == class => *last = code,
            _ => ranges.push([code, code, class]),
        }
    }
    ranges
}

/// A removed mark that ends a run of combining characters, as it is or by its decomposition.
fn is_starter_mark(c: char) -> bool {
    c.is_mark_nonspacing() && decomposed(c).iter().any(|&c| canonical_combining_class(c) == 0)
}

/// The decomposition without nonspacing marks, if `c` has one and is no such mark itself.
fn stripped(c: char) -> Option<Vec<char>> {
    let parts = decomposed(c);
    if parts == [c] || is_hangul_syllable(c) {
        return None;
    }
    if c.is_mark_nonspacing() {
        assert!(parts.iter().all(|c| c.is_mark_nonspacing()), "{c:?} keeps a part");
        return None;
    }
    let kept: Vec<char> = parts.iter().copied().filter(|c| !c.is_mark_nonspacing()).collect();
    // So what is kept ends a run of combining characters exactly where the whole would.
    assert!(canonical_combining_class(parts[0]) == 0, "{c:?} begins with a combining character");
    assert!(canonical_combining_class(kept[0]) == 0, "{c:?} loses the start of a run");
    if kept.iter().any(|&c| canonical_combining_class(c) != 0) {
        assert_eq!(kept, parts, "{c:?} mixes kept and removed combining characters");
    }
    assert!(kept.len() <= 3, "{c:?} is longer than the runtime's buffer");
    Some(kept)
}

#[derive(Default)]
struct Decompositions {
    /// First character, number of characters, place of the first value.
    runs: Vec<[u32; 3]>,
    values: Vec<u32>,
    sequences: Vec<u32>,
}

impl Decompositions {
    fn collect() -> Self {
        let mut all = Self::default();
        for c in scalars() {
            if let Some(parts) = stripped(c) {
                all.reach(u32::from(c));
                let value = all.value(&parts);
                all.values.push(value);
            }
        }
        all
    }

    /// Makes the next value the one of `code`: the last range grows, or a new one starts.
    fn reach(&mut self, code: u32) {
        let end = self.runs.last().map_or(0, |[first, count, _]| first + count);
        let near = code - end <= LARGEST_GAP && code < 0x1_0000;
        match self.runs.last_mut() {
            Some(run) if near => {
                self.values.extend(end..code);
                run[1] += code - end + 1;
            }
            Some(run) if code == end => run[1] += 1,
            _ => {
                let place = u16::try_from(self.values.len()).expect("fewer values than u16::MAX");
                self.runs.push([code, 1, u32::from(place)]);
            }
        }
    }

    fn value(&mut self, parts: &[char]) -> u32 {
        let codes: Vec<u32> = parts.iter().copied().map(u32::from).collect();
        match codes[..] {
            [single] if single < 0x1_0000 => single,
            _ => SEQUENCE + self.sequence(&codes),
        }
    }

    fn sequence(&mut self, codes: &[u32]) -> u32 {
        let place = u32::try_from(self.sequences.len()).expect("few sequences");
        assert!(SEQUENCE + place < 0xe000, "sequences outgrow the surrogates");
        let (last, before) = codes.split_last().expect("a decomposition keeps a character");
        self.sequences.extend(before);
        self.sequences.push(last | LAST);
        place
    }
}

/// The ranges of a set below U+10000, and the rest.
fn set(holds: impl Fn(char) -> bool) -> [Vec<u32>; 2] {
    let ranges = ranges_of(|c| u8::from(holds(c)));
    let (basic, rest): (Ranges, Ranges) = ranges.into_iter().partition(|range| range[1] < 0x1_0000);
    assert!(rest.iter().all(|range| range[0] >= 0x1_0000), "a range crosses the basic plane");
    [basic, rest].map(|ranges| ranges.iter().flat_map(|[first, last, _]| [*first, *last]).collect())
}

/// The combining class of what is not removed.
fn kept_class(c: char) -> u8 {
    if c.is_mark_nonspacing() { 0 } else { canonical_combining_class(c) }
}

/// Whether a token that must be a word of its own is not found before a character.
fn word_characters() -> HashSet<char> {
    let mut tokenizer = Tokenizer::new(WordPiece::default());
    tokenizer.add_tokens(&[AddedToken::from("a", true).single_word(true)]);
    let vocabulary = tokenizer.get_added_vocabulary();
    let is_word = |c: &char| {
        let text = format!("a{c}");
        let pieces = vocabulary.extract_and_normalize(None::<&NormalizerWrapper>, &text);
        let (reference, kind) = (OffsetReferential::Original, OffsetType::Byte);
        pieces.get_splits(reference, kind).iter().all(|(_, _, tokens)| tokens.is_none())
    };
    scalars().filter(is_word).collect()
}

/// What makes one word with `neighbour` before it.
fn joins(neighbour: char) -> HashSet<char> {
    let pattern = ByteLevel::new(false, false, true);
    let is_one = |c: &char| {
        let mut pieces = PreTokenizedString::from(format!("{neighbour}{c}"));
        pattern.pre_tokenize(&mut pieces).expect("every text is split");
        pieces.get_splits(OffsetReferential::Original, OffsetType::Byte).len() == 1
    };
    scalars().filter(is_one).collect()
}

/// Characters with the two that they are made of, and the places of those that are composed again.
fn compositions() -> [Vec<u32>; 2] {
    let again = |parts: &[char]| {
        parts.iter().skip(1).try_fold(parts[0], |before, part| compose(before, *part))
    };
    let mut whole: Vec<(Vec<char>, char)> = scalars()
        .filter(|c| !is_hangul_syllable(*c))
        .map(|c| (decomposed(c), c))
        .filter(|(parts, c)| parts != &[*c])
        .collect();
    // Of those with the same parts the one that these are composed to counts.
    whole.sort_by_key(|(parts, c)| again(parts) == Some(*c));
    let whole: HashMap<Vec<char>, char> = whole.into_iter().collect();
    let mut pairs: Vec<[u32; 3]> = Vec::new();
    for c in scalars().filter(|c| !is_hangul_syllable(*c)) {
        let parts = decomposed(c);
        let pair = match parts[..] {
            [one] if one == c => continue,
            [one] => [u32::from(c), u32::from(one), 0],
            [first, second] => [c, first, second].map(u32::from),
            [ref before @ .., last] => {
                let first = whole.get(before).unwrap_or_else(|| panic!("{c:?} has no first part"));
                [c, *first, last].map(u32::from)
            }
            [] => panic!("{c:?} has no parts"),
        };
        pairs.push(pair);
    }
    let character = |code: u32| char::from_u32(code).expect("a character");
    let mut places: Vec<usize> = (0..pairs.len())
        .filter(|place| {
            let [c, first, second] = pairs[*place].map(character);
            second != '\0' && compose(first, second) == Some(c)
        })
        .collect();
    places.sort_by_key(|place| [pairs[*place][1], pairs[*place][2]]);
    [pairs.concat(), places.into_iter().map(|place| place as u32).collect()]
}

fn print(tables: Vec<Vec<u32>>) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for table in tables {
        let length = u32::try_from(table.len()).expect("a small table");
        output.write_all(bytemuck::cast_slice(&[vec![length], table].concat()))?;
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("words") {
        let sets = ['a', '1'].map(joins);
        let mut tables = sets.map(|found| set(|c| found.contains(&c))).concat();
        tables.extend(compositions());
        tables.push(ranges_of(canonical_combining_class).concat());
        return print(tables);
    }
    let words = word_characters();
    let sets = [
        set(UnicodeCategories::is_other),
        set(|c| c.is_ascii_punctuation() || c.is_punctuation()),
        set(UnicodeCategories::is_mark_nonspacing),
        set(is_starter_mark),
    ];
    let Decompositions { runs, values, sequences } = Decompositions::collect();
    let mut tables = sets.concat();
    tables.extend([runs.concat(), values, sequences, ranges_of(kept_class).concat()]);
    tables.extend(set(|c| words.contains(&c) != (c == '_' || c.is_alphanumeric())));
    print(tables)
}
