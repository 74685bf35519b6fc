//! Compares the WordPiece front end with Hugging Face `tokenizers` on files of texts:
//!
//! ```text
//! wordpiece MODEL_DIR TEXTS_FILE...
//! ```
//!
//! The vocabulary and the options come from `MODEL_DIR/tokenizer.json`. A text is a line; of a
//! `.tab` or `.tsv` file its last column, without the three header lines of `.tab`; empty lines are skipped. Each text is
//! compared whole, cut to 128 tokens, and as a pair with the text before it cut to 128 tokens.
//! Closes with `N passed, N failed`; exits with 1 after a failure or without a text.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use coda_runtime::text::normalize::Normalization;
use coda_runtime::text::{Options, SpecialIds, Vocabulary, WordPiece, encode, encoded_len};
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

/// Tokens of a cut text.
const MOST: usize = 128;
/// Header lines of a `.tab` file.
const TAB_HEADER: usize = 3;
/// Differences shown in full.
const SHOWN: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((model, files)) = arguments.split_first().filter(|(_, files)| !files.is_empty())
    else {
        eprintln!("usage: wordpiece MODEL_DIR TEXTS_FILE...");
        return ExitCode::FAILURE;
    };
    match run(Path::new(model), files) {
        Ok(count) => count.close(),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(model: &Path, files: &[String]) -> Result<Count> {
    let path = model.join("tokenizer.json");
    let description =
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let section = section(&serde_json::from_slice(&description)?)?;
    let comparison = Comparison::new(&section, &description)?;
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

/// The vocabulary section for a `tokenizer.json`.
fn section(description: &Value) -> Result<Vec<u8>> {
    let model = &description["model"];
    let vocabulary = model["vocab"].as_object().ok_or("the model has no vocabulary")?;
    let mut tokens = vec![None; vocabulary.len()];
    for (token, id) in vocabulary {
        let id = id.as_u64().and_then(|id| usize::try_from(id).ok());
        let place = id.and_then(|id| tokens.get_mut(id)).ok_or("the ids have a hole")?;
        *place = Some(token.as_str());
    }
    let tokens: Option<Vec<&str>> = tokens.into_iter().collect();
    let tokens = tokens.ok_or("the ids have a hole")?;
    let mut section = vec![0; encoded_len(&tokens)];
    encode(&tokens, &options(description, &tokens)?, &mut section)?;
    Ok(section)
}

fn options(description: &Value, tokens: &[&str]) -> Result<Options> {
    let normalizer = &description["normalizer"];
    let flag = |name: &str| normalizer[name].as_bool();
    let lowercase = flag("lowercase").ok_or("no BertNormalizer")?;
    let normalization = Normalization {
        clean_text: flag("clean_text").ok_or("no BertNormalizer")?,
        handle_chinese_chars: flag("handle_chinese_chars").ok_or("no BertNormalizer")?,
        strip_accents: flag("strip_accents").unwrap_or(lowercase),
        lowercase,
    };
    let most = description["model"]["max_input_chars_per_word"].as_u64().unwrap_or(100);
    let find = |token: &str| tokens.iter().position(|other| *other == token);
    let id = |token: &str| find(token).and_then(|id| u32::try_from(id).ok());
    let required = |token: &str| id(token).ok_or_else(|| format!("no token {token}"));
    let special = SpecialIds {
        unknown: required("[UNK]")?,
        classify: required("[CLS]")?,
        separate: required("[SEP]")?,
        pad: required("[PAD]")?,
        mask: id("[MASK]"),
    };
    Ok(Options { normalization, max_chars_per_word: u32::try_from(most)?, special })
}

/// Both front ends.
struct Comparison<'a> {
    ours: WordPiece<'a>,
    whole: Tokenizer,
    cut: Tokenizer,
}

impl<'a> Comparison<'a> {
    fn new(section: &'a [u8], description: &[u8]) -> Result<Self> {
        let mut whole = Tokenizer::from_bytes(description)?;
        whole.with_padding(None).with_truncation(None)?;
        let mut cut = whole.clone();
        cut.with_truncation(Some(TruncationParams {
            max_length: MOST,
            ..TruncationParams::default()
        }))?;
        Ok(Self { ours: WordPiece::new(Vocabulary::parse(section)?), whole, cut })
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
        let equal = whole && self.cut_equal(text)? && self.pair_equal(before, text)?;
        count.add(equal, text);
        Ok(())
    }

    fn cut_equal(&self, text: &str) -> Result<bool> {
        let mut ids = [0; MOST];
        let encoding = self.ours.encode(text, &mut ids);
        Ok(ids[..encoding.len] == *self.cut.encode_fast(text, true)?.get_ids())
    }

    fn pair_equal(&self, before: &str, text: &str) -> Result<bool> {
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
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 && self.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
