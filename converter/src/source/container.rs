//! In which form a model directory holds its weights: read, or named with what makes it readable.

use super::error::SourceError;
use super::shards::{open_shards, places};
use super::tensors::TensorFile;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A form of weights that is not read.
struct Form {
    /// How names of its files end.
    endings: &'static [&'static str],
    /// Its name.
    name: &'static str,
    /// What makes it readable, with `DIR` for the directory and `FILE` for the file.
    remedy: &'static str,
}

/// Loads a model by its own class, which keeps the head, and saves it as safetensors.
macro_rules! convert {
    ($options:literal) => {
        concat!(
            "convert it with: python3 -c \"import transformers as t; ",
            "getattr(t, t.AutoConfig.from_pretrained('DIR').architectures[0])",
            ".from_pretrained('DIR'",
            $options,
            ").save_pretrained('DIR', safe_serialization=True)\""
        )
    };
}

/// Every form, the most likely to be meant first.
const FORMS: [Form; 8] = [
    Form {
        endings: &["adapter_config.json"],
        name: "an adapter without the model it changes",
        remedy: "merge them with: python3 -c \"from peft import AutoPeftModel as A; \
                 A.from_pretrained('DIR').merge_and_unload().save_pretrained('DIR-merged')\"",
    },
    Form {
        endings: &[".safetensors", ".safetensors.index.json"],
        name: "a variant under another name",
        remedy: "rename the one to read to model.safetensors",
    },
    Form {
        endings: &["model.bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".bin"],
        name: "PyTorch",
        remedy: convert!(""),
    },
    Form {
        endings: &[".h5", ".ckpt.index"],
        name: "TensorFlow",
        remedy: convert!(", from_tf=True"),
    },
    Form { endings: &[".msgpack"], name: "Flax", remedy: convert!(", from_flax=True") },
    Form { endings: &[".gguf"], name: "GGUF", remedy: convert!(", gguf_file='FILE'") },
    Form {
        endings: &["onnx"],
        name: "ONNX",
        remedy: "a graph cannot be turned back: give the model that it was exported from, with \
                 its model.safetensors",
    },
    Form {
        endings: &[".tflite", ".mlmodel", ".mlpackage", "openvino_model.xml"],
        name: "a graph for another runtime",
        remedy: "give the model that it was exported from, with its model.safetensors",
    },
];

/// How names begin of what a training leaves beside the weights.
const NO_WEIGHTS: [&str; 6] =
    ["training_args", "optimizer", "scheduler", "scaler", "rng_state", "openvino_model.bin"];

/// The names of weights: in one file, or else the index of several.
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// Opens `model.safetensors`, or else the shards of `model.safetensors.index.json`.
///
/// # Errors
/// [`SourceError`]; where there is neither, one that names what there is and how it is converted.
pub(super) fn open_weights(directory: &Path) -> Result<TensorFile, SourceError> {
    let [whole, index] = WEIGHTS.map(|name| directory.join(name));
    if whole.symlink_metadata().is_ok() {
        TensorFile::open(&whole)
    } else if index.symlink_metadata().is_ok() {
        open_shards(&index)
    } else {
        refuse_other_forms(directory)?;
        let problem = "no model.safetensors lies there, nor weights of another form".to_owned();
        Err(SourceError::Container { path: directory.to_owned(), problem })
    }
}

/// The files that hold the weights of a model directory: one, or an index and its shards.
///
/// # Errors
/// [`SourceError`] if an index cannot be read.
pub fn weight_files(directory: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let [whole, index] = WEIGHTS.map(|name| directory.join(name));
    if whole.symlink_metadata().is_ok() {
        return Ok(vec![whole]);
    }
    let shards: BTreeSet<PathBuf> = places(&index)?.into_values().collect();
    Ok(std::iter::once(index).chain(shards).collect())
}

/// Refuses a directory that holds weights in a form that is not read.
pub(super) fn refuse_other_forms(directory: &Path) -> Result<(), SourceError> {
    let names = names_in(directory)?;
    if names.iter().any(|name| WEIGHTS.contains(&name.as_str())) {
        return Ok(());
    }
    for form in &FORMS {
        let fits = |name: &&String| form.endings.iter().any(|ending| name.ends_with(ending));
        let found: Vec<&str> = names.iter().filter(fits).map(String::as_str).collect();
        let Some(first) = found.first() else { continue };
        let is_part = first.contains("-of-") && first.ends_with(".safetensors");
        let remedy = if is_part {
            "download the model.safetensors.index.json of these shards too".to_owned()
        } else {
            let directory = directory.display().to_string();
            form.remedy.replace("FILE", first).replace("DIR", &directory)
        };
        let problem =
            format!("no model.safetensors but {} ({}): {remedy}", listed(&found), form.name);
        return Err(SourceError::Container { path: directory.to_owned(), problem });
    }
    Ok(())
}

/// Sorted names of what may be weights.
fn names_in(directory: &Path) -> Result<Vec<String>, SourceError> {
    let read = |source| SourceError::Read { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(read)? {
        let name = entry.map_err(read)?.file_name().to_string_lossy().escape_debug().to_string();
        if !NO_WEIGHTS.iter().any(|start| name.starts_with(start)) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The first names of a list, and how many more.
fn listed(names: &[&str]) -> String {
    match names {
        [a, b, c, rest @ ..] if !rest.is_empty() => {
            format!("{a}, {b}, {c} and {} more", rest.len())
        }
        names => names.join(", "),
    }
}
