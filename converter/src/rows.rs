//! Labelled texts and pairs of texts as they lie on disks: TSV and CSV, whatever program wrote them.
//!
//! A file is CSV if its name ends in `.csv`, else TSV. CSV has quotes. TSV has them if it is as pandas
//! writes it: every field with a quote in it is quoted, and no quote stands elsewhere; in any other TSV a
//! quote is a character like others.

use anyhow::{Context, Result, bail, ensure};
use csv::StringRecord;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

/// Column names that mean the label, in small letters.
const LABELS: [&str; 9] =
    ["label", "labels", "class", "classes", "category", "target", "sentiment", "label_name", "y"];
/// Column names that mean the text.
const TEXTS: [&str; 16] = [
    "text",
    "texts",
    "sentence",
    "sentence1",
    "text1",
    "text_a",
    "review",
    "content",
    "document",
    "message",
    "comment",
    "tweet",
    "description",
    "premise",
    "question",
    "question1",
];
/// Column names that mean the two texts of a pair, in their order.
const PAIRS: [[&str; 2]; 10] = [
    ["sentence1", "sentence2"],
    ["premise", "hypothesis"],
    ["text_a", "text_b"],
    ["text1", "text2"],
    ["question1", "question2"],
    ["question", "sentence"],
    ["question", "answer"],
    ["text", "text_pair"],
    ["query", "passage"],
    ["query", "document"],
];
/// Column names that number the rows.
const NUMBERS: [&str; 5] = ["", "id", "idx", "index", "unnamed: 0"];
/// What other files than texts begin with.
const FOREIGN: [(&[u8], &str); 10] = [
    (b"BZh", "bzip2: unpack it with bunzip2"),
    (b"\xfd7zXZ\0", "xz: unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "zstd: unpack it with unzstd"),
    (b"PK\x03\x04", "a ZIP archive or an Excel sheet: unpack it, or save the sheet as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"\x1f\x8b", "gzip inside gzip: unpack it with gunzip"),
    (b"PAR1", "Parquet: write it as CSV"),
    (b"ARROW1", "Arrow: write it as CSV"),
    (b"{", "JSON: write it as CSV or TSV"),
    (b"[{", "JSON: write it as CSV or TSV"),
];

/// Whether the first line names the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Header {
    /// It does if every field of it is a known name, as `label` and `text`
    #[default]
    Auto,
    /// It does
    Yes,
    /// It is a row
    No,
}

/// One labelled text, or pair of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line it begins in, from 1.
    pub line: u64,
    /// The label, without space around it.
    pub label: String,
    /// The text.
    pub text: String,
    /// The second text, if the file has pairs.
    pub second: Option<String>,
}

/// The rows of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Those with a text.
    pub rows: Vec<Row>,
    /// How many had none, or half a pair, and were passed over.
    pub empty: usize,
    /// They are pairs by their three columns, which no header names.
    pub assumed_pairs: bool,
}

/// Reads labelled texts: `bytes` of the file `path`.
///
/// # Errors
/// The line that cannot be read, and why; or what the file is instead.
pub fn read(path: &Path, bytes: &[u8], header: Header) -> Result<Rows> {
    let text = decode(bytes)?;
    check_line_ends(&text)?;
    let format = Format::of(path, &text)?;
    // The reader counts the lines that ended.
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let input = std::io::Read::chain(text.as_bytes(), end.as_bytes());
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).delimiter(format.delimiter).quoting(format.quoted);
    let mut reader = reader.from_reader(input);
    let (mut found, mut columns, mut record) = (Rows::default(), None, StringRecord::new());
    while reader.read_record(&mut record)? {
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let inside: usize = record.iter().map(|field| field.matches('\n').count()).sum();
        let line = reader.position().line().saturating_sub(1 + inside as u64);
        let at = || format!("line {line}");
        let Some(columns) = &columns else {
            let first = Columns::new(&record, header).with_context(at)?;
            if !first.named {
                found.add(&record, &first, line).with_context(at)?;
                found.assumed_pairs = first.second.is_some();
            }
            columns = Some(first);
            continue;
        };
        format.check_fields(&record, columns).with_context(at)?;
        found.add(&record, columns, line).with_context(at)?;
    }
    Ok(found)
}

/// The lines of a text file, as they are.
///
/// # Errors
/// It is no text, or its lines end in CR.
pub fn lines(bytes: &[u8]) -> Result<Vec<String>> {
    let text = decode(bytes)?;
    check_line_ends(&text)?;
    Ok(text.lines().map(str::to_owned).collect())
}

impl Rows {
    /// Adds the row of a record, unless it has no text.
    fn add(&mut self, record: &StringRecord, columns: &Columns, line: u64) -> Result<()> {
        let field = |column: usize| record.get(column).unwrap_or_default();
        let label = trim(field(columns.label));
        ensure!(!label.is_empty(), "the label is empty");
        let mut texts = std::iter::once(columns.text).chain(columns.second).map(field);
        if texts.clone().any(|text| trim(text).is_empty()) {
            self.empty += 1;
            return Ok(());
        }
        let (label, text) = (label.to_owned(), texts.next().unwrap_or_default().to_owned());
        self.rows.push(Row { line, label, text, second: texts.next().map(str::to_owned) });
        Ok(())
    }

    /// What of them may be a mistake, a sentence each.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.assumed_pairs {
            notes.push(
                "three columns without a header: read as a label and a pair of texts".to_owned(),
            );
        }
        if self.empty > 0 {
            notes.push(format!("{} rows without a text were passed over", self.empty));
        }
        let (mut labels, mut twice, mut torn) = (HashMap::new(), 0, 0);
        for Row { label, text, second, .. } in &self.rows {
            match labels.insert((text.trim(), second.as_deref().map(str::trim)), label) {
                Some(other) if other == label => twice += 1,
                Some(_) => torn += 1,
                None => {}
            }
        }
        if twice > 0 {
            notes.push(format!("{twice} rows stand there more than once"));
        }
        if torn > 0 {
            notes.push(format!("{torn} texts stand there again with another label"));
        }
        notes
    }
}

/// A field without space and invisible marks around it.
fn trim(field: &str) -> &str {
    field.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'))
}

/// How fields are separated.
struct Format {
    delimiter: u8,
    quoted: bool,
}

impl Format {
    fn of(path: &Path, text: &str) -> Result<Self> {
        let name = path.to_string_lossy().to_lowercase();
        if !name.trim_end_matches(".gz").ends_with(".csv") {
            let quotes = Quotes::of(text, b'\t');
            let quoted = quotes.whole && !quotes.bare && quotes.broken.is_none();
            return Ok(Self { delimiter: b'\t', quoted });
        }
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let used = |delimiter: &u8| first.contains(char::from(*delimiter));
        let delimiter = [b',', b';', b'\t'].into_iter().find(used).unwrap_or(b',');
        if let Some(line) = Quotes::of(text, delimiter).broken {
            bail!("line {line}: a quote is opened and not closed before the end of its field");
        }
        Ok(Self { delimiter, quoted: true })
    }

    fn name(&self) -> &'static str {
        match self.delimiter {
            b'\t' => "tab",
            b';' => "semicolon",
            _ => "comma",
        }
    }

    /// Refuses a row of fewer or more fields than there are columns.
    fn check_fields(&self, record: &StringRecord, columns: &Columns) -> Result<()> {
        let (found, expected, name) = (record.len(), columns.count, self.name());
        ensure!(found > 1, "no {name} between label and text");
        ensure!(
            found == expected,
            "{found} fields, where the lines before have {expected}; a text with a {name} in it stands \
             in quotes"
        );
        Ok(())
    }
}

/// Where quotes stand in a file.
#[derive(Default)]
struct Quotes {
    /// A field is quoted from its first to its last character.
    whole: bool,
    /// A field that is not quoted has a quote in it.
    bare: bool,
    /// The line of the first field that is quoted in part.
    broken: Option<usize>,
}

impl Quotes {
    fn of(text: &str, delimiter: u8) -> Self {
        let (mut found, mut rest, mut line) = (Self::default(), text, 1);
        let ends = |c: char| c == '\n' || c == char::from(delimiter);
        while !rest.is_empty() {
            let mut field = rest.split(ends).next().unwrap_or_default();
            if rest.starts_with('"') {
                let Some(length) = quoted_length(rest) else {
                    found.broken = Some(line);
                    return found;
                };
                let behind = rest[length..].split(ends).next().unwrap_or_default();
                if !behind.trim_end_matches('\r').is_empty() {
                    found.broken = Some(line);
                    return found;
                }
                field = &rest[..length + behind.len()];
                found.whole = true;
            } else {
                found.bare |= field.contains('"');
            }
            line += field.matches('\n').count();
            let (separator, next) = rest[field.len()..].split_at_checked(1).unwrap_or_default();
            line += usize::from(separator == "\n");
            rest = next;
        }
        found
    }
}

/// The bytes of a quoted field at the start of `text`, both quotes counted.
fn quoted_length(text: &str) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text.get(at..)?.find('"')? + 1;
        if text.as_bytes().get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// Which column is what.
struct Columns {
    label: usize,
    text: usize,
    /// The second text of pairs.
    second: Option<usize>,
    count: usize,
    /// They are named in the first line.
    named: bool,
}

impl Columns {
    /// From the first line.
    fn new(first: &StringRecord, header: Header) -> Result<Self> {
        let names: Vec<String> = first.iter().map(|field| trim(field).to_lowercase()).collect();
        let count = names.len();
        let named = names.iter().any(|name| LABELS.contains(&&**name))
            && names.iter().any(|name| is_text(name))
            && (count > 2 || !names.iter().any(|name| is_unknown(name)));
        if header == Header::Yes || (header == Header::Auto && named) {
            return Self::named(&names);
        }
        ensure!(
            count != 1,
            "one field, where a label and a text are read: no tab or comma between"
        );
        ensure!(
            count <= 3,
            "{count} columns without a header: a label and a text are read, or a label and the two \
             texts of a pair; leave the others out"
        );
        Ok(Self { label: 0, text: 1, second: (count == 3).then_some(2), count, named: false })
    }

    /// From the names of a header; of two columns, one name says what both are.
    fn named(names: &[String]) -> Result<Self> {
        let label = names.iter().position(|name| LABELS.contains(&&**name));
        let (count, texts) = (names.len(), text_columns(names)?);
        let second = texts.get(1).copied();
        let (label, text) = match (label, texts.first().copied()) {
            (Some(label), Some(text)) => (label, text),
            (Some(label), None) if count == 2 => (label, 1 - label),
            (None, Some(text)) if count == 2 && second.is_none() => (1 - text, text),
            (None, None) if count == 2 => (0, 1),
            _ => bail!("no column is named label, or none text (of a pair: sentence1, sentence2)"),
        };
        if let Some(unknown) = names.iter().find(|name| count > 2 && is_unknown(name)) {
            bail!("column \"{unknown}\" is neither the label nor the text: leave it out");
        }
        Ok(Self { label, text, second, count, named: true })
    }
}

/// The columns that a header names as texts: none, one, or the two of a pair in their order.
fn text_columns(names: &[String]) -> Result<Vec<usize>> {
    let found: Vec<usize> = (0..names.len()).filter(|column| is_text(&names[*column])).collect();
    let position = |known: &str| names.iter().position(|name| name == known);
    let both = |[first, second]: [&str; 2]| Some(vec![position(first)?, position(second)?]);
    match &found[..] {
        [] => Ok(found),
        [one] => {
            let name = &*names[*one];
            ensure!(
                TEXTS.contains(&name),
                "column \"{name}\" is half a pair: the other is missing"
            );
            Ok(found)
        }
        [first, second] => PAIRS.into_iter().find_map(both).with_context(|| {
            let [first, second] = [first, second].map(|column| &names[*column]);
            format!(
                "columns \"{first}\" and \"{second}\" are texts: leave one out, or call them \
                 sentence1 and sentence2 if they are pairs"
            )
        }),
        [_, _, third, ..] => {
            bail!("column \"{}\" is a third text: leave out what is not read", names[*third])
        }
    }
}

fn is_text(name: &str) -> bool {
    TEXTS.contains(&name) || PAIRS.as_flattened().contains(&name)
}

/// Whether a column has no name that is known.
fn is_unknown(name: &str) -> bool {
    !is_text(name) && !LABELS.contains(&name) && !NUMBERS.contains(&name)
}

/// The characters of a file.
fn decode(bytes: &[u8]) -> Result<Cow<'_, str>> {
    if let Some((_, what)) = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start)) {
        bail!("the file is {what}");
    }
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?.into(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?.into(),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?.into(),
        _ => Cow::Borrowed(utf8(bytes)?),
    };
    let zero = text.find('\0').map(|at| line_of(&text.as_bytes()[..at]));
    ensure!(
        zero.is_none(),
        "line {}: a zero byte: UTF-16 without its mark, or no text",
        zero.unwrap_or(0)
    );
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let (before, rest) = bytes.split_at(error.valid_up_to());
        anyhow::anyhow!(
            "line {}: byte {:#04x} is not UTF-8 text (nor is the file IDX or safetensors): convert it, \
             for instance with iconv -f latin1 -t utf-8",
            line_of(before),
            rest.first().unwrap_or(&0)
        )
    })
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String> {
    let (pairs, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), "the file is UTF-16 and ends in half a character");
    let units = pairs.iter().map(|pair| unit(*pair));
    char::decode_utf16(units).collect::<Result<_, _>>().context("the file is damaged UTF-16")
}

/// The line behind `before`, from 1.
fn line_of(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

/// Refuses line ends of CR alone, of which every line would be one.
fn check_line_ends(text: &str) -> Result<()> {
    let mut ends = text.match_indices('\r').map(|(at, _)| at);
    match ends.find(|at| !text[at + 1..].starts_with('\n')) {
        Some(at) => bail!(
            "line {}: a carriage return without line feed: convert the line ends (tr '\\r' '\\n')",
            line_of(&text.as_bytes()[..at])
        ),
        None => Ok(()),
    }
}
