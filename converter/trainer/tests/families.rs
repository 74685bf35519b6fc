//! The trainer's dense forward pass against the hidden states of the tiny checkpoints of all families, or
//! its refusal, which says what to do.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use candle_core::{DType, Device, Tensor};
use coda_converter::source::{Base, FloatTensor};
use coda_runtime::config::Pooling;
use coda_runtime::image::PatchGrid;
use coda_trainer::model::{Batch, Inputs, Model, TaskSpec, untrained};
use coda_trainer::weights::base_tensors;
use safetensors::{Dtype, serialize, tensor::TensorView};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Difference from the reference by its largest value.
const CLOSE: f64 = 1e-5;
/// Families that are not trained, by the beginning of the names of their checkpoints.
const REFUSED: [&str; 8] =
    ["gte", "modernbert", "nomic-bert", "eurobert", "dinov3", "umt5", "clip-text", "beit"];
/// One of them that has no relative bias, and one that has.
const TRAINED: &str = "beit-absolute";
const BIASED: &str = "data2vec-vision";

fn cases() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    let read = |name| -> Map<String, Value> {
        serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    };
    ["families.json", "families_transformers.json"].into_iter().flat_map(read).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().into_iter().flatten().map(|number| number.as_f64().unwrap()).collect()
}

/// Writes the directory; `tests/data/families.py` says by which rule its weights are made.
fn write(case: &Value, directory: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
    let image = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25] });
    write("config.json", case["config"].to_string().as_bytes());
    write("preprocessor_config.json", image.to_string().as_bytes());
    let shapes = case["shapes"].as_object().unwrap();
    let mut tensors = Vec::new();
    for (t, (name, shape)) in shapes.iter().enumerate() {
        let shape: Vec<usize> = numbers(shape).into_iter().map(|side| side as usize).collect();
        let norm = name.to_lowercase().contains("norm") && name.ends_with(".weight");
        let value = |index: usize| {
            let step = (37 * index + 101 * t) % 256;
            (step as f32 - 128.0) / 256.0 + f32::from(u8::from(norm))
        };
        let bytes: Vec<u8> =
            (0..shape.iter().product()).flat_map(|index| value(index).to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    write("model.safetensors", &serialize(views, None).unwrap());
}

fn batch(case: &Value, base: &Base) -> Batch {
    let (inputs, tokens) = match PatchGrid::of(&base.config.embedding) {
        None => {
            let ids: Vec<u32> = numbers(&case["ids"]).into_iter().map(|id| id as u32).collect();
            let tokens = ids.len();
            (Inputs::Tokens { types: vec![0; tokens], ids }, tokens)
        }
        Some(grid) => {
            let mut values = vec![0.0; grid.patches() * grid.inputs()];
            if let Some(image) = &base.image {
                let pixels: Vec<u8> =
                    numbers(&case["pixels"]).into_iter().map(|x| x as u8).collect();
                for (index, slot) in values.chunks_exact_mut(grid.inputs()).enumerate() {
                    grid.read(&pixels, index, image, slot);
                }
            } else {
                let given = numbers(&case["patches"]).into_iter().map(|x| x as f32);
                values = given.collect();
            }
            let shape = (grid.patches(), grid.inputs());
            let patches = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            let patches = patches.to_dtype(DType::F64).unwrap();
            (Inputs::Patches(patches), grid.patches() + base.config.prefix_tokens())
        }
    };
    let ranges = std::iter::once(0..tokens).collect();
    Batch { inputs, ranges, labels: vec![0], ..Batch::default() }
}

fn check(name: &str, case: &Value, base: &Base) {
    let spec = TaskSpec::dense(Pooling::ClassToken, 0);
    let model = Model::new(base.config, spec, &base.tensors, |_| false, DType::F64).unwrap();
    let encoded = model.forward(&batch(case, base), &vec![1.0; base.config.layers]).unwrap();
    let found: Vec<f64> = encoded.hidden.flatten_all().unwrap().to_vec1().unwrap();
    let expected = numbers(&case["hidden"]);
    let scale = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{name}");
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst < CLOSE * scale, "{name}: {worst} of {scale}");
}

#[test]
fn every_family_is_computed_as_transformers_does_or_refused() {
    let mut trained = 0;
    for (name, case) in cases() {
        let directory = tempfile::tempdir().unwrap();
        write(&case, directory.path());
        let base = Base::open(directory.path(), None).unwrap();
        let refused = REFUSED.iter().any(|begin| name.starts_with(begin)) && name != TRAINED;
        match untrained(&base.config) {
            None => {
                assert!(!refused, "{name}");
                check(&name, &case, &base);
                trained += 1;
            }
            Some(why) => {
                assert!(refused || name == BIASED, "{name}: {why}");
                assert!(why.contains("take a base"), "{why}");
                let spec = TaskSpec::dense(Pooling::ClassToken, 0);
                assert!(
                    Model::new(base.config, spec, &base.tensors, |_| false, DType::F64).is_err()
                );
            }
        }
    }
    assert!(trained >= 28, "{trained} families");
}

/// Checkpoints that hold more than is read (a bias over a grid, a pooling by attention), or nothing where zeros
/// are read.
const LOST: [&str; 11] = [
    "beit",
    "beit-class-token",
    "beit-classifier",
    "beit-shared",
    "data2vec-vision",
    "dinov2-registers",
    "dinov2-registers-classifier",
    "modernbert",
    "modernbert-classifier",
    "modernbert-scaled",
    "siglip-vision",
];

/// Writes the tensors of a base beside the fields of the directory that it was read from.
fn write_again(base: &Base, named: BTreeMap<String, FloatTensor>, directory: &Path) {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let own: Vec<(String, Vec<usize>, Vec<u8>)> = named
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape, bytes(&tensor.values)))
        .collect();
    let views = own.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(directory.join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
    for file in ["config.json", "preprocessor_config.json"] {
        std::fs::copy(base.path.join(file), directory.join(file)).unwrap();
    }
}

#[test]
fn what_is_written_of_a_family_is_read_as_it_was_or_it_is_refused() {
    let (mut written, mut lost) = (0, Vec::new());
    for (name, case) in cases() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&case, first.path());
        let base = Base::open(first.path(), None).unwrap();
        let named = match base_tensors(&base, None) {
            Ok(named) => named,
            Err(error) => {
                assert!(error.to_string().contains("cannot be written"), "{name}: {error}");
                lost.push(name);
                continue;
            }
        };
        write_again(&base, named, second.path());
        let again = Base::open(second.path(), None).unwrap();
        for entry in &base.entries {
            let tensor = |base: &Base| base.tensors.get(&entry.place).cloned();
            assert!(tensor(&again) == tensor(&base), "{name}: {:?}", entry.place);
        }
        written += 1;
    }
    assert_eq!(lost, LOST);
    assert!(written >= 28, "{written} families");
}
