//! Golden packages: files of a format version, and the exact answers they give for ever.

use super::{Tiny, TinyInput};
use anyhow::{Context, Result, ensure};
use coda_converter::pack::{PackageBytes, WeightType};
use coda_runtime::config::Embedding;
use coda_runtime::format::VERSION;
use coda_runtime::kernels::{Kernels, scalar};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Reductions with a golden answer.
pub const REDUCTIONS: [f32; 3] = [1.0, 2.0, 4.0];

/// What stands beside a golden package.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Format version of the package.
    pub format: String,
    /// Token ids; empty for an encoder of pixels.
    pub ids: Vec<u32>,
    /// Token types; empty for type 0 throughout.
    pub types: Vec<u8>,
    /// Pixels, two hexadecimal digits a byte; empty for an encoder of tokens.
    pub pixels: String,
    /// Log-mel features, their bits in hexadecimal; empty for an encoder of anything else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub features: String,
    /// Patches in a row of an image of any size; 0 for another input.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns: usize,
    /// One answer a reduction.
    pub answers: Vec<Answer>,
}

/// One answer. Floats are their bits in hexadecimal, separated by spaces.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// r of every routed layer.
    pub reduction: f32,
    /// Logits.
    pub values: String,
    /// Last hidden states, row after row.
    pub hidden: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// A golden package and its expected answers.
#[derive(Clone, Debug)]
pub struct Golden {
    /// Name of both files, without extension.
    pub name: String,
    /// The package.
    pub package: PackageBytes,
    /// What it answers.
    pub expected: Expected,
}

/// The golden packages of this version: their names, models and weight types.
#[must_use]
pub fn sources() -> [(&'static str, Tiny, WeightType); 22] {
    [
        ("bert-int8", Tiny::bert(), WeightType::Int8),
        ("bert-int4", Tiny::bert(), WeightType::Int4),
        ("vit-int8", Tiny::vit(), WeightType::Int8),
        ("vit-int8-low-rank", Tiny::vit_low_rank(), WeightType::Int8),
        ("vit-f16", Tiny::vit(), WeightType::F16),
        ("t5-int8", Tiny::t5(), WeightType::Int8),
        ("t5-f32", Tiny::t5(), WeightType::F32),
        ("albert-int8", Tiny::albert(), WeightType::Int8),
        ("clip-f32", Tiny::clip(), WeightType::F32),
        ("modernbert-int8", Tiny::modernbert(), WeightType::Int8),
        ("modernbert-f32", Tiny::modernbert(), WeightType::F32),
        ("dinov3-f32", Tiny::dinov3(), WeightType::F32),
        ("bert-heads-f32", Tiny::bert_heads(), WeightType::F32),
        ("umt5-int8", Tiny::umt5(), WeightType::Int8),
        ("siglip-f32", Tiny::siglip(), WeightType::F32),
        ("beit-f32", Tiny::beit(), WeightType::F32),
        ("clip-text-f32", Tiny::clip_text(), WeightType::F32),
        ("bert-tokens-f32", Tiny::bert_tokens(), WeightType::F32),
        ("whisper-int8", Tiny::whisper(), WeightType::Int8),
        ("whisper-f16", Tiny::whisper(), WeightType::F16),
        ("pix2struct-f32", Tiny::pix2struct(), WeightType::F32),
        ("pix2struct-int8", Tiny::pix2struct(), WeightType::Int8),
    ]
}

/// Where the golden files are.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Every golden package on disk, sorted by name.
///
/// # Errors
/// A file cannot be read.
pub fn read_all() -> Result<Vec<Golden>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "coda") {
            let text = std::fs::read(path.with_extension("json"))?;
            let expected = serde_json::from_slice(&text)?;
            let name = path.file_stem().context("no name")?.to_string_lossy().into_owned();
            found.push(Golden { name, package: PackageBytes::read(&path)?, expected });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!found.is_empty(), "{} holds no package", directory().display());
    Ok(found)
}

/// Computes what a package answers.
///
/// # Errors
/// The package does not read the input.
pub fn compute(
    package: &PackageBytes,
    input: &TinyInput,
    kernels: &'static Kernels,
) -> Result<Expected> {
    let package = package.parse()?;
    let model = Model::from_package(&package)?;
    let version = package.version();
    let mut expected =
        Expected { format: format!("{}.{}", version.major, version.minor), ..input.written()? };
    let tokens = input.tokens(&model);
    let answer = |reduction: f32| -> Result<Answer> {
        super::run(&model, input, tokens, kernels, Budget::Reduction(reduction), |output| Answer {
            reduction,
            values: words(output.values),
            hidden: words(output.hidden.iter().flatten()),
        })
    };
    expected.answers = REDUCTIONS.into_iter().map(answer).collect::<Result<_>>()?;
    Ok(expected)
}

impl TinyInput {
    /// Its tokens in `model`.
    fn tokens(&self, model: &Model<'_>) -> usize {
        match (self, model.config().embedding) {
            (Self::Tokens { ids, .. }, _) => ids.len(),
            (Self::Features(values), Embedding::Frames { bins, .. }) => values.len() / (2 * bins),
            _ => model.config().max_tokens().unwrap_or(0),
        }
    }

    /// The fields that hold it.
    fn written(&self) -> Result<Expected> {
        let mut expected = Expected::default();
        match self {
            Self::Tokens { ids, types } => {
                (expected.ids, expected.types) = (ids.clone(), types.clone());
            }
            Self::Pixels(pixels) => {
                pixels.iter().try_for_each(|byte| write!(expected.pixels, "{byte:02x}"))?;
            }
            Self::Features(values) => expected.features = words(values),
            Self::Grid { columns, pixels } => {
                expected.columns = *columns;
                pixels.iter().try_for_each(|byte| write!(expected.pixels, "{byte:02x}"))?;
            }
        }
        Ok(expected)
    }
}

impl Golden {
    /// The input as bytes.
    ///
    /// # Errors
    /// It is not as an input is written.
    pub fn input(&self) -> Result<TinyInput> {
        let Expected { ids, types, pixels, features, .. } = &self.expected;
        if !features.is_empty() {
            let bits = features.split(' ').map(|word| u32::from_str_radix(word, 16));
            let values = bits.map(|bits| Ok(f32::from_bits(bits?)));
            return Ok(TinyInput::Features(values.collect::<Result<_>>()?));
        }
        if pixels.is_empty() {
            return Ok(TinyInput::Tokens { ids: ids.clone(), types: types.clone() });
        }
        let digits = pixels
            .as_bytes()
            .chunks(2)
            .map(|pair| -> Result<u8> { Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?) });
        let pixels = digits.collect::<Result<_>>()?;
        Ok(match self.expected.columns {
            0 => TinyInput::Pixels(pixels),
            columns => TinyInput::Grid { columns, pixels },
        })
    }
}

/// Writes the golden packages and answers that are not there, and answers of which none is in the
/// file; returns the names of those it wrote. The answers are those of the scalar table.
///
/// # Errors
/// A package cannot be made, or a file not written.
pub fn write_missing() -> Result<Vec<String>> {
    let mut written = Vec::new();
    for (name, tiny, weights) in sources() {
        let name = format!("{name}-v{}.{}", VERSION.major, VERSION.minor);
        let path = directory().join(format!("{name}.coda"));
        let answers = path.with_extension("json");
        if answers.exists() {
            continue;
        }
        if !path.exists() {
            std::fs::create_dir_all(directory())?;
            std::fs::write(&path, &*tiny.pack(weights)?.bundle)?;
        }
        let expected = compute(&PackageBytes::read(&path)?, &tiny.input, &scalar::KERNELS)?;
        std::fs::write(answers, serde_json::to_string_pretty(&expected)? + "\n")?;
        written.push(name);
    }
    // Packages of an older version are kept; only their answers can be made again.
    for golden in read_all()? {
        if golden.expected.answers.is_empty() {
            let expected = compute(&golden.package, &golden.input()?, &scalar::KERNELS)?;
            let path = directory().join(format!("{}.json", golden.name));
            std::fs::write(path, serde_json::to_string_pretty(&expected)? + "\n")?;
            written.push(golden.name);
        }
    }
    Ok(written)
}

fn words<'v>(values: impl IntoIterator<Item = &'v f32>) -> String {
    let words: Vec<String> =
        values.into_iter().map(|value| format!("{:08x}", value.to_bits())).collect();
    words.join(" ")
}
