//! Labelled texts, token ids and images.

use crate::classes::Classes;
use crate::folder::Folder;
use crate::grid::Patches;
use crate::pack::ids_only;
use crate::picture;
use crate::preparation::Preparation;
use crate::rows::{self, Header};
use anyhow::{Context, Result, bail, ensure};
use coda_runtime::config::Embedding;
use coda_runtime::image::PatchGrid;
use coda_runtime::model::Model;
use coda_runtime::text::{Encoding, Tokenizer};
use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The most bytes that gzip may unpack to.
const LARGEST: u64 = 1 << 30;

/// One input with its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model reads.
    pub input: SampleInput,
    /// Index of the right label.
    pub label: usize,
    /// Seconds that it took to make tokens of the text; 0 where there was none.
    pub tokenizing: f64,
}

/// What a model reads.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleInput {
    /// Token ids.
    Tokens(Vec<u32>),
    /// Token ids with a type for each.
    Typed {
        /// Token ids.
        ids: Vec<u32>,
        /// Their types.
        types: Vec<u8>,
    },
    /// Pixels, rows of interleaved channels.
    Pixels(Vec<u8>),
    /// Values of patches as the projection reads them.
    Patches(Vec<f32>),
    /// Log-mel features, frame after frame.
    Features(Vec<f32>),
    /// The same of an image of any size.
    Grid(Patches),
}

impl SampleInput {
    /// The input as the executor takes it.
    #[must_use]
    pub fn as_input(&self) -> coda_runtime::executor::Input<'_> {
        match self {
            Self::Tokens(ids) => coda_runtime::executor::Input::tokens(ids),
            Self::Typed { ids, types } => coda_runtime::executor::Input::typed(ids, types),
            Self::Pixels(pixels) => coda_runtime::executor::Input::Pixels(pixels),
            Self::Patches(values) => coda_runtime::executor::Input::Patches(values),
            Self::Features(values) => coda_runtime::executor::Input::Features(values),
            Self::Grid(patches) => patches.as_input(),
        }
    }

    /// Its number of tokens in `model`.
    #[must_use]
    pub fn tokens(&self, model: &Model<'_>) -> usize {
        match self {
            Self::Tokens(ids) | Self::Typed { ids, .. } => ids.len(),
            Self::Pixels(_) | Self::Patches(_) => model.config().max_tokens().unwrap_or(0),
            Self::Features(values) => match model.config().embedding {
                Embedding::Frames { bins, .. } => values.len() / (2 * bins),
                _ => 0,
            },
            Self::Grid(patches) => patches.rows * patches.columns,
        }
    }

    /// A picture file as `model` reads it: of the model's size, or made so as `how` says; for a model of
    /// images of any size as its family does it.
    ///
    /// # Errors
    /// As [`picture::read`] and [`Patches::read`]; the model reads texts.
    pub fn of_picture(path: &Path, model: &Model<'_>, how: Option<&Preparation>) -> Result<Self> {
        let embedding = &model.config().embedding;
        if let Some(grid) = model.patch_grid() {
            return Ok(Self::Pixels(picture::read(path, grid, how)?));
        }
        let most = PatchGrid::largest(embedding).context("the model reads texts, not images")?;
        let patches = model.max_tokens().unwrap_or(1);
        Ok(Self::Grid(Patches::read(path, most, patches)?))
    }
}

/// Whether a model reads images, of one size or of any.
#[must_use]
pub const fn reads_images(model: &Model<'_>) -> bool {
    matches!(model.config().embedding, Embedding::Patches { .. } | Embedding::Grid { .. })
}

/// How a labelled set is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading<'r> {
    /// IDX labels, if they are not found beside the images.
    pub labels: Option<&'r Path>,
    /// Whether the first line of texts names the columns.
    pub header: Header,
    /// How pictures of a folder are prepared; without it they must have the size that the model reads.
    pub prepare: Option<&'r Preparation>,
    /// Keeps the first samples only.
    pub limit: Option<usize>,
    /// The labels are not looked at: each is 0.
    pub unlabelled: bool,
}

/// A labelled set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Labelled {
    /// The samples in the order of the file.
    pub samples: Vec<Sample>,
    /// How many texts are longer than the model reads, and were cut.
    pub cut: usize,
    /// How many rows without text, or files that are no pictures, were passed over.
    pub passed_over: usize,
    /// What may be a mistake, a sentence each.
    pub notes: Vec<String>,
}

impl Labelled {
    /// What of the data was cut, and what may be a mistake, a sentence each.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let cut = self.cut;
        let cut = (cut > 0)
            .then(|| format!("{cut} texts are longer than the model reads: their ends were cut"));
        cut.into_iter().chain(self.notes.iter().cloned())
    }
}

/// Reads a labelled set for `model`: TSV or CSV of label and text or pair of texts ([`rows`]), safetensors of token ids
/// (`input_ids`, `lengths`, `labels`), IDX images with an IDX file of labels beside them, or a folder of
/// class folders of pictures. gzip is unpacked.
///
/// # Errors
/// The file cannot be read, is damaged, is of another kind than the model reads, or has no sample; its
/// labels are not those of the model, or the package has no head.
pub fn read(path: &Path, reading: Reading<'_>, model: &Model<'_>) -> Result<Labelled> {
    let named = || path.display().to_string();
    let mut set = if path.is_dir() {
        read_folder(path, reading, model)?
    } else {
        read_from(path, reading, model).with_context(named)?
    };
    set.samples.truncate(reading.limit.unwrap_or(usize::MAX));
    ensure!(!set.samples.is_empty(), "{} has no sample", path.display());
    if reading.unlabelled {
        set.samples.iter_mut().for_each(|sample| sample.label = 0);
    }
    check_labels(&set.samples, model).with_context(named)?;
    Ok(set)
}

/// Reads a set in one file.
fn read_from(path: &Path, reading: Reading<'_>, model: &Model<'_>) -> Result<Labelled> {
    let bytes = read_file(path)?;
    let numbered = |samples| {
        // Refuses a package without labels by the reason, not by the first label.
        if !reading.unlabelled {
            Classes::of(model)?;
        }
        Ok(Labelled { samples, ..Labelled::default() })
    };
    match bytes.get(..4) {
        Some([0, 0, 8, 3]) => {
            let beside =
                reading.labels.map_or_else(|| labels_beside(path), |own| Ok(own.to_owned()))?;
            numbered(read_images(&bytes, &read_file(&beside)?, model.patch_grid())?)
        }
        _ if path.extension().is_some_and(|end| end == "safetensors") => {
            numbered(read_ids(&bytes)?)
        }
        _ => read_texts(path, &bytes, reading, model),
    }
}

/// A file, unpacked if it is gzip.
///
/// # Errors
/// It cannot be read, is damaged gzip, or unpacks to more than 1 GiB, which is not unpacked further.
pub fn read_file(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    unpack(&bytes, LARGEST).with_context(|| path.display().to_string())
}

/// Unpacks gzip to at most `most` bytes.
fn unpack(bytes: &[u8], most: u64) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    let mut reader = GzDecoder::new(bytes).take(most + 1);
    reader.read_to_end(&mut unpacked).context("damaged gzip")?;
    let found = unpacked.len() as u64;
    ensure!(found <= most, "it unpacks to more than {most} bytes: give the file unpacked");
    Ok(unpacked)
}

/// The file of IDX labels that belongs to a file of IDX images.
///
/// # Errors
/// The name of the images does not follow the usual pattern.
pub fn labels_beside(images: &Path) -> Result<PathBuf> {
    let name = images.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let other = name.replace("images-idx3", "labels-idx1");
    if other == name {
        bail!("name the labels of {} with --labels", images.display());
    }
    Ok(images.with_file_name(other))
}

/// The header fields and the body of an IDX file of bytes.
fn idx(bytes: &[u8], dimensions: u8) -> Result<(Vec<usize>, &[u8])> {
    let magic = [0, 0, 8, dimensions];
    ensure!(bytes.starts_with(&magic), "not an IDX file of {dimensions} dimensions of bytes");
    let length = 4 + usize::from(dimensions) * 4;
    let (header, body) = bytes.split_at_checked(length).context("the IDX header is cut")?;
    let (fields, _) = header.as_chunks();
    let sizes: Vec<usize> =
        fields.iter().skip(1).map(|field| u32::from_be_bytes(*field) as usize).collect();
    let expected = sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size));
    ensure!(
        expected == Some(body.len()),
        "the IDX file has {} bytes of data, its header says {sizes:?}",
        body.len()
    );
    Ok((sizes, body))
}

/// Labelled gray images of two IDX files, for a model that reads `grid`; one of several channels
/// reads the gray in each.
///
/// # Errors
/// A file is damaged, or the images are of another size.
pub fn read_images(images: &[u8], labels: &[u8], grid: Option<PatchGrid>) -> Result<Vec<Sample>> {
    let (sizes, pixels) = idx(images, 3)?;
    let (_, labels) = idx(labels, 1).context("the labels")?;
    ensure!(sizes[0] == labels.len(), "{} images and {} labels", sizes[0], labels.len());
    let grid = grid.context("the model reads texts, these are images")?;
    let (height, width) = (grid.rows * grid.side, grid.columns * grid.side);
    ensure!(
        sizes[1..] == [height, width],
        "the images are {} by {}, the model reads {height} by {width}",
        sizes[1],
        sizes[2]
    );
    let repeated = |pixels: &[u8]| -> Vec<u8> {
        pixels.iter().flat_map(|pixel| std::iter::repeat_n(*pixel, grid.channels)).collect()
    };
    let images = pixels.chunks_exact((height * width).max(1)).zip(labels);
    Ok(images
        .map(|(pixels, label)| Sample {
            input: SampleInput::Pixels(repeated(pixels)),
            label: usize::from(*label),
            tokenizing: 0.0,
        })
        .collect())
}

/// Labelled token ids of a safetensors file (`input_ids`, `lengths`, `labels`).
///
/// # Errors
/// A tensor is missing, of another type, or too short.
pub fn read_ids(bytes: &[u8]) -> Result<Vec<Sample>> {
    let file = SafeTensors::deserialize(bytes)?;
    let (ids, lengths) = (integers(&file, "input_ids")?, integers(&file, "lengths")?);
    let labels = integers(&file, "labels")?;
    ensure!(lengths.len() == labels.len(), "{} lengths, {} labels", lengths.len(), labels.len());
    let width = ids.len().checked_div(lengths.len()).unwrap_or(0);
    ensure!(
        width * lengths.len() == ids.len(),
        "{} token ids, {} lengths",
        ids.len(),
        lengths.len()
    );
    ids.chunks(width.max(1))
        .zip(lengths.iter().zip(&labels))
        .map(|(row, (length, label))| {
            let ids = row.get(..*length as usize).context("a length is above the row")?;
            let (input, label) = (SampleInput::Tokens(ids.to_vec()), *label as usize);
            Ok(Sample { input, label, tokenizing: 0.0 })
        })
        .collect()
}

/// An integer tensor; values must fit a u32.
fn integers(file: &SafeTensors<'_>, name: &str) -> Result<Vec<u32>> {
    let tensor = file.tensor(name)?;
    let wide: Vec<i64> = match tensor.dtype() {
        safetensors::Dtype::I32 => {
            let (values, _) = tensor.data().as_chunks();
            values.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect()
        }
        safetensors::Dtype::I64 => {
            let (values, _) = tensor.data().as_chunks();
            values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()
        }
        other => bail!("tensor \"{name}\" is {other:?}, not an integer type"),
    };
    wide.into_iter()
        .map(|value| u32::try_from(value).with_context(|| format!("\"{name}\" holds {value}")))
        .collect()
}

fn read_texts(
    path: &Path,
    bytes: &[u8],
    reading: Reading<'_>,
    model: &Model<'_>,
) -> Result<Labelled> {
    let rows = rows::read(path, bytes, reading.header)?;
    ensure!(!reads_images(model), "the model reads images, these are texts");
    ensure!(!rows.rows.is_empty(), "the file has no sample");
    let places: Vec<_> =
        rows.rows.iter().map(|row| (&*row.label, format!("line {}", row.line))).collect();
    let labels = label_indices(&places, reading, model)?;
    let encoder = Encoder::of(model)?;
    let mut set = Labelled { passed_over: rows.empty, notes: rows.notes(), ..Labelled::default() };
    for (row, label) in rows.rows.iter().zip(labels) {
        let start = Instant::now();
        let encoded = encoder.encode(&row.text, row.second.as_deref());
        let (input, encoding) = encoded.with_context(|| format!("line {}", row.line))?;
        let tokenizing = start.elapsed().as_secs_f64();
        set.cut += usize::from(encoding.truncated);
        set.samples.push(Sample { input, label, tokenizing });
    }
    Ok(set)
}

/// Reads the pictures of a folder of class folders.
fn read_folder(path: &Path, reading: Reading<'_>, model: &Model<'_>) -> Result<Labelled> {
    ensure!(reads_images(model), "the model reads texts, this is a folder of images");
    let folder = Folder::read(path)?;
    let (classes, passed_over) = (&folder.classes, folder.passed_over);
    let places: Vec<_> = classes
        .iter()
        .map(|class| (&*class.name, path.join(&class.name).display().to_string()))
        .collect();
    let labels = label_indices(&places, reading, model)?;
    let mut set = Labelled { passed_over, notes: folder.notes(), ..Labelled::default() };
    for (class, label) in classes.iter().zip(labels) {
        for file in &class.pictures {
            let input = SampleInput::of_picture(file, model, reading.prepare)?;
            set.samples.push(Sample { input, label, tokenizing: 0.0 });
        }
    }
    Ok(set)
}

/// The indices of labels, each with where it stands.
fn label_indices(
    found: &[(&str, String)],
    reading: Reading<'_>,
    model: &Model<'_>,
) -> Result<Vec<usize>> {
    if reading.unlabelled {
        return Ok(vec![0; found.len()]);
    }
    Classes::of(model)?.indices(found)
}

fn check_labels(samples: &[Sample], model: &Model<'_>) -> Result<()> {
    let labels = model.dimensions().outputs.max(1);
    match samples.iter().position(|sample| sample.label >= labels) {
        Some(index) => {
            let found = samples[index].label;
            bail!("sample {index} has label {found}, the model has {labels} labels")
        }
        None => Ok(()),
    }
}

/// Makes inputs of texts and of pairs of texts.
#[derive(Debug)]
pub struct Encoder<'v> {
    /// The tokenizer of the model.
    pub tokenizer: Tokenizer<'v>,
    /// Which of the two texts a token is of changes what the model computes.
    pub typed: bool,
    /// The most tokens of an input; a pair is cut at the end of its longer text.
    pub limit: usize,
}

impl<'v> Encoder<'v> {
    /// Of the tokenizer in the package of `model`.
    ///
    /// # Errors
    /// The package has no vocabulary.
    pub fn of(model: &Model<'v>) -> Result<Self> {
        let (tokenizer, typed) = (tokenizer(model)?, reads_types(&model.config().embedding));
        Ok(Self { tokenizer, typed, limit: model.max_tokens().unwrap_or(usize::MAX) })
    }

    /// One text, or two as a pair, with what the tokenizer says of them.
    ///
    /// # Errors
    /// A text has no token, or the tokenizer does not say what pairs are.
    pub fn encode(&self, text: &str, second: Option<&str>) -> Result<(SampleInput, Encoding)> {
        if let Some(second) = second {
            return self.encode_pair([text, second]);
        }
        // Few texts have more tokens than bytes, but for the special ones.
        let mut ids = vec![0; self.limit.min(text.len() + self.special(false))];
        let mut encoding = self.tokenizer.encode(text, &mut ids);
        if encoding.truncated && ids.len() < self.limit {
            ids = vec![0; self.limit.min(encoding.total)];
            encoding = self.tokenizer.encode(text, &mut ids);
        }
        ensure!(encoding.total > self.special(false), "the text is empty: it has no token");
        ids.truncate(encoding.len);
        Ok((SampleInput::Tokens(ids), encoding))
    }

    /// How many tokens stand around one text or two.
    fn special(&self, pair: bool) -> usize {
        self.tokenizer.special_count(pair)
    }

    fn encode_pair(&self, texts: [&str; 2]) -> Result<(SampleInput, Encoding)> {
        ensure!(
            self.tokenizer.has_pairs(),
            "the tokenizer of the model has no template for two texts: give it one"
        );
        for (name, text) in ["first", "second"].into_iter().zip(texts) {
            let pieces = self.tokenizer.encode(text, &mut []).total;
            ensure!(pieces > self.special(false), "the {name} text is empty: it has no token");
        }
        let most = self.tokenizer.encode(texts[0], &mut []).total
            + self.tokenizer.encode(texts[1], &mut []).total
            + self.special(true);
        let most = self.limit.min(most);
        let (mut ids, mut types) = (vec![0; most], vec![0; most]);
        let encoding = self.tokenizer.encode_pair(texts[0], texts[1], &mut ids, &mut types);
        ids.truncate(encoding.len);
        types.truncate(encoding.len);
        let input =
            if self.typed { SampleInput::Typed { ids, types } } else { SampleInput::Tokens(ids) };
        Ok((input, encoding))
    }
}

/// Whether a model tells the texts of a pair apart by the types of their tokens.
#[must_use]
pub const fn reads_types(embedding: &Embedding) -> bool {
    matches!(embedding, Embedding::Tokens { token_types: 2.., .. })
}

fn tokenizer<'m>(model: &Model<'m>) -> Result<Tokenizer<'m>> {
    model.tokenizer().with_context(|| match ids_only(model.base()) {
        Some(why) => format!("give token ids instead of a text: {why}"),
        None => "the package has no tokenizer: give token ids instead of a text".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_unpacked_as_far_as_is_allowed_and_no_further() {
        use std::io::Write as _;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(&[0; 1 << 20]).unwrap();
        let packed = packed.finish().unwrap();
        assert!(packed.len() < 2048);
        assert_eq!(unpack(&packed, 1 << 20).unwrap(), [0; 1 << 20]);
        let error = unpack(&packed, (1 << 20) - 1).unwrap_err().to_string();
        assert!(error.contains("more than 1048575 bytes"), "{error}");
        assert!(unpack(&packed[..packed.len() - 9], 1 << 20).is_err());
    }

    #[test]
    fn each_channel_reads_a_gray_image() {
        let images = [&[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2][..], &[7, 9]].concat();
        let labels = [0, 0, 8, 1, 0, 0, 0, 1, 4];
        let grid = |channels| PatchGrid { columns: 2, rows: 1, side: 1, channels };
        let pixels = |channels| {
            let samples = read_images(&images, &labels, Some(grid(channels))).expect("an image");
            assert_eq!(samples[0].label, 4);
            match &samples[0].input {
                SampleInput::Pixels(pixels) => pixels.clone(),
                _ => Vec::new(),
            }
        };
        assert_eq!(pixels(1), [7, 9]);
        assert_eq!(pixels(3), [7, 7, 7, 9, 9, 9]);
    }
}
