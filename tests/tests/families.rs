//! Tiny checkpoints of encoder families against a float64 forward pass that shares no code with this
//! project (`data/families.py`), and against the oracle.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::dataset::SampleInput;
use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::Session;
use coda_converter::source::{Base, SourceError};
use coda_converter::verify::against_oracle;
use coda_runtime::config::StageActivation;
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::head64;
use coda_tests::tolerance::OTHER_F32;
use safetensors::{Dtype, serialize, tensor::TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// One checkpoint, its input and what it must give.
#[derive(Deserialize)]
struct Case {
    config: Value,
    shapes: BTreeMap<String, Vec<usize>>,
    #[serde(default)]
    ids: Vec<u32>,
    #[serde(default)]
    pixels: Vec<u8>,
    hidden: Vec<f64>,
    #[serde(default)]
    answer: Vec<f64>,
}

fn case(name: &str) -> Case {
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/families.json"));
    let mut cases: BTreeMap<String, Case> = serde_json::from_slice(&text.unwrap()).unwrap();
    cases.remove(name).unwrap()
}

impl Case {
    /// Writes a model directory; `families.py` says by which rule its weights are made.
    fn directory(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(directory.path().join(name), bytes).unwrap();
        };
        write("config.json", self.config.to_string().as_bytes());
        let image = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25] });
        write("preprocessor_config.json", image.to_string().as_bytes());
        let values: Vec<Vec<u8>> = self
            .shapes
            .iter()
            .enumerate()
            .map(|(t, (name, shape))| weights(t, name, shape))
            .collect();
        let views = self.shapes.iter().zip(&values).map(|((name, shape), bytes)| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        });
        write("model.safetensors", &serialize(views, None).unwrap());
        directory
    }

    fn open(&self) -> Result<Base, SourceError> {
        Base::open(self.directory().path(), None)
    }

    fn input(&self) -> SampleInput {
        match self.ids.is_empty() {
            true => SampleInput::Pixels(self.pixels.clone()),
            false => SampleInput::Tokens(self.ids.clone()),
        }
    }

    /// Compares the packed float model with the reference and with the oracle.
    fn check(&self, base: &Base) {
        let packed = pack_base(base, WeightType::F32, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        let input = self.input();
        let capacity = Capacity::any_budget(input.tokens(&model));
        let mut session = Session::new(&model, capacity).unwrap();
        let read = |x: &f32| f64::from(*x);
        let (hidden, answer) = session
            .run(input.as_input(), Budget::Task, &mut (), |out| {
                let hidden: Vec<f64> = out.hidden.iter().flatten().map(read).collect();
                (hidden, out.values.iter().map(read).collect::<Vec<f64>>())
            })
            .unwrap();
        assert_eq!((hidden.len(), answer.len()), (self.hidden.len(), self.answer.len()));
        assert_eq!(OTHER_F32.first_miss(hidden, self.hidden.iter().copied()), None);
        assert_eq!(OTHER_F32.first_miss(answer, self.answer.iter().copied()), None);
        for stage in against_oracle(base, &model, &[input], || ()).unwrap().stages {
            assert!(OTHER_F32.accepts(stage.worst, 0.0), "{stage:?}");
        }
    }
}

fn weights(tensor: usize, name: &str, shape: &[usize]) -> Vec<u8> {
    let norm = name.to_lowercase().contains("norm") && name.ends_with(".weight");
    let value = |index: usize| {
        let step = (37 * index + 101 * tensor) % 256;
        (step as f32 - 128.0) / 256.0 + f32::from(u8::from(norm))
    };
    (0..shape.iter().product()).flat_map(|index| value(index).to_le_bytes()).collect()
}

#[test]
fn distilbert_gives_the_reference_with_its_pre_classifier() {
    let mut case = case("distilbert");
    let base = case.open().unwrap();
    assert!(base.unused.is_empty());
    let rows: Vec<Vec<f64>> = case.hidden.chunks(base.config.hidden).map(<[f64]>::to_vec).collect();
    case.answer = head64::expected(&base, &rows);
    case.check(&base);
    let stages = base.head.unwrap().stages;
    assert_eq!((stages.get(0), stages.get(1)), (Some(StageActivation::Relu), None));
}

#[test]
fn distilbert_is_read_without_the_prefix_of_its_head_classes_too() {
    let mut case = case("distilbert");
    let shapes = case.shapes.into_iter().filter(|(name, _)| !name.contains("classifier"));
    case.shapes = shapes.map(|(name, shape)| (name.replace("distilbert.", ""), shape)).collect();
    // Other names, in another order: other weights. The oracle alone can be asked.
    let base = case.open().unwrap();
    assert_eq!((base.unused.len(), base.tensors.len()), (0, 4 + 2 * 16));
}

#[test]
fn positions_begin_late_grids_are_no_squares_and_a_class_token_is_optional() {
    for (name, tokens) in [("roberta", 7), ("vit-rectangle", 9), ("vit-without-class-token", 4)] {
        let case = case(name);
        let base = case.open().unwrap();
        assert_eq!(base.config.max_tokens(), Some(tokens), "{name}");
        case.check(&base);
    }
}

#[test]
fn settings_that_a_family_or_its_weights_do_not_have_are_refused() {
    for (name, setting, value, words) in [
        ("distilbert", "activation", json!("silu"), &["activation = silu"][..]),
        (
            "roberta",
            "max_position_embeddings",
            json!(10),
            &["position_embeddings.weight", "[10, 8]"],
        ),
        ("roberta", "max_position_embeddings", json!(2), &["max_position_embeddings = 2"]),
        ("vit-rectangle", "image_size", json!([4, 7]), &["image_size = 7"]),
        ("vit-rectangle", "image_size", json!([4]), &["image_size"]),
        ("vit-rectangle", "patch_size", json!([2, 4]), &["patch_size = 2 x 4"]),
    ] {
        let mut case = case(name);
        case.config[setting] = value;
        let error = case.open().unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn a_rectangle_is_resized_to_a_square() {
    let case = case("vit-rectangle");
    let base = Base::open(case.directory().path(), Some(8)).unwrap();
    let positions = base.tensor(Role::PositionEmbedding, GLOBAL_LAYER).unwrap();
    assert_eq!(positions.shape, [17, 8]);
    let own = case.open().unwrap();
    let kept = own.tensor(Role::PositionEmbedding, GLOBAL_LAYER).unwrap();
    assert_eq!(positions.values[..8], kept.values[..8], "the class token's");
}
