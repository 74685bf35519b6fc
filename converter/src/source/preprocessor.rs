//! `preprocessor_config.json`: what is done to a picture before the model reads it.

use super::error::SourceError;
use super::fields;
use super::json::Document;
use crate::preparation::{Preparation, Resample, Resize};
use coda_runtime::config::Embedding;
use coda_runtime::format::limits;
use coda_runtime::image::{InputNormalization, PatchGrid};
use serde_json::Value;
use std::path::Path;

/// The largest side that may be asked for.
const LARGEST_SIDE: u64 = 1 << 14;

/// A class of `transformers`: what it does where the file says nothing.
struct Class {
    /// The start of its name; `ImageProcessor` or `FeatureExtractor` follows, then perhaps `Fast`.
    name: &'static str,
    /// One number as size means both sides, not the shorter.
    square: bool,
    resample: Resample,
    /// It cuts out the middle.
    crops: bool,
}

const CLASSES: [Class; 7] = [
    Class { name: "ViT", square: true, resample: Resample::Bilinear, crops: false },
    Class { name: "DeiT", square: true, resample: Resample::Bicubic, crops: true },
    Class { name: "Beit", square: true, resample: Resample::Bicubic, crops: true },
    Class { name: "Siglip", square: true, resample: Resample::Bicubic, crops: false },
    Class { name: "CLIP", square: false, resample: Resample::Bicubic, crops: true },
    Class { name: "Bit", square: false, resample: Resample::Bicubic, crops: true },
    Class { name: "DINOv3ViT", square: true, resample: Resample::Bilinear, crops: false },
];
/// What `Class` cuts out where the file does not say it.
const USUAL_CROP: usize = 224;

/// What is done to a picture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preprocessor {
    /// To its size.
    pub(super) preparation: Preparation,
    /// To its pixels.
    pub(super) normalization: InputNormalization,
}

/// The file of a directory, if the model reads images.
///
/// # Errors
/// It is not there, or says what is not supported; the error names file, field and value.
pub(super) fn read_preprocessor(
    directory: &Path,
    embedding: &Embedding,
) -> Result<Option<Preprocessor>, SourceError> {
    let Some(grid) = PatchGrid::of(embedding) else { return Ok(None) };
    // What is not known is refused: it may change pixels.
    let path = directory.join(fields::IMAGE);
    let file = File(Document::open(path, fields::IMAGE, &mut Vec::new())?);
    if file.0.is_absent() {
        let problem = "is not there; it says how pixels become numbers (image_mean, image_std)";
        return Err(file.0.fault(problem.to_owned()));
    }
    if let Some(field) = file.0.root().unknown().first() {
        return Err(file.0.fault(format!("{field}: the field is not known")));
    }
    let normalization = file.normalization(grid.channels)?;
    Ok(Some(Preprocessor { preparation: file.preparation()?, normalization }))
}

/// The most patches that `preprocessor_config.json` asks for, of a model of images of any size; those of its
/// family where there is no file.
///
/// # Errors
/// The file says what is not done; the error names file, field and value.
pub(super) fn most_patches(
    directory: &Path,
    embedding: &Embedding,
) -> Result<Option<usize>, SourceError> {
    let Some(most) = PatchGrid::largest(embedding) else { return Ok(None) };
    let path = directory.join(fields::IMAGE);
    let file = File(Document::open(path, fields::IMAGE, &mut Vec::new())?);
    if let Some(field) = file.0.root().unknown().first() {
        return Err(file.0.fault(format!("{field}: the field is not known")));
    }
    if file.flag("is_vqa", false)? {
        let wanted = "the question is not drawn onto the picture: draw it there before, and set is_vqa to false";
        return Err(file.refuse("is_vqa", wanted));
    }
    if !file.flag("do_normalize", true)? {
        return Err(
            file.refuse("do_normalize", "true would be: pixels by their own mean and deviation")
        );
    }
    file.check_side(most.side)?;
    let places = most.rows.saturating_mul(most.columns).min(limits::POSITIONS);
    match file.get("max_patches").map(Value::as_u64) {
        None => Ok(None),
        Some(Some(count @ 1..)) if count <= places as u64 => Ok(Some(count as usize)),
        Some(_) => Err(file.refuse("max_patches", &format!("1 to {places} would be"))),
    }
}

struct File(Document);

impl File {
    /// The error about a field.
    fn refuse(&self, field: &str, wanted: &str) -> SourceError {
        let found = self.0.get(field);
        self.0.fault(format!("{field} = {found} is not supported; {wanted}"))
    }

    /// A field, unless it is absent or null.
    fn get(&self, field: &str) -> Option<&Value> {
        Some(self.0.get(field)).filter(|value| !value.is_null())
    }

    /// The side of a patch is that of the model.
    fn check_side(&self, side: usize) -> Result<(), SourceError> {
        let Some(value) = self.get("patch_size") else { return Ok(()) };
        let own = |name: &str| value.get(name).and_then(Value::as_u64);
        let sides = value.as_u64().map_or([own("height"), own("width")], |side| [Some(side); 2]);
        match sides == [Some(side as u64); 2] {
            true => Ok(()),
            false => Err(self.refuse("patch_size", &format!("the weights are of sides of {side}"))),
        }
    }

    fn flag(&self, field: &str, usual: bool) -> Result<bool, SourceError> {
        let Some(value) = self.get(field) else { return Ok(usual) };
        value.as_bool().ok_or_else(|| self.refuse(field, "true or false would be"))
    }

    fn class(&self) -> Result<&'static Class, SourceError> {
        let field = if self.get("image_processor_type").is_some() {
            "image_processor_type"
        } else {
            "feature_extractor_type"
        };
        let Some(value) = self.get(field) else { return Ok(&CLASSES[0]) };
        let name = value.as_str().unwrap_or_default();
        let stem = name.trim_end_matches("Fast");
        let stem = stem.strip_suffix("ImageProcessor").or(stem.strip_suffix("FeatureExtractor"));
        let found = CLASSES.iter().find(|class| stem == Some(class.name));
        found.ok_or_else(|| {
            self.refuse(
                field,
                "ViT-, DeiT-, Beit-, Siglip-, CLIP-, Bit- and DINOv3ViTImageProcessor are",
            )
        })
    }

    fn normalization(&self, channels: usize) -> Result<InputNormalization, SourceError> {
        let rescale = match self.get("rescale_factor") {
            _ if !self.flag("do_rescale", true)? => 1.0,
            None => 1.0 / 255.0,
            Some(value) => value.as_f64().unwrap_or(0.0),
        };
        if !(rescale > 0.0 && rescale <= 1.0) {
            return Err(self.refuse("rescale_factor", "a number above 0, at most 1, would be"));
        }
        let rescale = rescale as f32;
        let mut value = InputNormalization { channels, rescale, mean: [0.0; 4], std: [1.0; 4] };
        if self.flag("do_normalize", true)? {
            value.mean[..channels].copy_from_slice(&self.numbers("image_mean", channels)?);
            value.std[..channels].copy_from_slice(&self.numbers("image_std", channels)?);
        }
        if value.std.iter().any(|std| *std <= 0.0) {
            return Err(self.refuse("image_std", "numbers above 0 would be"));
        }
        Ok(value)
    }

    /// A list of one number for each channel.
    fn numbers(&self, field: &str, channels: usize) -> Result<Vec<f32>, SourceError> {
        let list = self.0.get(field).as_array();
        let list: Option<Vec<f32>> = list.and_then(|list| {
            list.iter().map(|value| value.as_f64().map(|value| value as f32)).collect()
        });
        let list = list.filter(|list| list.len() == channels && list.iter().all(|x| x.is_finite()));
        list.ok_or_else(|| self.refuse(field, &format!("a list of {channels} numbers would be")))
    }

    fn preparation(&self) -> Result<Preparation, SourceError> {
        let class = self.class()?;
        let square = self.flag("default_to_square", class.square)?;
        let resize = match self.get("size") {
            _ if !self.flag("do_resize", true)? => Resize::No,
            None => Resize::Model,
            Some(_) => self.size("size", square)?,
        };
        let crop_size = self.get("crop_size").map(|_| self.size("crop_size", true)).transpose()?;
        let crop = match crop_size {
            _ if !self.flag("do_center_crop", class.crops && self.get("size").is_some())? => None,
            None => Some([USUAL_CROP; 2]),
            Some(Resize::Exact(size)) => Some(size),
            Some(_) => return Err(self.refuse("crop_size", "height and width would be")),
        };
        Ok(Preparation { resize, resample: self.resample(class)?, crop })
    }

    fn resample(&self, class: &Class) -> Result<Resample, SourceError> {
        let Some(value) = self.get("resample") else { return Ok(class.resample) };
        let all = [
            Resample::Nearest,
            Resample::Lanczos,
            Resample::Bilinear,
            Resample::Bicubic,
            Resample::Box,
            Resample::Hamming,
        ];
        let found = value.as_u64().and_then(|code| all.get(code as usize));
        found.copied().ok_or_else(|| self.refuse("resample", "0 to 5 would be"))
    }

    /// One number, height and width, or the shortest edge.
    fn size(&self, field: &str, square: bool) -> Result<Resize, SourceError> {
        let value = self.0.get(field);
        let side = |value: &Value| {
            value
                .as_u64()
                .filter(|side| (1..=LARGEST_SIDE).contains(side))
                .map(|side| side as usize)
        };
        let named = |name: &str| value.get(name).and_then(side);
        let exact = |(height, width)| Resize::Exact([height, width]);
        let fields =
            value.as_object().map_or(0, |object| object.values().filter(|v| !v.is_null()).count());
        let pair = value.as_array().filter(|list| list.len() == 2);
        let found = match (side(value), pair, fields) {
            (Some(side), ..) if square => Some(Resize::Exact([side; 2])),
            (Some(side), ..) => Some(Resize::ShortestEdge(side)),
            (_, Some(list), _) => side(&list[0]).zip(side(&list[1])).map(exact),
            (.., 1) => named("shortest_edge").map(Resize::ShortestEdge),
            (.., 2) => named("height").zip(named("width")).map(exact),
            _ => None,
        };
        found.ok_or_else(|| {
            self.refuse(field, "a number, height and width, or shortest_edge alone would be")
        })
    }
}
