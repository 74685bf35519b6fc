//! Prints `runtime/src/text/unicode_tables.rs`:
//!
//! ```text
//! cargo run --release -p coda-tests --bin gen_unicode_tables > runtime/src/text/unicode_tables.rs
//! ```
//!
//! The tables say what `tokenizers` says: they are read off the crates it uses for Unicode,
//! `unicode_categories` for categories and `unicode-normalization-alignments` for decompositions and
//! combining classes, one scalar value at a time. Nothing comes from a newer Unicode version.

use std::fmt::{Display, Write as _};

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UNICODE_VERSION;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

/// Neighbouring decompositions this far apart share a range; those between map to themselves.
const LARGEST_GAP: u32 = 6;
/// A decomposition to anything but one basic character is written as this value plus its place in
/// the sequences. Surrogates never occur as decompositions.
const SEQUENCE: u32 = 0xd800;
/// Marks the last character of a sequence.
const LAST: u32 = 1 << 31;

/// Inclusive ranges of scalar values.
type Ranges = Vec<[u32; 2]>;

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

/// Adds a value to ascending ranges.
fn extend(ranges: &mut Ranges, value: u32) {
    match ranges.last_mut() {
        Some([_, last]) if *last + 1 == value => *last = value,
        _ => ranges.push([value, value]),
    }
}

fn ranges_of(holds: impl Fn(char) -> bool) -> Ranges {
    let mut ranges = Ranges::new();
    for c in scalars().filter(|&c| holds(c)) {
        extend(&mut ranges, u32::from(c));
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
    runs: Vec<(u32, u16, u16)>,
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
        let end = self.runs.last().map_or(0, |run| run.0 + u32::from(run.1));
        let near = code - end <= LARGEST_GAP && code < 0x1_0000;
        match self.runs.last_mut() {
            Some(run) if near => {
                self.values.extend(end..code);
                run.1 += u16::try_from(code - end + 1).expect("a small gap");
            }
            Some(run) if code == end => run.1 += 1,
            _ => {
                let place = u16::try_from(self.values.len()).expect("fewer values than u16::MAX");
                self.runs.push((code, 1, place));
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

/// One line for each range of combining characters that are not removed, with their class.
fn kept_combining() -> Vec<([u32; 2], u8)> {
    let mut kept: Vec<([u32; 2], u8)> = Vec::new();
    for c in scalars().filter(|c| !c.is_mark_nonspacing()) {
        let (code, class) = (u32::from(c), canonical_combining_class(c));
        match kept.last_mut() {
            _ if class == 0 => {}
            Some(([_, last], of)) if *last + 1 == code && *of == class => *last = code,
            _ => kept.push(([code, code], class)),
        }
    }
    kept
}

fn hexadecimal(code: u32) -> String {
    format!("{code:#06x}")
}

/// An array literal, at most 98 characters a line.
fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let mut text = String::new();
    let mut line = String::from("   ");
    for item in items {
        let item = format!(" {item},");
        if line.len() + item.len() > 98 {
            writeln!(text, "{line}").expect("a String takes all");
            line.truncate(3);
        }
        line.push_str(&item);
    }
    writeln!(text, "{line}").expect("a String takes all");
    text
}

/// Prints a set and returns its size in bytes.
fn print_set(name: &str, about: &str, ranges: &Ranges) -> usize {
    let pair = |range: &[u32; 2]| format!("[{:#06x}, {:#06x}]", range[0], range[1]);
    let (basic, rest): (Ranges, Ranges) = ranges.iter().partition(|range| range[1] < 0x1_0000);
    assert!(rest.iter().all(|range| range[0] >= 0x1_0000), "a range crosses the basic plane");
    println!("\n/// {about}");
    println!("pub(super) static {name}: CodePoints = CodePoints {{\n    basic: &[");
    print!("{}", list(basic.iter().map(pair)));
    println!("    ],\n    supplementary: &[");
    print!("{}", list(rest.iter().map(pair)));
    println!("    ],\n}};");
    basic.len() * 4 + rest.len() * 8
}

fn print_decompositions(all: &Decompositions) -> usize {
    println!("\n/// Canonical decompositions without nonspacing marks; Hangul is computed.");
    println!("pub(super) static DECOMPOSITIONS: Decompositions = Decompositions {{\n    runs: &[");
    print!(
        "{}",
        list(all.runs.iter().map(|run| format!("({:#06x}, {}, {})", run.0, run.1, run.2)))
    );
    println!("    ],\n    values: &[");
    print!("{}", list(all.values.iter().copied().map(hexadecimal)));
    println!("    ],\n    sequences: &[");
    print!("{}", list(all.sequences.iter().copied().map(hexadecimal)));
    println!("    ],\n}};");
    all.runs.len() * 8 + all.values.len() * 2 + all.sequences.len() * 4
}

fn print_combining(kept: &[([u32; 2], u8)]) -> usize {
    println!(
        "\n/// Combining characters that are not nonspacing marks: first, last, combining class."
    );
    println!("pub(super) static KEPT_COMBINING: &[(u32, u32, u8)] = &[");
    let line =
        |(range, class): &([u32; 2], u8)| format!("({:#x}, {:#x}, {class})", range[0], range[1]);
    print!("{}];", list(kept.iter().map(line)));
    println!();
    kept.len() * 12
}

fn main() {
    let (major, minor, _) = UNICODE_VERSION;
    println!("//! Unicode tables as `tokenizers` 0.22 sees them. Generated, do not edit:");
    println!("//!");
    println!("//! ```text");
    println!(
        "//! cargo run --release -p coda-tests --bin gen_unicode_tables > runtime/src/text/unicode_tables.rs"
    );
    println!("//! ```");
    println!("//!");
    println!(
        "//! Categories of `unicode_categories` 0.1.1 (Unicode 8.0); decompositions and combining"
    );
    println!("//! classes of `unicode-normalization-alignments` 0.1.12 (Unicode {major}.{minor}).");
    println!("\nuse super::code_points::{{CodePoints, Decompositions}};");
    let is_punctuation = |c: char| c.is_ascii_punctuation() || c.is_punctuation();
    let sizes = [
        print_set("CONTROLS", "Categories Cc, Cf and Co.", &ranges_of(UnicodeCategories::is_other)),
        print_set(
            "PUNCTUATION",
            "ASCII punctuation and the categories P.",
            &ranges_of(is_punctuation),
        ),
        print_set("MARKS", "Category Mn.", &ranges_of(UnicodeCategories::is_mark_nonspacing)),
        print_set("STARTER_MARKS", "The marks of combining class 0.", &ranges_of(is_starter_mark)),
        print_decompositions(&Decompositions::collect()),
        print_combining(&kept_combining()),
    ];
    eprintln!("bytes: {sizes:?}, {} together", sizes.iter().sum::<usize>());
}
