//! Model directories as people have them: read whole, or refused with what to do.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::source::{Base, FIELDS, Fate, Fields};
use coda_tests::source::root;
use half::{bf16, f16};
use safetensors::{Dtype, serialize, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Tensors by name: shape and values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Tensors of these shapes; their values have 7 bits, which every float type holds.
fn tensors(shapes: &[(&str, &[usize])]) -> Tensors {
    let tensor = |(index, (name, shape)): (usize, &(&str, &[usize]))| {
        let value = |at: usize| ((37 * at + 11 * index) % 128) as f32 / 128.0 - 0.5;
        let values = (0..shape.iter().product()).map(value).collect();
        ((*name).to_owned(), (shape.to_vec(), values))
    };
    shapes.iter().enumerate().map(tensor).collect()
}

/// A BERT of one layer, without a prefix.
fn bert() -> Tensors {
    tensors(&[
        ("embeddings.word_embeddings.weight", &[12, 8]),
        ("embeddings.position_embeddings.weight", &[6, 8]),
        ("embeddings.token_type_embeddings.weight", &[2, 8]),
        ("embeddings.LayerNorm.weight", &[8]),
        ("embeddings.LayerNorm.bias", &[8]),
        ("encoder.layer.0.attention.self.query.weight", &[8, 8]),
        ("encoder.layer.0.attention.self.query.bias", &[8]),
        ("encoder.layer.0.attention.self.key.weight", &[8, 8]),
        ("encoder.layer.0.attention.self.value.weight", &[8, 8]),
        ("encoder.layer.0.attention.output.dense.weight", &[8, 8]),
        ("encoder.layer.0.attention.output.LayerNorm.weight", &[8]),
        ("encoder.layer.0.attention.output.LayerNorm.bias", &[8]),
        ("encoder.layer.0.intermediate.dense.weight", &[12, 8]),
        ("encoder.layer.0.output.dense.weight", &[8, 12]),
        ("encoder.layer.0.output.LayerNorm.weight", &[8]),
        ("encoder.layer.0.output.LayerNorm.bias", &[8]),
    ])
}

fn bert_config() -> Value {
    json!({
        "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "vocab_size": 12,
        "max_position_embeddings": 6, "type_vocab_size": 2,
    })
}

/// A ViT of one layer with a classifier of five classes.
fn vit() -> Tensors {
    tensors(&[
        ("vit.embeddings.cls_token", &[1, 1, 8]),
        ("vit.embeddings.position_embeddings", &[1, 5, 8]),
        ("vit.embeddings.patch_embeddings.projection.weight", &[8, 3, 2, 2]),
        ("vit.embeddings.patch_embeddings.projection.bias", &[8]),
        ("vit.encoder.layer.0.attention.attention.query.weight", &[8, 8]),
        ("vit.encoder.layer.0.attention.attention.query.bias", &[8]),
        ("vit.encoder.layer.0.attention.attention.key.weight", &[8, 8]),
        ("vit.encoder.layer.0.attention.attention.value.weight", &[8, 8]),
        ("vit.encoder.layer.0.attention.output.dense.weight", &[8, 8]),
        ("vit.encoder.layer.0.layernorm_before.weight", &[8]),
        ("vit.encoder.layer.0.layernorm_before.bias", &[8]),
        ("vit.encoder.layer.0.layernorm_after.weight", &[8]),
        ("vit.encoder.layer.0.layernorm_after.bias", &[8]),
        ("vit.encoder.layer.0.intermediate.dense.weight", &[12, 8]),
        ("vit.encoder.layer.0.output.dense.weight", &[8, 12]),
        ("vit.layernorm.weight", &[8]),
        ("vit.layernorm.bias", &[8]),
        ("classifier.weight", &[5, 8]),
        ("classifier.bias", &[5]),
    ])
}

fn vit_config() -> Value {
    json!({
        "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "image_size": 4, "patch_size": 2, "num_channels": 3,
    })
}

/// A T5 encoder of one layer.
fn t5() -> Tensors {
    tensors(&[
        ("shared.weight", &[12, 8]),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[4, 2]),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", &[8, 8]),
        ("encoder.block.0.layer.0.SelfAttention.k.weight", &[8, 8]),
        ("encoder.block.0.layer.0.SelfAttention.v.weight", &[8, 8]),
        ("encoder.block.0.layer.0.SelfAttention.o.weight", &[8, 8]),
        ("encoder.block.0.layer.0.layer_norm.weight", &[8]),
        ("encoder.block.0.layer.1.DenseReluDense.wi.weight", &[12, 8]),
        ("encoder.block.0.layer.1.DenseReluDense.wo.weight", &[8, 12]),
        ("encoder.block.0.layer.1.layer_norm.weight", &[8]),
        ("encoder.final_layer_norm.weight", &[8]),
    ])
}

fn t5_config() -> Value {
    json!({
        "model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2,
        "vocab_size": 12, "relative_attention_num_buckets": 4, "relative_attention_max_distance": 8,
    })
}

fn stored_as(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let bytes = |value: &f32| match dtype {
        Dtype::F64 => f64::from(*value).to_le_bytes().to_vec(),
        Dtype::F32 => value.to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::BF16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => vec![1],
    };
    values.iter().flat_map(bytes).collect()
}

/// The bytes of a safetensors file.
fn packed(tensors: &Tensors, dtype: Dtype) -> Vec<u8> {
    let data: Vec<Vec<u8>> = tensors.values().map(|(_, values)| stored_as(dtype, values)).collect();
    let views = tensors.iter().zip(&data).map(|((name, (shape, _)), bytes)| {
        (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    serialize(views, None).unwrap()
}

/// A directory with a configuration and any other files.
struct Directory(TempDir);

impl Directory {
    fn new(config: &Value) -> Self {
        let mut directory = Self(tempfile::tempdir().unwrap());
        if config.get("patch_size").is_some() {
            let pixels = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5] });
            directory = directory.with("preprocessor_config.json", pixels.to_string());
        }
        directory.with("config.json", config.to_string())
    }

    /// One with its weights in one file.
    fn whole(config: &Value, tensors: &Tensors) -> Self {
        Self::new(config).with("model.safetensors", packed(tensors, Dtype::F32))
    }

    fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// Two shards, the tensors in turns, and the index that an edit makes.
    fn sharded(edit: impl Fn(&mut Value)) -> Self {
        let mut parts = [Tensors::new(), Tensors::new()];
        let mut index = json!({ "metadata": { "total_size": 1 }, "weight_map": {} });
        for (turn, (name, tensor)) in bert().into_iter().enumerate() {
            index["weight_map"][&name] = json!(SHARDS[turn % 2]);
            parts[turn % 2].insert(name, tensor);
        }
        edit(&mut index);
        let directory = Self::new(&bert_config()).with(INDEX, index.to_string());
        let shards = SHARDS.iter().zip(&parts);
        shards.fold(directory, |all, (name, part)| all.with(name, packed(part, Dtype::F32)))
    }

    fn open(&self) -> Base {
        Base::open(self.0.path(), None).unwrap()
    }

    /// Opening it fails in one line that holds all `words`.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let error = Base::open(self.0.path(), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const PROBE: &str = "embeddings.word_embeddings.weight";

fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

/// The name as the first BERT wrote it.
fn first_generation(name: &str) -> String {
    name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
}

#[test]
fn names_of_all_generations_and_with_any_prefix_are_the_same_model() {
    let plain = Directory::whole(&bert_config(), &bert()).open();
    for prefix in ["", "bert.", "model.bert.", "encoder.", "0.auto_model.", "module.", "_orig_mod."]
    {
        for old in [false, true] {
            let generation =
                |name: &str| if old { first_generation(name) } else { name.to_owned() };
            let tensors = renamed(bert(), |name| format!("{prefix}{}", generation(name)));
            let base = Directory::whole(&bert_config(), &tensors).open();
            assert_eq!(base.tensors, plain.tensors, "{prefix} {old}");
            assert!(base.unused.is_empty(), "{:?}", base.unused);
        }
    }
}

#[test]
fn the_first_bert_as_published_is_read_and_its_other_heads_are_listed() {
    let mut all = renamed(bert(), |name| format!("bert.{}", first_generation(name)));
    let heads = tensors(&[
        ("bert.pooler.dense.weight", &[8, 8]),
        ("cls.predictions.bias", &[12]),
        ("cls.predictions.transform.LayerNorm.gamma", &[8]),
        ("cls.seq_relationship.weight", &[2, 8]),
    ]);
    all.extend(heads.clone());
    let base = Directory::whole(&bert_config(), &all).open();
    assert!(
        heads.keys().filter(|name| name.starts_with("cls.")).all(|name| base.unused.contains(name))
    );
    assert_eq!(base.tensors, Directory::whole(&bert_config(), &bert()).open().tensors);
}

#[test]
fn two_models_or_two_generations_in_one_file_are_refused() {
    let norm = "encoder.layer.0.output.LayerNorm";
    let mut twice = bert();
    twice.insert(format!("{norm}.gamma"), twice[&format!("{norm}.weight")].clone());
    let (weight, gamma) = (format!("{norm}.weight"), format!("{norm}.gamma"));
    Directory::whole(&bert_config(), &twice).refused(&[&weight, &gamma, "more than once"]);
    let mut towers = renamed(bert(), |name| format!("query.{name}"));
    towers.extend(renamed(bert(), |name| format!("passage.{name}")));
    let probes = ["query.", "passage."].map(|tower| format!("{tower}{PROBE}"));
    Directory::whole(&bert_config(), &towers).refused(&[&probes[0], &probes[1]]);
    // The classes of this family read the tower that has its name.
    let mut teacher = renamed(bert(), |name| format!("bert.{name}"));
    teacher.extend(renamed(bert(), |name| format!("teacher.{name}")));
    assert_eq!(Directory::whole(&bert_config(), &teacher).open().unused.len(), bert().len());
}

#[test]
fn a_missing_tensor_says_where_it_was_looked_for() {
    let mut tensors = renamed(bert(), |name| format!("model.bert.{name}"));
    tensors.remove("model.bert.encoder.layer.0.output.dense.weight");
    Directory::whole(&bert_config(), &tensors).refused(&[
        "\"model.bert.encoder.layer.0.output.dense.weight\" is missing",
        "\"model.bert.\"",
    ]);
    Directory::whole(&bert_config(), &t5()).refused(&[PROBE, "is missing", "\"encoder.block.0."]);
    Directory::whole(&bert_config(), &Tensors::new()).refused(&[PROBE, "is missing"]);
}

#[test]
fn tied_tables_are_read_under_either_name() {
    let plain = Directory::whole(&t5_config(), &t5()).open();
    let other = "encoder.embed_tokens.weight";
    let mut tensors = renamed(t5(), |name| name.replace("shared.weight", other));
    let either = Directory::whole(&t5_config(), &tensors).open();
    assert_eq!(either.tensors, plain.tensors);
    tensors.insert("shared.weight".to_owned(), tensors[other].clone());
    let both = Directory::whole(&t5_config(), &tensors).open();
    assert_eq!((both.tensors, both.unused.len()), (plain.tensors, 0));
    tensors.get_mut(other).unwrap().1[3] += 1.0;
    Directory::whole(&t5_config(), &tensors).refused(&["shared.weight", other]);
}

#[test]
fn shards_are_one_model() {
    let plain = Directory::whole(&bert_config(), &bert()).open();
    let sharded = Directory::sharded(|_| ());
    assert_eq!(sharded.open().tensors, plain.tensors);
    // A whole file goes before shards, as in the transformers library.
    let tensors = renamed(bert(), |name| format!("bert.{name}"));
    let both = sharded.with("model.safetensors", packed(&tensors, Dtype::F32)).open();
    assert!(both.names.values().all(|name| name.starts_with("bert.")));
}

#[test]
fn an_index_that_is_wrong_is_refused() {
    let map = |name: &'static str, value: Value| {
        move |index: &mut Value| index["weight_map"][name] = value.clone()
    };
    Directory::sharded(map(PROBE, json!(SHARDS[1]))).refused(&[INDEX, PROBE, SHARDS[1]]);
    for outside in
        [json!("../x.safetensors"), json!("/etc/passwd"), json!(""), json!(".."), json!(1)]
    {
        Directory::sharded(map(PROBE, outside.clone())).refused(&[
            INDEX,
            PROBE,
            &outside.to_string(),
        ]);
    }
    Directory::sharded(map("another", json!(SHARDS[1]))).refused(&[INDEX, "another", SHARDS[1]]);
    let lost = |index: &mut Value| {
        index["weight_map"].as_object_mut().unwrap().remove(PROBE);
    };
    Directory::sharded(lost).refused(&[INDEX, PROBE, "lacks"]);
    Directory::sharded(|index| *index = json!([])).refused(&[INDEX, "weight_map"]);
    let missing = Directory::sharded(|_| ());
    std::fs::remove_file(missing.0.path().join(SHARDS[1])).unwrap();
    missing.refused(&[SHARDS[1]]);
    missing.with(SHARDS[1], POINTER).refused(&[SHARDS[1], "LFS"]);
    let twice = Directory::sharded(|_| ());
    twice.with(SHARDS[1], packed(&bert(), Dtype::F32)).refused(&["two files"]);
}

#[test]
fn every_float_type_is_read_and_no_other() {
    let plain = Directory::whole(&bert_config(), &bert()).open();
    for dtype in [Dtype::F64, Dtype::F16, Dtype::BF16] {
        let bytes = packed(&bert(), dtype);
        let base = Directory::new(&bert_config()).with("model.safetensors", bytes).open();
        assert_eq!(base.tensors, plain.tensors, "{dtype:?}");
    }
    for dtype in [Dtype::I8, Dtype::U8, Dtype::F8_E4M3] {
        let bytes = packed(&bert(), dtype);
        let directory = Directory::new(&bert_config()).with("model.safetensors", bytes);
        directory.refused(&[&format!("{dtype:?}"), "before they were quantised"]);
    }
}

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 1024\n";

#[test]
fn files_that_are_not_what_their_name_says_are_named() {
    let whole = packed(&bert(), Dtype::F32);
    for (bytes, words) in [
        (POINTER.as_bytes(), "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04archive/data.pkl", "PyTorch"),
        (b"\x80\x02}q\x00.", "PyTorch"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"", "empty"),
        (b"{}", "too early"),
        (&whole[..whole.len() - 5], "too early"),
        (&whole[..100], "too early"),
    ] {
        let directory = Directory::new(&bert_config()).with("model.safetensors", bytes);
        directory.refused(&["model.safetensors", words]);
    }
    let directory = Directory::whole(&bert_config(), &bert());
    let directory = directory.with("config.json", POINTER);
    directory.refused(&["config.json", "git lfs pull"]);
    directory.with("config.json", "").refused(&["config.json", "empty"]);
}

#[test]
fn weights_in_another_form_are_named_with_what_converts_them() {
    const SAVE: &str = "save_pretrained";
    const RENAME: &str = "rename the one to read to model.safetensors";
    for (names, words) in [
        (&["pytorch_model.bin"][..], &["pytorch_model.bin", "PyTorch", SAVE][..]),
        (&["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"], &["PyTorch", SAVE]),
        (&["model.pt", "training_args.bin"], &["no model.safetensors but model.pt (", SAVE]),
        (&["consolidated.00.pth"], &["consolidated.00.pth", SAVE]),
        (&["tf_model.h5"], &["tf_model.h5", "from_tf=True", SAVE]),
        (&["flax_model.msgpack"], &["flax_model.msgpack", "from_flax=True", SAVE]),
        (&["bert-q4_0.gguf"], &["GGUF", "gguf_file='bert-q4_0.gguf'", SAVE]),
        (&["onnx/model.onnx"], &["onnx", "ONNX", "exported from"]),
        (&["model.onnx"], &["model.onnx", "exported from"]),
        (&["model.fp16.safetensors"], &["model.fp16.safetensors", "variant", RENAME]),
        (&["consolidated.safetensors"], &["consolidated.safetensors", RENAME]),
        (
            &["a.safetensors", "b.safetensors", "c.safetensors", "d.safetensors"],
            &["a.safetensors, b.safetensors, c.safetensors and 1 more", RENAME],
        ),
        (&[SHARDS[0], SHARDS[1]], &[SHARDS[0], SHARDS[1], "download", INDEX]),
        (&["adapter_config.json", "adapter_model.safetensors"], &["adapter", "merge_and_unload"]),
        (&["optimizer.pt", "training_args.bin"], &["nor weights of another form"]),
        (&[], &["no model.safetensors"]),
    ] {
        let directory = Directory::new(&bert_config());
        let directory = names.iter().fold(directory, |all, name| all.with(name, "{}"));
        let place = directory.0.path().display().to_string();
        directory.refused(&[words, &[&place]].concat());
    }
}

#[test]
fn what_keeps_a_directory_from_being_read_is_said() {
    let directory = Directory::whole(&bert_config(), &bert());
    let path = directory.0.path().join("config.json");
    std::fs::remove_file(&path).unwrap();
    directory.refused(&["has no config.json"]);
    // Neither a file nor absent: an error of its own, as a permission that lacks.
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("config.json", &path).unwrap();
        directory.refused(&["cannot read", "config.json", "symbolic link"]);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        directory.refused(&["config.json", "not a regular file"]);
        std::fs::remove_file(&path).unwrap();
    }
    std::fs::create_dir(&path).unwrap();
    directory.refused(&["cannot read", "config.json", "directory"]);
    let file = directory.0.path().join("model.safetensors");
    let error = Base::open(&file, None).unwrap_err().to_string();
    assert!(error.contains("this is a file"), "{error}");
    let error = Base::open(Path::new("/nowhere/at/all"), None).unwrap_err().to_string();
    assert!(error.contains("cannot read /nowhere/at/all: No such file"), "{error}");
    let only = Directory(tempfile::tempdir().unwrap()).with("model-q8.gguf", "GGUF");
    only.refused(&["model-q8.gguf", "GGUF"]);
    for text in ["[]", "3", "\"bert\"", "null"] {
        Directory::new(&json!({})).with("config.json", text).refused(&["must be a JSON object"]);
    }
}

fn with(mut config: Value, field: &str, value: &Value) -> Value {
    config[field] = value.clone();
    config
}

#[test]
fn whole_numbers_may_be_floats_and_numbers_are_no_texts() {
    let plain = Directory::whole(&bert_config(), &bert()).open();
    for (field, value) in [("hidden_size", json!(8.0)), ("vocab_size", json!(1.2e1))] {
        let base = Directory::whole(&with(bert_config(), field, &value), &bert()).open();
        assert_eq!((base.config, base.tensors), (plain.config, plain.tensors.clone()));
    }
    let marked = format!("\u{feff}{}", bert_config());
    let base = Directory::whole(&bert_config(), &bert()).with("config.json", marked).open();
    assert_eq!(base.config, plain.config);
    for (field, value) in [
        ("layer_norm_eps", json!("1e-12")),
        ("hidden_size", json!("8")),
        ("hidden_size", json!(8.5)),
        ("hidden_size", json!(-8)),
        ("num_hidden_layers", json!([1])),
        ("hidden_act", json!(1)),
        ("num_attention_heads", json!(true)),
    ] {
        let directory = Directory::whole(&with(bert_config(), field, &value), &bert());
        directory.refused(&["config.json", field, &value.to_string()]);
    }
}

#[test]
fn sizes_beyond_the_file_are_refused_before_memory_is_asked_for() {
    let sizes = [
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
    ];
    for field in sizes {
        for value in [131_072_u64, 1_000_000_000, (1 << 32) + 8, 1 << 62] {
            let config = with(bert_config(), field, &json!(value));
            Directory::whole(&config, &bert()).refused(&[]);
        }
        let blank = Directory::new(&with(bert_config(), field, &json!(1_u64 << 40)));
        assert!(Base::blank(blank.0.path(), None).is_err());
    }
}

#[test]
fn a_field_that_changes_the_answer_and_is_not_read_is_refused_by_its_name() {
    let mut tried = 0;
    for Fields { fate, names, .. } in FIELDS.iter().filter(|row| row.file == "config.json") {
        for name in names.split_whitespace() {
            let (right, wrong) = match fate {
                Fate::Refused { unless, .. } => (serde_json::from_str(unless).unwrap(), json!("x")),
                Fate::Same(other) => (bert_config()[other].clone(), json!(77)),
                Fate::Read | Fate::Irrelevant => continue,
            };
            tried += 1;
            for accepted in [right, Value::Null] {
                Directory::whole(&with(bert_config(), name, &accepted), &bert()).open();
            }
            let directory = Directory::whole(&with(bert_config(), name, &wrong), &bert());
            directory.refused(&["config.json", name, wrong.as_str().unwrap_or("77")]);
        }
    }
    println!("{tried} fields");
    assert!(tried > 20);
    Directory::whole(&with(bert_config(), "hidden_act", &json!("mish")), &bert())
        .refused(&["hidden_act = mish"]);
    Directory::whole(&with(vit_config(), "qkv_bias", &json!(false)), &vit())
        .refused(&["qkv_bias = false"]);
}

#[test]
fn a_field_that_is_not_known_is_said_and_an_empty_one_is_not() {
    let mut config = bert_config();
    config["a_new_idea"] = json!(3);
    config["another"] = json!({ "scale": 2.0 });
    for (index, silent) in [json!(null), json!(false), json!(""), json!([])].into_iter().enumerate()
    {
        config[format!("nothing_{index}")] = silent;
    }
    config["initializer_range"] = json!(0.02);
    let directory = Directory::whole(&config, &bert());
    let directory = directory.with("tokenizer_config.json", json!({ "odd": 1 }).to_string());
    let notes = [
        "config.json: fields not known, ignored: a_new_idea, another",
        "tokenizer_config.json: fields not known, ignored: odd",
    ];
    assert_eq!(directory.open().notes, notes);
    assert!(Directory::whole(&bert_config(), &bert()).open().notes.is_empty());
}

#[test]
fn a_label_is_the_name_of_its_index_and_never_another() {
    let labels = |names: Value| {
        Directory::whole(&with(vit_config(), "id2label", &names), &vit()).open().labels
    };
    assert_eq!(labels(json!(["a", "b", "c", "d", "e"])), ["a", "b", "c", "d", "e"]);
    let shifted = json!({ "1": "a", "2": "b", "3": "c", "4": "d", "5": "e" });
    assert_eq!(labels(shifted), ["0", "a", "b", "c", "d"]);
    assert_eq!(labels(json!({ "4": "e", "1": "b" })), ["0", "b", "2", "3", "e"]);
    assert_eq!(labels(json!({ "0": 7, "1": null, "2": "c" })), ["7", "1", "c", "3", "4"]);
    let ten = json!({ "0": "a", "1": "b", "2": "c", "3": "d", "10": "k" });
    assert_eq!(labels(ten), ["a", "b", "c", "d", "4"]);
    assert!(labels(json!({})).is_empty() && labels(json!(null)).is_empty());
    for (field, value) in [
        ("id2label", json!({ "a": 0, "b": 1 })),
        ("id2label", json!({ "0": "a", "00": "b" })),
        ("id2label", json!({ "-1": "a" })),
        ("id2label", json!({ "0": ["a"] })),
        ("id2label", json!("a")),
        ("id2label", json!(["a", "b", "c", "d", "e", "f"])),
        ("num_labels", json!(3)),
    ] {
        Directory::whole(&with(vit_config(), field, &value), &vit()).refused(&[field]);
    }
}

#[test]
fn damaged_headers_and_configurations_are_refused_or_read_without_a_panic() {
    let directory = Directory::whole(&bert_config(), &bert());
    let (mut read, mut refused) = (0, 0);
    for name in ["model.safetensors", "config.json"] {
        let path = directory.0.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        let end = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        for (at, new) in (0..end).zip(b"09-\xFF\"{}[],e.".iter().cycle()) {
            let mut bytes = whole.clone();
            bytes[at] = *new;
            std::fs::write(&path, bytes).unwrap();
            match Base::open(directory.0.path(), None) {
                Ok(_) => read += 1,
                Err(_) => refused += 1,
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
    println!("{read} read, {refused} refused");
    assert!(refused > 500, "{refused}");
}

/// A row of the table in the document.
fn row(Fields { file, fate, names }: &Fields) -> String {
    let names: Vec<String> = names.split_whitespace().map(|name| format!("`{name}`")).collect();
    let fate = match fate {
        Fate::Read => "read".to_owned(),
        Fate::Irrelevant => "irrelevant".to_owned(),
        Fate::Refused { unless, because } => {
            let read = if *file == "config.json" { "read by the family or " } else { "" };
            format!("refused unless {read}`{unless}`: {because}")
        }
        Fate::Same(other) => format!("refused unless read by the family or equal to `{other}`"),
    };
    format!("| `{file}` | {} | {fate} |", names.join(" "))
}

#[test]
fn the_document_lists_every_field_as_the_code_has_it() {
    let document = std::fs::read_to_string(root().join("docs/sources.md")).unwrap();
    let rows: Vec<String> = FIELDS.iter().map(row).collect();
    rows.iter().for_each(|row| println!("{row}"));
    let written: Vec<&str> = document.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(written, rows);
    let mut names: Vec<_> = FIELDS
        .iter()
        .flat_map(|row| row.names.split_whitespace().map(|name| (row.file, name)))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a field has two fates");
}
