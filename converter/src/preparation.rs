//! How a picture of any size becomes one that the model reads: as `preprocessor_config.json` says it.
//!
//! A base package carries it in a section of its own that devices skip ([`SECTION`]).

use anyhow::{Context, Result, ensure};
use coda_runtime::format::{MAGIC, SectionKind, header, section};
use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The code of the section: JSON text. It is skippable, since it changes no answer to given pixels.
pub const SECTION: u16 = 256;
/// The most pixels of a side.
const LARGEST_SIDE: usize = 1 << 16;
/// The most bytes of a resized picture.
const LARGEST: usize = 1 << 29;

/// A picture of 8 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples of a pixel: 1 or 3.
    pub channels: usize,
    /// Rows of interleaved channels.
    pub values: Vec<u8>,
}

/// To which size a picture is resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// What the model reads.
    #[default]
    Model,
    /// Not at all.
    No,
    /// Height and width.
    Exact([usize; 2]),
    /// Its shorter side to this, the other in proportion.
    ShortestEdge(usize),
}

/// How pixels are computed from others, as Pillow does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// The nearest.
    Nearest,
    /// Lanczos, over three lobes.
    Lanczos,
    /// Linear in both directions.
    #[default]
    Bilinear,
    /// Cubic in both directions.
    Bicubic,
    /// The mean of an area.
    Box,
    /// Hamming.
    Hamming,
}

/// A resizing, then a cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// The size.
    pub resize: Resize,
    /// The filter.
    pub resample: Resample,
    /// Height and width of the middle that is left, if it is cut out.
    pub crop: Option<[usize; 2]>,
}

impl Preparation {
    /// That of the base in a package; the usual one if it carries none.
    ///
    /// # Errors
    /// It is damaged.
    pub fn of_package(bytes: &[u8]) -> Result<Self> {
        let base = body(bytes, SectionKind::BasePackage as u16).unwrap_or(bytes);
        let Some(text) = body(base, SECTION) else { return Ok(Self::default()) };
        serde_json::from_slice(text).context("the package's way to prepare pictures")
    }

    /// What a package carries; nothing if it is the usual one.
    #[must_use]
    pub fn section(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(self).ok().filter(|_| *self != Self::default())
    }

    /// Prepares a picture for a model that reads `size`: height, width.
    ///
    /// # Errors
    /// A picture on the way would be too large, or have no pixel.
    pub fn apply(&self, picture: Pixels, size: [usize; 2]) -> Result<Pixels> {
        let short = picture.width.min(picture.height).max(1);
        let scaled = |side: usize, edge: usize| side.saturating_mul(edge) / short;
        let resized = match self.resize {
            Resize::No => picture,
            Resize::Model => self.resized(picture, size)?,
            Resize::Exact(size) => self.resized(picture, size)?,
            Resize::ShortestEdge(edge) => {
                let size = [scaled(picture.height, edge), scaled(picture.width, edge)];
                self.resized(picture, size)?
            }
        };
        match self.crop {
            Some(size) => cut(&resized, size),
            None => Ok(resized),
        }
    }

    /// In two passes, rows first, as Pillow: what is between them is rounded to 8 bits.
    fn resized(&self, picture: Pixels, [height, width]: [usize; 2]) -> Result<Pixels> {
        let between = self.pass(picture, |own| Pixels { width, ..own })?;
        self.pass(between, |own| Pixels { height, ..own })
    }

    /// Resizes a picture to the size that `of` gives its size.
    fn pass(&self, picture: Pixels, of: impl Fn(Pixels) -> Pixels) -> Result<Pixels> {
        let Pixels { width, height, channels, values } = picture;
        let to = of(Pixels { width, height, channels, values: Vec::new() });
        if (to.width, to.height) == (width, height) {
            return Ok(Pixels { values, ..to });
        }
        check_size([to.height, to.width], channels)?;
        let kind = if channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let from = Image::from_vec_u8(width as u32, height as u32, values, kind)?;
        let mut image = Image::new(to.width as u32, to.height as u32, kind);
        let how = ResizeOptions::new().resize_alg(self.resample.algorithm()).use_alpha(false);
        Resizer::new().resize(&from, &mut image, &how)?;
        Ok(Pixels { values: image.into_vec(), ..to })
    }
}

impl Resample {
    const fn algorithm(self) -> ResizeAlg {
        ResizeAlg::Convolution(match self {
            Self::Nearest => return ResizeAlg::Nearest,
            Self::Lanczos => FilterType::Lanczos3,
            Self::Bilinear => FilterType::Bilinear,
            Self::Bicubic => FilterType::CatmullRom,
            Self::Box => FilterType::Box,
            Self::Hamming => FilterType::Hamming,
        })
    }
}

impl fmt::Display for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filter = format!("{:?}", self.resample).to_lowercase();
        match self.resize {
            Resize::No => write!(f, "no resizing")?,
            Resize::Model => write!(f, "resizing to the model's size ({filter})")?,
            Resize::Exact([height, width]) => {
                write!(f, "resizing to {width} by {height} ({filter})")?;
            }
            Resize::ShortestEdge(edge) => {
                write!(f, "resizing the shorter side to {edge} ({filter})")?;
            }
        }
        match self.crop {
            Some([height, width]) => write!(f, " and a cut of the middle {width} by {height}"),
            None => Ok(()),
        }
    }
}

fn check_size([height, width]: [usize; 2], channels: usize) -> Result<()> {
    let sides = 1..=LARGEST_SIDE;
    let fits = sides.contains(&height) && sides.contains(&width);
    ensure!(
        fits && height * width * channels <= LARGEST,
        "a picture of {width} by {height} pixels"
    );
    Ok(())
}

/// An image of floats, rows of interleaved channels, at another size: linear in both directions, over the area
/// of a pixel where it shrinks. Rows first, without rounding between.
///
/// # Errors
/// The result would be too large, or have no pixel.
pub fn resized_floats(
    values: &[f32],
    [height, width]: [usize; 2],
    channels: usize,
    to: [usize; 2],
) -> Result<Vec<f32>> {
    check_size(to, channels)?;
    let kind = if channels == 1 { PixelType::F32 } else { PixelType::F32x3 };
    let mut from = Image::new(width as u32, height as u32, kind);
    from.buffer_mut().copy_from_slice(bytemuck::cast_slice(values));
    let mut image = Image::new(to[1] as u32, to[0] as u32, kind);
    let how = ResizeOptions::new().resize_alg(Resample::Bilinear.algorithm()).use_alpha(false);
    Resizer::new().resize(&from, &mut image, &how)?;
    Ok(image.buffer().as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
}

/// The middle of a picture; black where it is smaller, as transformers' `center_crop` has it.
fn cut(picture: &Pixels, [height, width]: [usize; 2]) -> Result<Pixels> {
    let Pixels { width: own_width, height: own_height, channels, values } = picture;
    check_size([height, width], *channels)?;
    let top = (*own_height as i64 - height as i64).div_euclid(2);
    let left = (*own_width as i64 - width as i64).div_euclid(2);
    let mut cut = vec![0; height * width * channels];
    for (index, slot) in cut.chunks_exact_mut(*channels).enumerate() {
        let (y, x) = ((index / width) as i64 + top, (index % width) as i64 + left);
        if (0..*own_height as i64).contains(&y) && (0..*own_width as i64).contains(&x) {
            let from = (y as usize * own_width + x as usize) * channels;
            slot.copy_from_slice(&values[from..from + channels]);
        }
    }
    Ok(Pixels { width, height, channels: *channels, values: cut })
}

/// The bytes of a section of a package that was parsed, by code.
fn body(bytes: &[u8], code: u16) -> Option<&[u8]> {
    let field = |at: &[u8]| at.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte));
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let count = field(bytes.get(header::SECTIONS)?);
    let table = bytes.get(header::LENGTH_BYTES..)?.chunks_exact(section::ENTRY_BYTES).take(count);
    let mut entries = table.filter(|entry| field(&entry[section::KIND]) == usize::from(code));
    let entry = entries.next()?;
    let start = field(&entry[section::OFFSET]);
    bytes.get(start..start.checked_add(field(&entry[section::LENGTH]))?)
}
