//! Labelled sets, their split, their order and their batches.

use crate::model::{Batch, Inputs};
use crate::random::{Draws, Purpose};
use crate::writing::Writing;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use coda_converter::dataset::{
    self, Encoder, SampleInput, labels_beside, read_file, read_ids, read_images, reads_types,
};
use coda_converter::folder::{Class, Folder};
use coda_converter::picture;
use coda_converter::preparation::Preparation;
use coda_converter::rows::{self, Header, Row};
use coda_converter::source::Base;
use coda_runtime::image::{InputNormalization, PatchGrid};
use coda_runtime::text::{PieceTokenizer, Pieces, Tokenizer, Vocabulary, WordPiece};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Texts of similar length share a batch: so many batches are sorted by length together.
const SORTED_BATCHES: usize = 32;
/// Texts below which nothing is said of how their classes look.
const DOUBTED: usize = 8;

/// One input, and what is right of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model reads.
    pub input: SampleInput,
    /// Index of the right label; 0 for a model that writes.
    pub label: usize,
    /// The tokens of the right answer with its end, for a model that writes.
    pub answer: Vec<u32>,
}

impl From<dataset::Sample> for Sample {
    fn from(dataset::Sample { input, label, .. }: dataset::Sample) -> Self {
        Self { input, label, answer: Vec::new() }
    }
}

/// What a model reads.
#[derive(Debug)]
pub struct Reader<'b> {
    writing: Option<Writing>,
    grid: Option<PatchGrid>,
    normalization: Option<InputNormalization>,
    base: &'b Base,
    ids_only: Option<&'b str>,
    reading: Reading,
    preparation: Option<&'b Preparation>,
    longest: usize,
    typed: bool,
}

/// How labelled data are read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Reading {
    /// Whether the first line of texts names the columns
    #[arg(long, value_enum, default_value_t = Header::Auto)]
    pub header: Header,
    /// Names of numbered classes (IDX, safetensors) in their order; else they are called by their numbers
    #[arg(long, value_name = "NAME,NAME,...", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Resize and cut the pictures of a folder as the base's `preprocessor_config.json` says
    #[arg(long)]
    pub resize: bool,
}

/// A labelled set.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// Samples in the order of the file.
    pub samples: Vec<Sample>,
    /// Class names; none for a model that writes.
    pub labels: Vec<String>,
    /// SHA-256 of the files.
    pub hash: String,
    /// How many texts are longer than what is read of them.
    pub cut: usize,
    /// How many answers are longer than the model writes.
    pub cut_answers: usize,
    /// What may be a mistake, a sentence each.
    pub notes: Vec<String>,
    /// Why its classes cannot be meant, if they look so.
    pub doubt: Option<String>,
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
    pub fn new(base: &'b Base, longest: usize, reading: &Reading) -> Result<Self> {
        let grid = PatchGrid::of(&base.config.embedding);
        if grid.is_some() && base.image.is_none() {
            bail!("{} has no preprocessor_config.json", base.path.display());
        }
        let reading = reading.clone();
        let preparation = reading.resize.then_some(&base.preparation);
        let own = Some(base.texts.longest).filter(|tokens| *tokens > 0);
        let bound = base.config.max_tokens().into_iter().chain(own).min().unwrap_or(usize::MAX);
        let longest = if longest == 0 { bound } else { longest.min(bound) };
        let (normalization, ids_only) = (base.image, base.ids_only.as_deref());
        let typed = reads_types(&base.config.embedding);
        let writing = Writing::of(base);
        Ok(Self {
            writing,
            grid,
            normalization,
            base,
            ids_only,
            reading,
            preparation,
            longest,
            typed,
        })
    }

    /// The model reads texts: nothing varies them.
    #[must_use]
    pub const fn reads_texts(&self) -> bool {
        self.grid.is_none()
    }

    /// How the model begins and ends answers, if it writes.
    #[must_use]
    pub const fn writing(&self) -> Option<&Writing> {
        self.writing.as_ref()
    }

    /// Nothing of the answer to a sample was cut.
    #[must_use]
    pub fn is_whole(&self, sample: &Sample) -> bool {
        self.writing.as_ref().is_none_or(|writing| !writing.is_cut(&sample.answer))
    }

    /// The longest input in tokens.
    #[must_use]
    pub const fn longest(&self) -> usize {
        self.longest
    }

    /// Reads a training set: TSV or CSV of label and text or pair of texts, IDX images with their labels beside them,
    /// safetensors of token ids, or a folder of a folder of images for each class. For a model that writes, TSV or
    /// CSV of the right answer and the text, or picture file named from where the set is.
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
        let set = match &self.writing {
            Some(writing) => self.questions(path, writing),
            None if path.is_dir() => self.folder(path, known),
            None => self.file(path, labels, known),
        };
        let set = set.with_context(|| path.display().to_string())?;
        ensure!(!set.samples.is_empty(), "{} has no sample", path.display());
        if self.writing.is_some() {
            return Ok(set);
        }
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
            let labels = known.map_or_else(|| self.names_of(&samples), |own| Ok(own.to_vec()))?;
            Ok(Dataset { samples, labels, hash: hex(hash), ..Dataset::default() })
        };
        if bytes.starts_with(&[0, 0, 8, 3]) {
            let beside = labels.map_or_else(|| labels_beside(path), |own| Ok(own.to_owned()))?;
            let label_bytes = read_file(&beside)?;
            hash.update(&label_bytes);
            let samples = read_images(&bytes, &label_bytes, self.grid)?;
            return numbered(samples.into_iter().map(Sample::from).collect(), hash);
        }
        if path.extension().is_some_and(|end| end == "safetensors") {
            let mut samples: Vec<Sample> =
                read_ids(&bytes)?.into_iter().map(Sample::from).collect();
            let cut = self.cut(&mut samples)?;
            return Ok(Dataset { cut, ..numbered(samples, hash)? });
        }
        let set = self.texts(path, &bytes, known)?;
        Ok(Dataset { hash: self.hash_of_texts(hash), ..set })
    }

    fn questions(&self, path: &Path, writing: &Writing) -> Result<Dataset> {
        let bytes = read_file(path)?;
        let set = self.answers(path, &bytes, writing)?;
        Ok(Dataset { hash: self.hash_of_texts(Sha256::new_with_prefix(&bytes)), ..set })
    }

    fn hash_of_texts(&self, mut hash: Sha256) -> String {
        if self.reading.header != Header::Auto {
            hash.update(format!("{:?}", self.reading.header));
        }
        hex(hash)
    }

    /// Names of numbered classes: those given, else their numbers. The names of the base are of its own
    /// classes, and say nothing of these.
    fn names_of(&self, samples: &[Sample]) -> Result<Vec<String>> {
        let count = samples.iter().map(|sample| sample.label + 1).max().unwrap_or(0);
        let given = &self.reading.classes;
        if given.is_empty() {
            return Ok((0..count).map(|index| index.to_string()).collect());
        }
        ensure!(given.len() == count, "--classes names {}, the data have {count}", given.len());
        Ok(given.clone())
    }

    /// Cuts token ids to the longest input; how many were longer.
    fn cut(&self, samples: &mut [Sample]) -> Result<usize> {
        let mut cut = 0;
        for (index, sample) in samples.iter_mut().enumerate() {
            if let SampleInput::Tokens(ids) = &mut sample.input {
                ensure!(!ids.is_empty(), "sample {index} has no token");
                cut += usize::from(ids.len() > self.longest);
                ids.truncate(self.longest);
            }
        }
        Ok(cut)
    }

    /// The section of the base's tokenizer.
    fn section(&self) -> Result<Vec<u8>> {
        let section = match (&self.base.pieces, &self.base.tokenizer) {
            (Some(pieces), _) => pieces.section(),
            (None, Some(words)) => words.section(),
            (None, None) => bail!("{}", self.ids_only.unwrap_or("the base has no tokenizer")),
        };
        section.map_err(anyhow::Error::msg)
    }

    fn texts(&self, path: &Path, bytes: &[u8], known: Option<&[String]>) -> Result<Dataset> {
        ensure!(self.grid.is_none(), "the model reads images, these are texts");
        let rows = rows::read(path, bytes, self.reading.header)?;
        let labels = known.map_or_else(|| names(&rows.rows), <[String]>::to_vec);
        let indices: HashMap<&str, usize> =
            labels.iter().enumerate().map(|(index, name)| (&**name, index)).collect();
        let section = self.section()?;
        let encoder = self.encoder(&section, self.longest)?;
        let doubt = doubt(&rows.rows).filter(|_| self.reading.header == Header::Auto);
        let mut set = Dataset { notes: rows.notes(), doubt, ..Dataset::default() };
        for Row { line, label, text, second } in &rows.rows {
            let index = indices.get(&**label).copied();
            let label = index.with_context(|| {
                format!("line {line}: label \"{label}\" was never seen in training")
            })?;
            let encoded = encoder.encode(text, second.as_deref());
            let (input, encoding) = encoded.with_context(|| format!("line {line}"))?;
            set.cut += usize::from(encoding.truncated);
            set.samples.push(Sample { input, label, answer: Vec::new() });
        }
        Ok(Dataset { labels, ..set })
    }

    /// The base's tokenizer, of texts of at most `limit` tokens.
    fn encoder<'s>(&self, section: &'s [u8], limit: usize) -> Result<Encoder<'s>> {
        let tokenizer = match &self.base.pieces {
            Some(_) => Tokenizer::Pieces(PieceTokenizer::new(Pieces::parse(section)?)),
            None => Tokenizer::WordPiece(WordPiece::new(Vocabulary::parse(section)?)),
        };
        Ok(Encoder { tokenizer, typed: self.typed, limit })
    }

    /// Rows of the right answer and what is asked.
    fn answers(&self, path: &Path, bytes: &[u8], writing: &Writing) -> Result<Dataset> {
        let rows = rows::read(path, bytes, self.reading.header)?;
        let section = self.section()?;
        let (texts, answers) =
            (self.encoder(&section, self.longest)?, self.encoder(&section, usize::MAX)?);
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut set = Dataset { notes: rows.notes(), ..Dataset::default() };
        for Row { line, label, text, second } in &rows.rows {
            let at = || format!("line {line}");
            let input = if let Some(grid) = self.grid {
                let pixels = picture::read(&directory.join(text), grid, self.preparation);
                SampleInput::Pixels(pixels.with_context(at)?)
            } else {
                let (input, encoding) = texts.encode(text, second.as_deref()).with_context(at)?;
                set.cut += usize::from(encoding.truncated);
                input
            };
            let answer = writing.tokens(&answers, label).with_context(at)?;
            set.cut_answers += usize::from(writing.is_cut(&answer));
            set.samples.push(Sample { input, label: 0, answer });
        }
        Ok(set)
    }

    fn folder(&self, path: &Path, known: Option<&[String]>) -> Result<Dataset> {
        let grid = self.grid.context("the model reads texts, this is a folder of images")?;
        let folder = Folder::read(path)?;
        let own = || folder.classes.iter().map(|class| class.name.clone()).collect();
        let labels = known.map_or_else(own, <[String]>::to_vec);
        let (mut samples, mut hash) = (Vec::new(), Sha256::new());
        for Class { name, pictures } in &folder.classes {
            let found = labels.iter().position(|label| label == name);
            let label =
                found.with_context(|| format!("label \"{name}\" was never seen in training"))?;
            for file in pictures {
                hash.update(read_file(file)?);
                let pixels = picture::read(file, grid, self.preparation)?;
                samples.push(Sample {
                    input: SampleInput::Pixels(pixels),
                    label,
                    answer: Vec::new(),
                });
            }
        }
        self.preparation.iter().for_each(|how| hash.update(how.to_string()));
        let (hash, notes) = (hex(hash), folder.notes());
        Ok(Dataset { samples, labels, hash, notes, ..Dataset::default() })
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
        let answers: Vec<&[u32]> = samples.iter().map(|sample| &*sample.answer).collect();
        let answers = self.writing.as_ref().map(|writing| writing.inputs(&answers));
        let Some(grid) = self.grid else {
            let lengths = samples.iter().map(|sample| tokens(sample).len());
            let ranges = crate::model::ranges(lengths);
            let ids = samples.iter().flat_map(|sample| tokens(sample).iter().copied()).collect();
            let inputs = Inputs::Tokens {
                ids,
                types: samples.iter().flat_map(|sample| types(sample)).collect(),
            };
            return Ok(Batch { inputs, ranges, labels, answers, ..Batch::default() });
        };
        let batch = self.images(samples, grid, augmentation, draws)?;
        Ok(Batch { labels, answers, ..batch })
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
        Ok(Batch { inputs, ranges, positions, ..Batch::default() })
    }
}

fn tokens(sample: &Sample) -> &[u32] {
    match &sample.input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => ids,
        SampleInput::Pixels(_)
        | SampleInput::Patches(_)
        | SampleInput::Features(_)
        | SampleInput::Grid(_) => &[],
    }
}

/// The type of each token: 1 in the second text of a pair whose types count, else 0.
fn types(sample: &Sample) -> Vec<u32> {
    match &sample.input {
        SampleInput::Typed { types, .. } => types.iter().copied().map(u32::from).collect(),
        _ => vec![0; tokens(sample).len()],
    }
}

fn names(rows: &[Row]) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Why the classes of texts cannot be meant, if they look so.
fn doubt(rows: &[Row]) -> Option<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        *counts.entry(&row.label).or_default() += 1;
    }
    let single = counts.values().filter(|count| **count == 1).count();
    let first = rows.first().filter(|_| rows.len() >= DOUBTED)?;
    if counts.len() > rows.len() / 2 {
        let (classes, rows) = (counts.len(), rows.len());
        return Some(format!(
            "{classes} classes in {rows} rows: the label comes first, then the text; a header names the \
             columns if they stand otherwise"
        ));
    }
    (single == 1 && counts.get(&*first.label) == Some(&1)).then(|| {
        format!(
            "line {}: label \"{}\" has one sample, the first line: if it is a header, say --header yes, \
             else --header no",
            first.line, first.label
        )
    })
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
