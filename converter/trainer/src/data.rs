//! Labelled sets, their split, their order and their batches.

use crate::model::{Batch, Inputs};
use crate::random::{Draws, Purpose};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use coda_converter::dataset::{
    Sample, SampleInput, labels_beside, read_file, read_ids, read_images,
};
use coda_converter::source::{Base, TokenizerFiles};
use coda_runtime::image::{InputNormalization, PatchGrid};
use coda_runtime::text::{Vocabulary, WordPiece};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Texts of similar length share a batch: so many batches are sorted by length together.
const SORTED_BATCHES: usize = 32;

/// What a model reads.
#[derive(Debug)]
pub struct Reader<'b> {
    grid: Option<PatchGrid>,
    normalization: Option<InputNormalization>,
    tokenizer: Option<&'b TokenizerFiles>,
    ids_only: Option<&'b str>,
    base_labels: &'b [String],
    longest: usize,
}

/// A labelled set.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Samples in the order of the file.
    pub samples: Vec<Sample>,
    /// Class names.
    pub labels: Vec<String>,
    /// SHA-256 of the files.
    pub hash: String,
}

/// How images are varied; nothing happens to texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Mirror every second image, left to right.
    pub flip: bool,
    /// Shift by up to so many pixels in each direction.
    pub shift: usize,
    /// Part of the patches that is kept; 0 for all.
    pub keep: f64,
}

impl<'b> Reader<'b> {
    /// A reader for `base`, of texts of at most `longest` tokens (0: what the base reads).
    ///
    /// # Errors
    /// A vision base does not say how pixels are normalised.
    pub fn new(base: &'b Base, longest: usize) -> Result<Self> {
        let grid = PatchGrid::of(&base.config.embedding);
        if grid.is_some() && base.image.is_none() {
            bail!("{} has no preprocessor_config.json", base.path.display());
        }
        let own = Some(base.texts.longest).filter(|tokens| *tokens > 0);
        let bound = base.config.max_tokens().into_iter().chain(own).min().unwrap_or(usize::MAX);
        let longest = if longest == 0 { bound } else { longest.min(bound) };
        let (tokenizer, base_labels) = (base.tokenizer.as_ref(), base.labels.as_slice());
        let (normalization, ids_only) = (base.image, base.ids_only.as_deref());
        Ok(Self { grid, normalization, tokenizer, ids_only, base_labels, longest })
    }

    /// The model reads texts: nothing varies them.
    #[must_use]
    pub const fn reads_texts(&self) -> bool {
        self.grid.is_none()
    }

    /// Reads a training set: TSV of label and text, IDX images with their labels beside them,
    /// safetensors of token ids, or a folder of a folder of images for each class.
    ///
    /// # Errors
    /// The files cannot be read or are damaged, an image is of another size, a text has no token, or
    /// a class has no sample.
    pub fn training(&self, path: &Path, labels: Option<&Path>) -> Result<Dataset> {
        let set = self.read(path, labels, None)?;
        check_classes(&set).with_context(|| path.display().to_string())?;
        Ok(set)
    }

    /// Reads a set of the classes `known`.
    ///
    /// # Errors
    /// As [`Reader::training`], and a label that is not known.
    pub fn test(&self, path: &Path, labels: Option<&Path>, known: &[String]) -> Result<Dataset> {
        self.read(path, labels, Some(known))
    }

    fn read(
        &self,
        path: &Path,
        labels: Option<&Path>,
        known: Option<&[String]>,
    ) -> Result<Dataset> {
        let set =
            if path.is_dir() { self.folder(path, known) } else { self.file(path, labels, known) };
        let set = set.with_context(|| path.display().to_string())?;
        ensure!(!set.samples.is_empty(), "{} has no sample", path.display());
        let unseen = set.samples.iter().find(|sample| sample.label >= set.labels.len());
        if let Some(sample) = unseen {
            let classes = set.labels.len();
            bail!(
                "{}: label {} was never seen in training, which had {classes} classes",
                path.display(),
                sample.label
            );
        }
        Ok(set)
    }

    fn file(
        &self,
        path: &Path,
        labels: Option<&Path>,
        known: Option<&[String]>,
    ) -> Result<Dataset> {
        let bytes = read_file(path)?;
        let mut hash = Sha256::new_with_prefix(&bytes);
        let numbered = |samples: Vec<Sample>, hash: Sha256| {
            let labels = known.map_or_else(|| self.names_of(&samples), <[String]>::to_vec);
            Dataset { samples, labels, hash: hex(hash) }
        };
        if bytes.starts_with(&[0, 0, 8, 3]) {
            let beside = labels.map_or_else(|| labels_beside(path), |own| Ok(own.to_owned()))?;
            let label_bytes = read_file(&beside)?;
            hash.update(&label_bytes);
            return Ok(numbered(read_images(&bytes, &label_bytes, self.grid)?, hash));
        }
        if path.extension().is_some_and(|end| end == "safetensors") {
            let mut samples = read_ids(&bytes)?;
            self.cut(&mut samples)?;
            return Ok(numbered(samples, hash));
        }
        let (samples, labels) = self.texts(&bytes, known)?;
        Ok(Dataset { samples, labels, hash: hex(hash) })
    }

    /// Names of numbered classes: the base's, if it names as many.
    fn names_of(&self, samples: &[Sample]) -> Vec<String> {
        let count = samples.iter().map(|sample| sample.label + 1).max().unwrap_or(0);
        match self.base_labels.len() >= count {
            true => self.base_labels.to_vec(),
            false => (0..count).map(|index| index.to_string()).collect(),
        }
    }

    /// Cuts token ids to the longest input.
    fn cut(&self, samples: &mut [Sample]) -> Result<()> {
        for (index, sample) in samples.iter_mut().enumerate() {
            if let SampleInput::Tokens(ids) = &mut sample.input {
                ensure!(!ids.is_empty(), "sample {index} has no token");
                ids.truncate(self.longest);
            }
        }
        Ok(())
    }

    fn texts(&self, bytes: &[u8], known: Option<&[String]>) -> Result<(Vec<Sample>, Vec<String>)> {
        ensure!(self.grid.is_none(), "the model reads images, these are texts");
        let text = std::str::from_utf8(bytes).context("not UTF-8 text, IDX or safetensors")?;
        let lines: Vec<(usize, &str, &str)> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                let pair = line.split_once('\t');
                let (label, text) = pair.with_context(|| format!("line {}: no tab", index + 1))?;
                Ok((index + 1, label, text))
            })
            .collect::<Result<_>>()?;
        let labels = known.map_or_else(|| names(&lines), <[String]>::to_vec);
        let none = self.ids_only.unwrap_or("the base has no WordPiece vocabulary");
        let section = self.tokenizer.context(none.to_owned())?;
        let section = section.section().map_err(anyhow::Error::msg)?;
        let tokenizer = WordPiece::new(Vocabulary::parse(&section)?);
        let sample = |(line, label, text): &(usize, &str, &str)| {
            let index = labels.iter().position(|name| name == label);
            let label = index.with_context(|| {
                format!("line {line}: label \"{label}\" was never seen in training")
            })?;
            let ids =
                tokenize(&tokenizer, text, self.longest).with_context(|| format!("line {line}"))?;
            Ok(Sample { input: SampleInput::Tokens(ids), label, tokenizing: 0.0 })
        };
        Ok((lines.iter().map(sample).collect::<Result<_>>()?, labels))
    }

    fn folder(&self, path: &Path, known: Option<&[String]>) -> Result<Dataset> {
        let grid = self.grid.context("the model reads texts, this is a folder of images")?;
        let classes = entries(path)?;
        let classes: Vec<&PathBuf> = classes.iter().filter(|class| class.is_dir()).collect();
        let name =
            |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own: Vec<String> = classes.iter().map(|class| name(class)).collect();
        let labels = known.map_or(own, <[String]>::to_vec);
        let (mut samples, mut hash) = (Vec::new(), Sha256::new());
        for class in classes {
            let found = labels.iter().position(|label| *label == name(class));
            let label = found
                .with_context(|| format!("label \"{}\" was never seen in training", name(class)))?;
            for file in entries(class)? {
                let bytes = read_file(&file)?;
                hash.update(&bytes);
                let pixels = pixels(&bytes, grid).with_context(|| file.display().to_string())?;
                samples.push(Sample { input: SampleInput::Pixels(pixels), label, tokenizing: 0.0 });
            }
        }
        Ok(Dataset { samples, labels, hash: hex(hash) })
    }

    /// The batch of some samples; `draws` vary the images.
    ///
    /// # Errors
    /// A sample is of another kind than the model reads.
    pub fn batch(
        &self,
        samples: &[&Sample],
        augmentation: Augmentation,
        draws: Option<Draws>,
    ) -> Result<Batch> {
        let labels = samples.iter().map(|sample| sample.label).collect();
        let Some(grid) = self.grid else {
            let lengths = samples.iter().map(|sample| tokens(sample).len());
            let ranges = crate::model::ranges(lengths);
            let ids = samples.iter().flat_map(|sample| tokens(sample).iter().copied());
            let inputs = Inputs::Tokens(ids.collect());
            return Ok(Batch { inputs, ranges, positions: Vec::new(), labels, draw: 0 });
        };
        let batch = self.images(samples, grid, augmentation, draws)?;
        Ok(Batch { labels, ..batch })
    }

    /// The patches of some images, without labels.
    fn images(
        &self,
        samples: &[&Sample],
        grid: PatchGrid,
        augmentation: Augmentation,
        mut draws: Option<Draws>,
    ) -> Result<Batch> {
        let normalization = self.normalization.context("no normalisation of pixels")?;
        let (patches, inputs) = (grid.patches(), grid.inputs());
        let special = (self.longest - patches) as u32;
        let kept = match draws {
            Some(_) if augmentation.keep > 0.0 => (patches as f64 * augmentation.keep).ceil(),
            _ => patches as f64,
        } as usize;
        let mut values = vec![0.0; samples.len() * kept * inputs];
        let mut positions = Vec::new();
        for (sample, slots) in samples.iter().zip(values.chunks_exact_mut(kept * inputs)) {
            let SampleInput::Pixels(pixels) = &sample.input else { bail!("not an image") };
            let varied = draws.as_mut().map(|draws| augmentation.apply(pixels, grid, draws));
            let pixels = varied.as_ref().unwrap_or(pixels);
            let chosen = match draws.as_mut() {
                Some(draws) if kept < patches => draws.choose(patches, kept),
                _ => (0..patches).collect(),
            };
            for (patch, slot) in chosen.iter().zip(slots.chunks_exact_mut(inputs)) {
                grid.read(pixels, *patch, &normalization, slot);
            }
            if kept < patches {
                positions.extend(0..special);
                positions.extend(chosen.iter().map(|patch| *patch as u32 + special));
            }
        }
        let shape = (samples.len() * kept, inputs);
        let inputs = Inputs::Patches(Tensor::from_vec(values, shape, &Device::Cpu)?);
        let lengths = samples.iter().map(|_| kept + special as usize);
        let ranges = crate::model::ranges(lengths);
        Ok(Batch { inputs, ranges, positions, labels: Vec::new(), draw: 0 })
    }
}

fn tokens(sample: &Sample) -> &[u32] {
    match &sample.input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => ids,
        SampleInput::Pixels(_) => &[],
    }
}

fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let list =
        std::fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut list: Vec<PathBuf> =
        list.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    list.sort();
    Ok(list)
}

fn pixels(bytes: &[u8], grid: PatchGrid) -> Result<Vec<u8>> {
    let image = image::load_from_memory(bytes)?;
    let (height, width) = (grid.rows * grid.side, grid.columns * grid.side);
    ensure!(
        image.height() as usize == height && image.width() as usize == width,
        "the image is {} by {}, the model reads {height} by {width}",
        image.height(),
        image.width()
    );
    match grid.channels {
        1 => Ok(image.to_luma8().into_raw()),
        3 => Ok(image.to_rgb8().into_raw()),
        other => bail!("the model reads images of {other} channels, supported are 1 and 3"),
    }
}

fn names(lines: &[(usize, &str, &str)]) -> Vec<String> {
    let mut names: Vec<String> = lines.iter().map(|(_, label, _)| (*label).to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn tokenize(tokenizer: &WordPiece<'_>, text: &str, limit: usize) -> Result<Vec<u32>> {
    // No text has more tokens than bytes, but for the two special ones.
    let mut ids = vec![0; limit.min(text.len() + 2)];
    let encoding = tokenizer.encode(text, &mut ids);
    ensure!(encoding.total > 2, "the text is empty: it has no token");
    ids.truncate(encoding.len);
    Ok(ids)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_classes(set: &Dataset) -> Result<()> {
    let mut counts = vec![0usize; set.labels.len()];
    for sample in &set.samples {
        if let Some(count) = counts.get_mut(sample.label) {
            *count += 1;
        }
    }
    match counts.iter().position(|count| *count == 0) {
        Some(empty) => bail!("class \"{}\" has no sample", set.labels[empty]),
        None => Ok(()),
    }
}

impl Augmentation {
    /// A varied copy of an image.
    fn apply(self, pixels: &[u8], grid: PatchGrid, draws: &mut Draws) -> Vec<u8> {
        let (height, width) = (grid.rows * grid.side, grid.columns * grid.side);
        let flip = self.flip && draws.below(2) == 1;
        let mut offset = || draws.below(2 * self.shift + 1) as i64 - self.shift as i64;
        let (down, right) = (offset(), offset());
        let mut out = vec![0; pixels.len()];
        for (index, slot) in out.chunks_exact_mut(grid.channels).enumerate() {
            let (y, x) = ((index / width) as i64 - down, (index % width) as i64 - right);
            let x = if flip { width as i64 - 1 - x } else { x };
            if (0..height as i64).contains(&y) && (0..width as i64).contains(&x) {
                let from = (y as usize * width + x as usize) * grid.channels;
                slot.copy_from_slice(&pixels[from..from + grid.channels]);
            }
        }
        out
    }
}

/// Indices of the training and of the validation part, each class split alike.
#[must_use]
pub fn split(set: &Dataset, validation: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut by_label: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, sample) in set.samples.iter().enumerate() {
        by_label.entry(sample.label).or_default().push(index);
    }
    let (mut training, mut held_out) = (Vec::new(), Vec::new());
    for (label, mut indices) in by_label {
        Draws::new(seed, Purpose::Split, label as u64).shuffle(&mut indices);
        let count = (indices.len() as f64 * validation).round() as usize;
        let (own, rest) = indices.split_at(count.min(indices.len() - 1));
        held_out.extend_from_slice(own);
        training.extend_from_slice(rest);
    }
    training.sort_unstable();
    held_out.sort_unstable();
    (training, held_out)
}

/// The batches of an epoch: a function of seed and epoch alone.
#[must_use]
pub fn epoch(
    samples: &[Sample],
    indices: &[usize],
    size: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<usize>> {
    let mut order = indices.to_vec();
    let mut draws = Draws::new(seed, Purpose::Order, epoch);
    draws.shuffle(&mut order);
    let mut batches = Vec::new();
    for part in order.chunks_mut(size * SORTED_BATCHES) {
        part.sort_by_key(|index| tokens(&samples[*index]).len());
        batches.extend(part.chunks(size).map(<[usize]>::to_vec));
    }
    draws.shuffle(&mut batches);
    batches
}
