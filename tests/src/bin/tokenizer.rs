//! Compares a tokenizer of the device with Hugging Face `tokenizers` on files of texts:
//!
//! ```text
//! tokenizer MODEL_DIR TEXTS_FILE...
//! ```
//!
//! The vocabulary and the options come from `MODEL_DIR/tokenizer.json`. A text is a line; of a
//! `.tab` or `.tsv` file its last column, without the three header lines of `.tab`; empty lines are skipped. Each text is
//! compared whole, cut to 128 tokens, as a pair with the text before it cut to 128 tokens, and read back
//! from its ids.
//! Closes with `N passed, N failed`; exits with 1 after a failure or without a text.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use coda_converter::source::{Texts, TokenizerFiles};
use coda_runtime::text::Tokenizer as Own;
use coda_runtime::text::pieces::layout;
use coda_runtime::text::{Detokenizer, PieceTokenizer, Pieces, Vocabulary, WordPiece};
use tokenizers::{Tokenizer, TruncationParams};

/// Tokens of a cut text.
const MOST: usize = 128;
/// Header lines of a `.tab` file.
const TAB_HEADER: usize = 3;
/// Differences shown in full.
const SHOWN: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((model, files)) if !files.is_empty() => Ok(run(Path::new(model), files)?.close()),
        _ => Err("usage: tokenizer MODEL_DIR TEXTS_FILE...".into()),
    }
}

fn run(model: &Path, files: &[String]) -> Result<Count> {
    let path = model.join("tokenizer.json");
    let description =
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = TokenizerFiles::open(model, usize::MAX)?;
    let section = match &found {
        Texts::WordPiece(own) => own.section()?,
        Texts::Pieces(own) => own.section()?,
        Texts::IdsOnly(why) => return Err(why.as_str().into()),
        Texts::None => return Err("no tokenizer".into()),
    };
    let ours = match found {
        Texts::Pieces(_) => Own::Pieces(PieceTokenizer::new(Pieces::parse(&section)?)),
        _ => Own::WordPiece(WordPiece::new(Vocabulary::parse(&section)?)),
    };
    let comparison = Comparison::new(ours, &description)?;
    let mut count = Count::default();
    for file in files {
        let texts = texts(Path::new(file))?;
        println!("{file}: {} texts", texts.len());
        let mut before = "";
        for text in &texts {
            comparison.compare(before, text, &mut count)?;
            before = text;
        }
    }
    Ok(count)
}

/// The texts of a file, as the name says they are stored.
fn texts(path: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    let header = if extension == Some("tab") { TAB_HEADER } else { 0 };
    let columns = matches!(extension, Some("tab" | "tsv"));
    let last_column = |line: &str| line.rsplit('\t').next().unwrap_or(line).to_owned();
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.split_terminator('\n').skip(header).filter(|line| !line.is_empty());
    Ok(lines.map(|line| if columns { last_column(line) } else { line.to_owned() }).collect())
}

/// Both front ends.
struct Comparison<'a> {
    ours: Own<'a>,
    whole: Tokenizer,
    cut: Tokenizer,
}

impl<'a> Comparison<'a> {
    fn new(ours: Own<'a>, description: &[u8]) -> Result<Self> {
        let mut whole = Tokenizer::from_bytes(description)?;
        whole.with_padding(None).with_truncation(None)?;
        let mut cut = whole.clone();
        cut.with_truncation(Some(TruncationParams {
            max_length: MOST,
            ..TruncationParams::default()
        }))?;
        Ok(Self { ours, whole, cut })
    }

    fn compare(&self, before: &str, text: &str, count: &mut Count) -> Result<()> {
        let start = Instant::now();
        let theirs = self.whole.encode_fast(text, true)?;
        count.their_time += start.elapsed();
        let mut ids = vec![0; theirs.get_ids().len() + 1];
        let start = Instant::now();
        let encoding = self.ours.encode(text, &mut ids);
        count.our_time += start.elapsed();
        count.bytes += text.len();
        let whole = !encoding.truncated && ids[..encoding.len] == *theirs.get_ids();
        let back = self.read_back_equal(theirs.get_ids())?;
        let equal = whole && back && self.cut_equal(text)? && self.pair_equal(before, text)?;
        count.read_back += usize::from(back);
        count.add(equal, text);
        Ok(())
    }

    fn read_back_equal(&self, ids: &[u32]) -> Result<bool> {
        let (mut text, mut detokenizer) = (String::new(), Detokenizer::new(self.ours));
        for id in ids {
            detokenizer.write(*id, &mut text)?;
        }
        detokenizer.finish(&mut text)?;
        let mut expected = self.whole.decode(ids, true)?;
        if let Own::Pieces(own) = self.ours
            && own.pieces().has(layout::CLIP)
        {
            // As `transformers` does it.
            expected = expected.replace("</w>", " ").trim().to_owned();
        }
        Ok(text == expected)
    }

    fn cut_equal(&self, text: &str) -> Result<bool> {
        let mut ids = [0; MOST];
        let encoding = self.ours.encode(text, &mut ids);
        Ok(ids[..encoding.len] == *self.cut.encode_fast(text, true)?.get_ids())
    }

    fn pair_equal(&self, before: &str, text: &str) -> Result<bool> {
        if !self.ours.has_pairs() {
            return Ok(true);
        }
        let (mut ids, mut types) = ([0; MOST], [0; MOST]);
        let encoding = self.ours.encode_pair(before, text, &mut ids, &mut types);
        let theirs = self.cut.encode_fast((before, text), true)?;
        let their_types = theirs.get_type_ids().iter().copied();
        let types = types[..encoding.len].iter().copied().map(u32::from);
        Ok(ids[..encoding.len] == *theirs.get_ids() && their_types.eq(types))
    }
}

/// What has been compared.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    read_back: usize,
    bytes: usize,
    our_time: Duration,
    their_time: Duration,
}

impl Count {
    fn add(&mut self, equal: bool, text: &str) {
        if equal {
            self.passed += 1;
        } else {
            self.failed += 1;
            if self.failed <= SHOWN {
                println!("different: {text:?}");
            }
        }
        let done = self.passed + self.failed;
        if done.is_multiple_of(2000) {
            println!("{done} texts compared, {} different", self.failed);
        }
    }

    fn close(&self) -> ExitCode {
        let speed = |time: Duration| self.bytes as f64 / 1e6 / time.as_secs_f64();
        println!(
            "{:.1} MB of texts; whole texts at {:.1} MB/s, tokenizers at {:.1} MB/s",
            self.bytes as f64 / 1e6,
            speed(self.our_time),
            speed(self.their_time)
        );
        println!("{} read back alike", self.read_back);
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
