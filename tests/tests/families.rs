//! Tiny checkpoints of encoder families against float64 forward passes that share no code with this
//! project, ours (`data/families.py`) and those of `transformers` (`corpus.py`), and against the oracle.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::dataset::SampleInput;
use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::Session;
use coda_converter::smooth::smooth;
use coda_converter::source::{Base, SourceError};
use coda_converter::verify::against_oracle;
use coda_runtime::config::{Pooling, StageActivation};
use coda_runtime::format::{GLOBAL_LAYER, Role};
use coda_runtime::kernels::Kernels;
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
    #[serde(default)]
    patches: Vec<f32>,
    hidden: Vec<f64>,
    #[serde(default)]
    answer: Vec<f64>,
}

fn cases(file: &str) -> BTreeMap<String, Case> {
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file));
    serde_json::from_slice(&text.unwrap()).unwrap()
}

fn case(name: &str) -> Case {
    cases("families.json").remove(name).unwrap()
}

/// A case that `transformers` made.
fn made_by_transformers(name: &str) -> Case {
    cases("families_transformers.json").remove(name).unwrap()
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
        match (self.ids.is_empty(), self.patches.is_empty()) {
            (false, _) => SampleInput::Tokens(self.ids.clone()),
            (true, false) => SampleInput::Patches(self.patches.clone()),
            (true, true) => SampleInput::Pixels(self.pixels.clone()),
        }
    }

    /// The answer of an encoder of images without a head is its class token, or the mean of its patches.
    fn expected(&self, base: &Base) -> Vec<f64> {
        let rows = || self.hidden.chunks_exact(base.config.hidden);
        match (self.answer.is_empty(), base.head) {
            (true, Some(head)) if head.pooling == Pooling::Mean.alone() => (0..base.config.hidden)
                .map(|column| rows().map(|row| row[column]).sum::<f64>() / rows().len() as f64)
                .collect(),
            (true, Some(_)) => rows().next().unwrap().to_vec(),
            _ => self.answer.clone(),
        }
    }

    /// Compares the packed float model on every kernel table with the reference, and with the oracle.
    fn check(&self, base: &Base) {
        let packed = pack_base(base, WeightType::F32, "").unwrap().bytes;
        let package = packed.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        let input = self.input();
        let expected = self.expected(base);
        for kernels in Kernels::available() {
            let capacity = Capacity::any_budget(input.tokens(&model));
            let mut session = Session::new(&model, capacity).unwrap().with_kernels(kernels);
            let read = |x: &f32| f64::from(*x);
            let (hidden, answer) = session
                .run(input.as_input(), Budget::Task, &mut (), |out| {
                    let hidden: Vec<f64> = out.hidden.iter().flatten().map(read).collect();
                    (hidden, out.values.iter().map(read).collect::<Vec<f64>>())
                })
                .unwrap();
            assert_eq!((hidden.len(), answer.len()), (self.hidden.len(), expected.len()));
            let miss = OTHER_F32.first_miss(hidden, self.hidden.iter().copied());
            assert_eq!(miss, None, "hidden states, {}", kernels.name);
            let miss = OTHER_F32.first_miss(answer, expected.iter().copied());
            assert_eq!(miss, None, "answer, {}", kernels.name);
        }
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
        ("distilbert", "activation", json!("mish"), &["activation = mish"][..]),
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

#[test]
fn every_family_gives_what_transformers_gives() {
    let cases = cases("families_transformers.json");
    assert!(cases.len() >= 20);
    for (name, case) in cases {
        println!("{name}");
        case.check(&case.open().unwrap());
    }
}

#[test]
fn what_stands_before_the_patches_keeps_its_places_in_another_grid() {
    let case = made_by_transformers("dinov2-registers");
    let own = case.open().unwrap();
    let resized = Base::open(case.directory().path(), Some(8)).unwrap();
    let read = |base: &Base, role| base.tensor(role, GLOBAL_LAYER).unwrap().values.clone();
    assert_eq!((own.config.max_tokens(), resized.config.max_tokens()), (Some(8), Some(20)));
    assert_eq!(read(&own, Role::ClassToken), read(&resized, Role::ClassToken));
    // The class token has a position, the three registers have none.
    let (own, resized) =
        (read(&own, Role::PositionEmbedding), read(&resized, Role::PositionEmbedding));
    assert_eq!(own[..32], resized[..32]);
    assert_eq!(own[8..32], [0.0; 24]);
}

#[test]
fn gte_gives_the_reference_and_refuses_code_and_scaling_that_are_not_its_own() {
    let reference = case("gte");
    let base = reference.open().unwrap();
    assert!(base.unused.is_empty());
    reference.check(&base);
    for (field, value) in [
        ("auto_map", json!({ "AutoModel": "some/where--modeling.OtherModel" })),
        ("rope_scaling", json!({ "type": "ntk", "factor": 2.0, "mixed_b": 0.5 })),
        ("rope_scaling", json!({ "type": "linear", "factor": 2.0 })),
        ("rope_theta", json!(0)),
        ("logn_attention_scale", json!(true)),
        ("position_embedding_type", json!("absolute")),
        ("pack_qkv", json!(false)),
    ] {
        let mut case = case("gte");
        case.config[field] = value;
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains(&format!("{field} = ")), "{error}");
    }
}

#[test]
fn rotary_positions_and_local_attention_stay_what_they_are_in_int8() {
    for name in ["modernbert", "modernbert-scaled", "nomic-bert-yarn", "eurobert-llama3", "dinov3"]
    {
        let case = made_by_transformers(name);
        let base = case.open().unwrap();
        let smoothed = smooth(&base, WeightType::Int8).unwrap();
        let bytes = pack_base(&smoothed, WeightType::Int8, "").unwrap().bytes;
        let package = bytes.parse().unwrap();
        let model = Model::dense(&package).unwrap();
        assert!(model.config().int8_attention, "{name}");
        let input = case.input();
        let capacity = Capacity::any_budget(input.tokens(&model));
        let mut session = Session::new(&model, capacity).unwrap();
        let hidden = session.run(input.as_input(), Budget::Task, &mut (), |out| {
            out.hidden.iter().flatten().map(|x| f64::from(*x)).collect::<Vec<_>>()
        });
        let pairs = || hidden.as_ref().unwrap().iter().zip(&case.hidden);
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let squares: f64 = pairs().map(|(a, _)| a * a).sum();
        let others: f64 = pairs().map(|(_, b)| b * b).sum();
        let cosine = dot / (squares * others).sqrt();
        println!("{name}: {cosine}");
        assert!(cosine > 0.999, "{name}: {cosine}");
    }
}

/// Numbers that a scaling needs or may not have.
#[test]
fn scalings_of_rotary_positions_say_all_their_numbers_or_are_refused() {
    for (name, change) in [
        ("eurobert-llama3", json!({ "high_freq_factor": 0.1 })),
        ("eurobert-llama3", json!({ "low_freq_factor": null })),
        ("eurobert-llama3", json!({ "factor": 0.5 })),
        ("eurobert-llama3", json!({ "original_max_position_embeddings": "8" })),
        ("eurobert-llama3", json!({ "partial_rotary_factor": 0.5 })),
        ("eurobert-llama3", json!({ "rope_type": "longrope" })),
        ("nomic-bert-yarn", json!({ "factor": null })),
        ("nomic-bert-yarn", json!({ "beta_fast": -1.0 })),
        ("nomic-bert-yarn", json!({ "attention_factor": [1.0] })),
        ("nomic-bert-yarn", json!({ "original_max_position_embeddings": null })),
        ("nomic-bert-yarn", json!({ "rope_theta": 0.5 })),
    ] {
        let mut case = made_by_transformers(name);
        assert!(case.open().is_ok(), "{name}");
        let own = case.config["rope_parameters"].as_object_mut().unwrap();
        own.extend(change.as_object().unwrap().clone());
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains("rope_parameters = "), "{error}");
    }
    // Of both kinds of layers at once, where each has angles of its own.
    let mut case = made_by_transformers("modernbert");
    case.config["rope_parameters"] = json!({ "rope_type": "linear", "factor": 2.0 });
    assert!(case.open().unwrap_err().to_string().contains("rope_parameters = "));
}

#[test]
fn a_classifier_of_modernbert_that_is_computed_otherwise_is_refused() {
    for (field, value) in [
        ("classifier_bias", json!(true)),
        ("classifier_activation", json!("relu")),
        ("classifier_pooling", json!("last")),
        ("architectures", json!(["ModernBertForTokenClassification"])),
    ] {
        let mut case = made_by_transformers("modernbert-classifier");
        case.config[field] = value;
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains("cannot be computed"), "{field}: {error}");
    }
}

#[test]
fn layers_that_share_their_weights_are_stored_once() {
    let base = made_by_transformers("albert").open().unwrap();
    let bytes = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = bytes.parse().unwrap();
    let others = package.tensors().filter(|tensor| tensor.layer != GLOBAL_LAYER);
    assert_eq!(others.map(|tensor| tensor.layer).max(), Some(0));
    assert_eq!(package.config().unwrap().layers, 2);
    // An int8 package binds and runs too: what evens out columns leaves shared layers alone.
    let smoothed = smooth(&base, WeightType::Int8).unwrap();
    let bytes = pack_base(&smoothed, WeightType::Int8, "").unwrap().bytes;
    assert!(Model::dense(&bytes.parse().unwrap()).is_ok());
}

#[test]
fn tensors_that_several_files_hold_in_one_or_one_in_several_count_as_used() {
    for (name, left) in
        [("dinov2-swiglu", 1), ("dinov2-registers", 1), ("deit-classifier", 0), ("deit-teacher", 0)]
    {
        let base = made_by_transformers(name).open().unwrap();
        assert_eq!(base.unused.len(), left, "{name}: {:?}", base.unused);
    }
}

#[test]
fn encoders_that_are_no_point_in_the_configuration_say_why() {
    for (name, words) in [
        ("roformer", "its positions are rotary, in a form that is not read"),
        ("gpt2", "it is a decoder"),
        ("swin", "only some of the others"),
        ("nothing_known", "supported are bert,"),
    ] {
        let mut case = case("roberta");
        case.config["model_type"] = json!(name);
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
    for (name, setting, value) in [
        ("albert", "num_hidden_groups", json!(2)),
        ("albert", "embedding_size", json!(9)),
        ("electra-small", "embedding_size", json!(0)),
        ("ernie", "use_task_id", json!(true)),
        ("mpnet", "relative_attention_num_buckets", json!(40)),
        ("siglip-vision-states", "image_size", json!(5)),
    ] {
        let mut case = made_by_transformers(name);
        let words = format!("{setting} = {value}");
        case.config[setting] = value;
        let error = case.open().unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains(&words), "{error}");
    }
}

#[test]
fn pooling_by_attention_is_used_where_the_file_has_it_and_config_says_so() {
    let mut case = made_by_transformers("siglip-vision-states");
    case.config["vision_use_head"] = json!(true);
    assert!(case.open().is_ok(), "there is no such head in the file");
    case.shapes.insert("head.probe".to_owned(), vec![1, 1, 8]);
    let error = case.open().unwrap_err().to_string();
    assert!(error.contains("head.attention.in_proj_weight"), "{error}");
    let mut case = made_by_transformers("siglip-vision");
    let base = case.open().unwrap();
    assert!(base.unused.is_empty() && base.head.unwrap().pooling.is_attention());
    case.config["hidden_act"] = json!("silu");
    let error = case.open().unwrap_err().to_string();
    assert!(error.contains("hidden_act = silu"), "{error}");
    case.config["vision_use_head"] = json!(false);
    assert_eq!(case.open().unwrap().head.unwrap().pooling, Pooling::Mean.alone());
}
