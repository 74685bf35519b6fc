//! Picture files as the model's pixels: upright, in the colours of the model, as Pillow reads them.

use crate::preparation::{Pixels, Preparation};
use anyhow::{Context, Result, bail, ensure};
use coda_runtime::image::PatchGrid;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// The most bytes of a decoded picture.
const LARGEST: u64 = 1 << 29;
/// How much of a file says what it is.
const MAGIC_BYTES: u64 = 64;
/// Ends of names of pictures, in small letters.
const ENDS: [&str; 10] = ["png", "jpg", "jpeg", "jpe", "jfif", "pgm", "ppm", "pnm", "heic", "heif"];

/// Whether a file is a picture of any kind, by what it begins with or by its name.
///
/// # Errors
/// It cannot be read.
pub fn is_picture(path: &Path) -> Result<bool> {
    let end = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let cannot = || format!("cannot read {}", path.display());
    let mut start = Vec::new();
    let file = File::open(path).with_context(cannot)?;
    file.take(MAGIC_BYTES).read_to_end(&mut start).with_context(cannot)?;
    Ok(ENDS.contains(&&*end) || image::guess_format(&start).is_ok())
}

/// The pixels of a picture file for a model of `grid`: rows of interleaved channels. Without `how` it must
/// have the size that the model reads.
///
/// # Errors
/// It cannot be read, is damaged, cut, too large or of a kind that is not supported, or has another size
/// than the model reads. The error names the file.
pub fn read(path: &Path, grid: PatchGrid, how: Option<&Preparation>) -> Result<Vec<u8>> {
    let cannot = || format!("cannot read {}", path.display());
    let mut picture = read_whole(path, grid.channels)?;
    let (width, height) = (grid.columns * grid.side, grid.rows * grid.side);
    if let Some(how) = how {
        picture = how.apply(picture, [height, width]).with_context(cannot)?;
    }
    let (own_width, own_height) = (picture.width, picture.height);
    ensure!(
        (own_width, own_height) == (width, height),
        "{} is {own_width} by {own_height} pixels{}, the model reads {width} by {height}{}",
        path.display(),
        how.map_or(String::new(), |how| format!(" after {how}")),
        if how.is_some() { "" } else { ": --image-resized scales one, --resize those of a folder" }
    );
    Ok(picture.values)
}

/// The pixels of a picture file of its own size.
///
/// # Errors
/// As [`read`].
pub fn read_whole(path: &Path, channels: usize) -> Result<Pixels> {
    let cannot = || format!("cannot read {}", path.display());
    let packed = std::fs::metadata(path).with_context(cannot)?.len();
    ensure!(packed <= LARGEST, "{} has {packed} bytes, too many for a picture", path.display());
    let bytes = std::fs::read(path).with_context(cannot)?;
    decode(&bytes, channels).with_context(cannot)
}

/// Decodes a file of 1 or 3 channels.
fn decode(bytes: &[u8], channels: usize) -> Result<Pixels> {
    ensure!(matches!(channels, 1 | 3), "picture files for {channels} channels are not supported");
    let supported = "PNG, JPEG and PNM (PGM, PPM) are read: convert it";
    let format =
        image::guess_format(bytes).ok().with_context(|| format!("no picture; {supported}"))?;
    match format {
        ImageFormat::Jpeg => ensure!(jpeg_ends(bytes), "the JPEG file is cut: it ends too early"),
        ImageFormat::Png | ImageFormat::Pnm => {}
        other => bail!("a {other:?} picture; {supported}"),
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(LARGEST);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    ensure!(decoder.total_bytes() <= LARGEST, "{width} by {height} pixels are too large");
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (own, values) = samples(picture)?;
    let values = convert(&values, own, channels);
    Ok(Pixels { width, height, channels, values })
}

/// The channels of a picture, alpha too, and its samples of 8 bits.
fn samples(picture: DynamicImage) -> Result<(usize, Vec<u8>)> {
    let high = |values: Vec<u16>| values.into_iter().map(|value| value.to_be_bytes()[0]).collect();
    Ok(match picture {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (2, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        DynamicImage::ImageRgba8(image) => (4, image.into_raw()),
        // Pillow clips them at 255: there is no answer to agree with.
        DynamicImage::ImageLuma16(_) => bail!("a gray picture of 16 bits: convert it to 8 bits"),
        DynamicImage::ImageLumaA16(image) => (2, high(image.into_raw())),
        DynamicImage::ImageRgb16(image) => (3, high(image.into_raw())),
        DynamicImage::ImageRgba16(image) => (4, high(image.into_raw())),
        other => bail!("samples of the type {:?} are not supported", other.color()),
    })
}

/// From `own` channels to 1 or 3, as Pillow's `convert` does: alpha is dropped, not blended.
fn convert(values: &[u8], own: usize, channels: usize) -> Vec<u8> {
    let pixels = values.chunks_exact(own);
    match (own, channels) {
        (1 | 2, 1) => pixels.map(|pixel| pixel[0]).collect(),
        (1 | 2, _) => pixels.flat_map(|pixel| [pixel[0]; 3]).collect(),
        (_, 1) => pixels.map(|pixel| gray([pixel[0], pixel[1], pixel[2]])).collect(),
        _ => pixels.flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    }
}

/// Rec. 601, in Pillow's whole numbers.
fn gray(rgb: [u8; 3]) -> u8 {
    let [red, green, blue] = rgb.map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

/// Whether a JPEG file goes on to its end marker. The decoder fills what is missing with gray.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        // What is not a marker is coded data.
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(next) = rest.iter().position(|byte| *byte == 0xff) else { return false };
        at += next;
        match bytes.get(at + 1) {
            None => return false,
            Some(0xd9) => return true,
            Some(0xff) => at += 1,
            Some(0 | 1 | 0xd0..=0xd8) => at += 2,
            Some(_) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
}
