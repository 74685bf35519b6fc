//! Golden packages of models that write, and the exact answers they give for ever. The models are those of the
//! bundled reference vectors.

use crate::seq2seq::{Given, Vectors};
use anyhow::{Context, Result, bail};
use coda_converter::answer;
use coda_converter::pack::{PackageBytes, WeightType, bundle, pack_base, pack_task};
use coda_converter::source::{Base, TokenizerFiles};
use coda_runtime::Generator;
use coda_runtime::config::Embedding;
use coda_runtime::decoder::{Search, StepObserver};
use coda_runtime::executor::Input;
use coda_runtime::image::InputNormalization;
use coda_runtime::kernels::{Kernels, scalar};
use coda_runtime::memory::{AnswerCapacity, Capacity};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::text::{Options, SpecialIds};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// New tokens of an answer.
const LONGEST: usize = 6;
/// Reductions and hypotheses of the answers.
const CALLS: [(f32, usize); 3] = [(1.0, 1), (2.0, 1), (2.0, 3)];
/// Names, directories of the vectors and weight types.
const SOURCES: [(&str, &str, WeightType); 3] = [
    ("t5-int8-v1.2", "seed013/t5", WeightType::Int8),
    ("trocr-f16-v1.2", "seed013/image", WeightType::F16),
    ("whisper-int8-v1.2", "seed012/whisper", WeightType::Int8),
];

/// What stands beside a golden package. Floats and ids are their bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Token ids; empty for a model of images.
    pub ids: Vec<u32>,
    /// Values of patches, or log-mel features; empty for a model of tokens.
    pub patches: String,
    /// One answer a call.
    pub answers: Vec<Answer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// r of every routed layer of the encoder.
    pub reduction: f32,
    /// Hypotheses.
    pub beams: usize,
    /// Most new tokens.
    pub longest: usize,
    /// New tokens.
    pub tokens: String,
    /// The score; empty for a greedy answer.
    pub score: String,
    /// Logits of the first hypothesis, step after step.
    pub logits: String,
}

/// A golden package.
pub struct Golden {
    /// Name of both files, without extension.
    pub name: &'static str,
    /// The package.
    pub package: PackageBytes,
    /// What it answers.
    pub expected: Expected,
}

#[derive(Default)]
struct Logits(Vec<u32>);

impl StepObserver for Logits {
    fn logits(&mut self, row: usize, _: usize, values: &[f32]) {
        if row == 0 {
            self.0.extend(values.iter().map(|value| value.to_bits()));
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/writers")
}

/// Every golden package.
///
/// # Errors
/// A file is missing or damaged.
pub fn read_all() -> Result<Vec<Golden>> {
    let read = |name: &'static str| -> Result<Golden> {
        let path = directory().join(format!("{name}.coda"));
        let package = PackageBytes::read(&path).with_context(|| path.display().to_string())?;
        let expected = serde_json::from_slice(&std::fs::read(path.with_extension("json"))?)?;
        Ok(Golden { name, package, expected })
    };
    SOURCES.into_iter().map(|(name, ..)| read(name)).collect()
}

/// What a package answers.
///
/// # Errors
/// The package does not read the input.
pub fn compute(
    package: &PackageBytes,
    ids: &[u32],
    patches: &[f32],
    kernels: &'static Kernels,
) -> Result<Expected> {
    let package = package.parse()?;
    let model = Model::from_package(&package)?;
    let (input, tokens) = match model.config().embedding {
        Embedding::Tokens { .. } => (Input::tokens(ids), Some(ids.len())),
        Embedding::Frames { bins, .. } => {
            (Input::Features(patches), Some(patches.len() / (2 * bins)))
        }
        Embedding::Patches { .. } => (Input::Patches(patches), model.max_tokens()),
        Embedding::Grid { .. } => bail!("no golden model that writes reads images of any size"),
    };
    let tokens = tokens.context("no length")?;
    let answer = |(reduction, beams): (f32, usize)| -> Result<Answer> {
        let rules = model.decoder().map_or(1, |decoder| decoder.rules().start.len());
        let capacity = AnswerCapacity { positions: rules + LONGEST, beams };
        let plan = answer::plan(&model, Capacity::any_budget(tokens), capacity, 1)?;
        let mut blocks = vec![0u128; plan.arena_bytes().div_ceil(16)];
        let arena = bytemuck::cast_slice_mut(&mut blocks);
        let mut generator = Generator::new(&model, kernels, plan, arena)?;
        let search = Search { longest: LONGEST, beams, ..Search::OF_PACKAGE };
        let mut answer = generator.generate(input, Budget::Reduction(reduction), &search)?;
        let mut logits = Logits::default();
        while answer.step_observed(&mut logits)? {}
        Ok(Answer {
            reduction,
            beams,
            longest: LONGEST,
            tokens: words(answer.tokens().iter().copied()),
            score: words(answer.score().map(f32::to_bits)),
            logits: words(logits.0),
        })
    };
    Ok(Expected {
        ids: ids.to_vec(),
        patches: words(patches.iter().map(|value| value.to_bits())),
        answers: CALLS.into_iter().map(answer).collect::<Result<_>>()?,
    })
}

impl Golden {
    /// Values of patches of the input.
    ///
    /// # Errors
    /// They are not as values are written.
    pub fn patches(&self) -> Result<Vec<f32>> {
        let words = self.expected.patches.split_whitespace();
        words.map(|word| Ok(f32::from_bits(u32::from_str_radix(word, 16)?))).collect()
    }
}

/// Special tokens and words, by id: what is missing up to the vocabulary's size is a letter.
const WORDS: [&str; 35] = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "an",
    "cat",
    "dog",
    "bird",
    "sat",
    "ran",
    "sang",
    "on",
    "in",
    "under",
    "mat",
    "tree",
    "rain",
    "small",
    "old",
    "red",
    "and",
    "then",
    "it",
    "was",
    "seen",
    "by",
    "nobody",
    "##s",
    "##ly",
    ",",
    ".",
    "!",
    "?",
    "\u{fc}ber",
];
/// Longest input of texts in tokens.
const LONGEST_TEXT: usize = 12;

/// The T5 of the golden packages with words for its ids, packed with its task. It has learned nothing: what it
/// writes has no sense, and the same bits everywhere.
///
/// # Errors
/// It cannot be packed.
pub fn of_texts() -> Result<PackageBytes> {
    with_words("seed013/t5", WeightType::Int8, |base| base.texts.longest = LONGEST_TEXT)
}

/// The same of pictures: the decoder of `TrOCR`, which reads 12 x 12 pixels of three channels.
///
/// # Errors
/// It cannot be packed.
pub fn of_pictures() -> Result<PackageBytes> {
    let (mean, std) = ([0.5; 4], [0.5; 4]);
    let normal = InputNormalization { channels: 3, rescale: 1.0 / 255.0, mean, std };
    with_words("seed013/image", WeightType::F16, |base| base.image = Some(normal))
}

fn with_words(
    source: &str,
    weights: WeightType,
    change: impl FnOnce(&mut Base),
) -> Result<PackageBytes> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq").join(source);
    let vectors = Vectors::open(&source)?.context("a kind that is not read")?;
    let mut base = vectors.base().clone();
    let decoder = base.decoder.as_ref().context("no decoder")?;
    let Embedding::Tokens { vocabulary, .. } = decoder.config.embedding else {
        bail!("a decoder of no tokens");
    };
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let words = WORDS.map(str::to_owned).into_iter().chain(letters).take(vocabulary).collect();
    let special = SpecialIds { unknown: 1, classify: 2, separate: 3, pad: 0, mask: None };
    base.tokenizer = Some(TokenizerFiles::new(words, Options::new(special)));
    change(&mut base);
    let base = pack_base(&base, weights, "")?.bytes;
    let task = pack_task(&vectors.any_task()?, &base.parse()?, weights, "")?.bytes;
    Ok(bundle(&base.parse()?, &task.parse()?)?)
}

/// Writes the golden packages and answers that are not there; returns their names.
///
/// # Errors
/// A package cannot be made, or a file not written.
pub fn write_missing() -> Result<Vec<String>> {
    let mut written = Vec::new();
    for (name, source, weights) in SOURCES {
        let path = directory().join(format!("{name}.coda"));
        let answers = path.with_extension("json");
        if answers.exists() {
            continue;
        }
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq").join(source);
        let vectors = Vectors::open(&vectors)?.context("a kind that is not read")?;
        if !path.exists() {
            std::fs::create_dir_all(directory())?;
            let base = pack_base(vectors.base(), weights, "")?.bytes;
            let base = base.parse()?;
            let task = pack_task(&vectors.any_task()?, &base, weights, "")?.bytes;
            std::fs::write(&path, &*bundle(&base, &task.parse()?)?)?;
        }
        let (ids, patches) = match vectors.inputs().first().context("no input")? {
            Given::Ids(ids) => (ids.clone(), Vec::new()),
            Given::Patches(values) | Given::Features(values) => (Vec::new(), values.clone()),
            Given::Grid(_) => bail!("a golden answer has ids or patches of an image of one size"),
        };
        let package = PackageBytes::read(&path)?;
        let expected = compute(&package, &ids, &patches, &scalar::KERNELS)?;
        std::fs::write(answers, serde_json::to_string_pretty(&expected)? + "\n")?;
        written.push(name.to_owned());
    }
    Ok(written)
}

fn words(values: impl IntoIterator<Item = u32>) -> String {
    let words: Vec<String> = values.into_iter().map(|value| format!("{value:08x}")).collect();
    words.join(" ")
}
