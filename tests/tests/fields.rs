//! The table of fields is what the code does: a field that is read changes the package or is an
//! error, one that is refused is an error, one that is irrelevant does nothing. Those of `config.json`
//! are tried on the tiny checkpoints of the families.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{WeightType, ids_only, pack_base};
use coda_converter::source::{Base, FIELDS, Fate, Fields};
use coda_tests::seq2seq::Vectors;
use coda_tests::vectors::directories;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

/// Width of the models.
const D: usize = 8;
/// Rows of the token table: four more than there are words.
const ROWS: usize = 14;
const WORDS: [&str; 10] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "lake", "##s", "a", "b"];

/// Names and shapes of tensors.
type Shapes = Vec<(String, Vec<usize>)>;

/// Files of a directory beside its weights.
type Files = Map<String, Value>;

/// A directory as people have them.
struct Setup {
    weights: Shapes,
    files: Files,
}

fn files(value: &Value) -> Files {
    value.as_object().unwrap().clone()
}

fn layer(shapes: &mut Shapes, prefix: &str, maps: [&str; 6], norms: &[&str]) {
    let sizes = [[D, D], [D, D], [D, D], [D, D], [12, D], [D, 12]];
    for (name, [rows, columns]) in maps.iter().zip(sizes) {
        shapes.push((format!("{prefix}{name}.weight"), vec![rows, columns]));
        shapes.push((format!("{prefix}{name}.bias"), vec![rows]));
    }
    for name in norms {
        shapes.push((format!("{name}.weight"), vec![D]));
        shapes.push((format!("{name}.bias"), vec![D]));
    }
}

fn bert_weights() -> Shapes {
    let table = |name: &str, rows| (format!("embeddings.{name}_embeddings.weight"), vec![rows, D]);
    let mut shapes = vec![table("word", ROWS), table("position", 16), table("token_type", 2)];
    let maps = [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ];
    let norms = [
        "embeddings.LayerNorm",
        "encoder.layer.0.attention.output.LayerNorm",
        "encoder.layer.0.output.LayerNorm",
    ];
    layer(&mut shapes, "encoder.layer.0.", maps, &norms);
    shapes
}

fn bert_config() -> Value {
    json!({"model_type": "bert", "hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "vocab_size": ROWS, "max_position_embeddings": 16,
        "type_vocab_size": 2})
}

fn vit_weights() -> Shapes {
    let mut shapes = vec![
        ("embeddings.cls_token".to_owned(), vec![1, 1, D]),
        ("embeddings.position_embeddings".to_owned(), vec![1, 5, D]),
        ("embeddings.patch_embeddings.projection.weight".to_owned(), vec![D, 3, 2, 2]),
        ("embeddings.patch_embeddings.projection.bias".to_owned(), vec![D]),
    ];
    let maps = [
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ];
    let norms =
        ["encoder.layer.0.layernorm_before", "encoder.layer.0.layernorm_after", "layernorm"];
    layer(&mut shapes, "encoder.layer.0.", maps, &norms);
    shapes
}

fn vit_config() -> Value {
    json!({"model_type": "vit", "hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "image_size": 4, "patch_size": 2, "num_channels": 3})
}

/// A `tokenizer.json` of [`WORDS`] and a token behind them.
fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> =
        WORDS.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), Value::from(id))).collect();
    let special =
        |(id, content): (usize, &&str)| json!({"id": id, "content": content, "special": true});
    let mut added: Vec<Value> = WORDS[..5].iter().enumerate().map(special).collect();
    added.push(json!({"id": 10, "content": "Xy", "special": false, "lstrip": false}));
    let piece = |token: &str, kind| json!({"SpecialToken": {"id": token, "type_id": kind}});
    let text = |name: &str, kind| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "version": "1.0", "padding": null, "decoder": {"type": "WordPiece"}, "added_tokens": added,
        "truncation": {"max_length": 9, "strategy": "LongestFirst", "stride": 0},
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0)],
            "pair": [piece("[CLS]", 0), text("A", 0), piece("[SEP]", 0), text("B", 1),
                piece("[SEP]", 1)],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// As sentence-transformers writes them, all files of the tokenizer there.
fn sentence() -> Setup {
    let module = |index: usize, path: &str, kind: &str| {
        json!({"idx": index, "name": index.to_string(), "path": path,
            "type": format!("sentence_transformers.models.{kind}")})
    };
    let decoder = json!({"10": {"content": "Xy", "special": false, "single_word": false}});
    let files = files(&json!({
        "config.json": bert_config(),
        "tokenizer.json": tokenizer(),
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": true,
            "tokenize_chinese_chars": true, "strip_accents": null, "model_max_length": 16,
            "added_tokens_decoder": decoder},
        "modules.json": [module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"),
            module(2, "2_Dense", "Dense"), module(3, "3_Normalize", "Normalize")],
        "1_Pooling/config.json": {"word_embedding_dimension": D, "pooling_mode_mean_tokens": true},
        "2_Dense/config.json": {"in_features": D, "out_features": 4, "bias": true},
        "sentence_bert_config.json": {"max_seq_length": 12, "do_lower_case": false},
        "config_sentence_transformers.json": {"prompts": {"query": "red "},
            "__version__": {"transformers": "5.0"}, "similarity_fn_name": "cosine"},
    }));
    Setup { weights: bert_weights(), files }
}

/// A vocabulary as a list, with the files of older tokenizers.
fn list() -> Setup {
    let files = files(&json!({
        "config.json": bert_config(),
        "vocab.txt": WORDS.join("\n"),
        "tokenizer_config.json": {"do_lower_case": true, "model_max_length": 16},
        "special_tokens_map.json": {"cls_token": "[CLS]", "mask_token": {"content": "[MASK]"}},
        "added_tokens.json": {"Xy": 10},
    }));
    Setup { weights: bert_weights(), files }
}

/// `tokenizer.json` alone, its parts edited.
fn alone(edit: impl Fn(&mut Value)) -> Setup {
    let mut json = tokenizer();
    edit(&mut json);
    let files = files(&json!({"config.json": bert_config(), "tokenizer.json": json}));
    Setup { weights: bert_weights(), files }
}

/// A table of so many rows.
const MANY: usize = 400;

/// A directory with other tokens than [`WORDS`].
fn of_pieces(more: &Value) -> Setup {
    let mut config = bert_config();
    config["vocab_size"] = MANY.into();
    let mut files = files(more);
    files.insert("config.json".to_owned(), config);
    let mut weights = bert_weights();
    weights[0].1[0] = MANY;
    Setup { weights, files }
}

/// Six tokens that stand in texts, from an id on.
fn standing(first: usize) -> Value {
    let token = |place: usize| {
        json!({"id": first + place, "content": format!("Xy{place}"),
        "special": false, "normalized": false, "single_word": false, "lstrip": false})
    };
    (0..6).map(token).collect()
}

fn byte_pairs() -> Value {
    json!({"version": "1.0", "added_tokens": standing(4), "decoder": {"type": "ByteLevel"},
        "normalizer": null, "post_processor": null, "padding": null, "truncation": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "unk_token": "a", "dropout": null, "fuse_unk": false,
            "vocab": {"a": 0, "b": 1, "ab": 2, "red": 3}, "merges": ["a b"]}})
}

/// Unigram with every byte as a piece, behind one normaliser.
fn unigram(normalizer: &Value) -> Value {
    let words = ["<unk>", "\u{2581}", "a", "b"].map(|piece| json!([piece, -1.0]));
    let bytes = (0..=u8::MAX).map(|byte| json!([format!("<0x{byte:02X}>"), -2.0]));
    let pieces: Vec<Value> = words.into_iter().chain(bytes).collect();
    json!({"version": "1.0", "added_tokens": standing(pieces.len()), "post_processor": null,
        "normalizer": normalizer, "decoder": {"type": "Metaspace"}, "padding": null,
        "truncation": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": "always", "split": true, "str_rep": "\u{2581}"},
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": pieces}})
}

/// Words of CLIP.
fn clip() -> Value {
    let pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
    let mut json = byte_pairs();
    json["model"]["end_of_word_suffix"] = "</w>".into();
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "Lowercase"}]});
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed",
        "invert": true});
    let level = json["pre_tokenizer"].clone();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, level]});
    json
}

/// Directories with pieces.
fn pieces() -> Vec<Setup> {
    let whole = |json: Value| of_pieces(&json!({ "tokenizer.json": json }));
    let squeeze = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
    let strip = json!({"type": "Strip", "strip_left": false, "strip_right": true});
    // No array, no texts.
    let map = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA="});
    let class = of_pieces(&json!({"tokenizer.json": byte_pairs(),
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}}));
    // A model of SentencePiece: for each piece a message of its text and a score of 0.
    let piece = |text: &str| {
        let [all, own] = [text.len() + 7, text.len()].map(|length| char::from(length as u8));
        format!("\n{all}\n{own}{text}\u{15}\0\0\0\0")
    };
    let spiece = ["<pad>", "</s>", "<unk>", "a"].map(piece).concat();
    let t5 = of_pieces(&json!({"spiece.model": spiece,
        "tokenizer_config.json": {"tokenizer_class": "T5Tokenizer", "extra_ids": 3}}));
    vec![
        whole(byte_pairs()),
        whole(unigram(&squeeze)),
        whole(unigram(&strip)),
        whole(unigram(&map)),
        whole(clip()),
        class,
        t5,
    ]
}

fn images() -> Setup {
    let preprocessor = json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "size": 6,
        "crop_size": 4, "do_center_crop": true, "rescale_factor": 0.25});
    let files =
        files(&json!({"config.json": vit_config(), "preprocessor_config.json": preprocessor}));
    Setup { weights: vit_weights(), files }
}

fn setups() -> Vec<Setup> {
    let sequences = |json: &mut Value| {
        for (field, parts) in [
            ("normalizer", "normalizers"),
            ("pre_tokenizer", "pretokenizers"),
            ("post_processor", "processors"),
        ] {
            let mut one = Map::from_iter([("type".to_owned(), json!("Sequence"))]);
            one.insert(parts.to_owned(), json!([json[field]]));
            json[field] = Value::Object(one);
        }
    };
    let pair = json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
    let words = [
        sentence(),
        list(),
        alone(|_| {}),
        alone(sequences),
        alone(|json| json["post_processor"] = pair.clone()),
        images(),
    ];
    words.into_iter().chain(pieces()).chain(writers()).collect()
}

/// Directories of models that write: those of the reference vectors.
fn writers() -> impl Iterator<Item = Setup> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq");
    directories(&root).unwrap().into_iter().map(|path| {
        let directory = tempfile::tempdir().unwrap();
        Vectors::open(&path).unwrap().unwrap().write_directory(directory.path()).unwrap();
        let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
        let json = |name: &str| serde_json::from_slice::<Value>(&read(name)).unwrap();
        let names = ["config.json", "generation_config.json"];
        let mut files: Files = names.iter().map(|name| ((*name).to_owned(), json(name))).collect();
        // Without it an answer begins as a text does.
        if path.ends_with("seed013/image") {
            let rules = files["generation_config.json"].as_object_mut().unwrap();
            let start = rules.remove("decoder_start_token_id").unwrap();
            rules.insert("bos_token_id".to_owned(), start);
        }
        // Without it an answer has as many ids as a whole text.
        if path.ends_with("seed011/image") {
            let rules = files["generation_config.json"].as_object_mut().unwrap();
            let longest = rules.remove("max_new_tokens").unwrap().as_u64().unwrap();
            rules.insert("max_length".to_owned(), json!(longest + 1));
        }
        // What follows the first id is by name.
        if path.ends_with("seed012/whisper") {
            let rules = files["generation_config.json"].as_object_mut().unwrap();
            for (field, value) in [
                ("decoder_start_token_id", json!(51)),
                ("lang_to_id", json!({"<|en|>": 53, "<|fr|>": 54})),
                ("task_to_id", json!({"transcribe": 55, "translate": 56})),
                ("no_timestamps_token_id", json!(57)),
            ] {
                rules.insert(field.to_owned(), value);
            }
        }
        if files["config.json"]["encoder"].is_object() {
            let image = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25] });
            files.insert("preprocessor_config.json".to_owned(), image);
        }
        if files["config.json"]["vision_config"].is_object() {
            let image = json!({ "max_patches": 12, "patch_size": { "height": 3, "width": 3 } });
            files.insert("preprocessor_config.json".to_owned(), image);
        }
        let bytes = read("model.safetensors");
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let own = tensors.iter().filter(|(name, _)| !name.starts_with("coda."));
        let mut weights: Shapes =
            own.map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        weights.sort();
        Setup { weights, files }
    })
}

fn write_weights(path: &Path, shapes: &Shapes) {
    let data: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(_, shape)| {
            let values = (0..shape.iter().product()).map(|at: usize| (at % 7) as f32 / 8.0 + 0.1);
            values.flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let views = shapes.iter().zip(&data).map(|((name, shape), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

impl Setup {
    /// Writes everything but the files of JSON, which [`outcome`] writes.
    fn directory(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        for name in ["1_Pooling", "2_Dense"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        write_weights(&directory.path().join("model.safetensors"), &self.weights);
        let dense =
            vec![("linear.weight".to_owned(), vec![4, D]), ("linear.bias".to_owned(), vec![4])];
        write_weights(&directory.path().join("2_Dense/model.safetensors"), &dense);
        directory
    }
}

/// A package, why it reads no texts, and what was not known; or the error.
type Outcome = Result<(Vec<u8>, Option<String>, Vec<String>), String>;

/// What becomes of a directory with these files.
fn outcome(directory: &Path, files: &Files) -> Outcome {
    for (name, value) in files {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        std::fs::write(directory.join(name), text).unwrap();
    }
    let base = Base::open(directory, None).map_err(|error| error.to_string())?;
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let why = ids_only(&packed.parse().unwrap()).map(str::to_owned);
    Ok((packed.to_vec(), why, base.notes))
}

/// An object in a file of the directory.
struct Place<'f> {
    file: &'f str,
    pointer: &'f str,
}

/// Where the fields of a file of the table are.
fn places(file: &str) -> Vec<Place<'_>> {
    let places = match file {
        "tokenizer.json: model" => vec![("tokenizer.json", "/model")],
        "tokenizer.json: normalizer" => vec![("tokenizer.json", "/normalizer")],
        "tokenizer.json: pre_tokenizer" => vec![
            ("tokenizer.json", "/pre_tokenizer"),
            ("tokenizer.json", "/pre_tokenizer/pretokenizers/0"),
        ],
        "tokenizer.json: post_processor" => vec![("tokenizer.json", "/post_processor")],
        "tokenizer.json: truncation" => vec![("tokenizer.json", "/truncation")],
        "a token in these files" => vec![
            ("tokenizer.json", "/added_tokens/5"),
            ("tokenizer_config.json", "/added_tokens_decoder/10"),
            ("special_tokens_map.json", "/mask_token"),
        ],
        "modules.json" => vec![("modules.json", "/1")],
        other => vec![(other, "")],
    };
    places.into_iter().map(|(file, pointer)| Place { file, pointer }).collect()
}

/// Values of every kind.
fn probes() -> Vec<Value> {
    vec![
        Value::Null,
        json!("nonsense"),
        json!("red"),
        json!("left"),
        json!("dot"),
        json!(7),
        json!(0),
        json!(0.5),
        json!(true),
        json!(false),
        json!([]),
        json!(["red"]),
        json!([0.1, 0.2, 0.3]),
        json!({"odd": "x"}),
        json!({"AutoTokenizer": ["odd.Tokenizer", null]}),
    ]
}

/// The files with a field set to a value, null to leave it out; `None` where the directory has no such
/// place.
fn edited(files: &Files, place: &Place<'_>, field: &str, value: &Value) -> Option<Files> {
    let mut files = files.clone();
    let object = files.get_mut(place.file)?.pointer_mut(place.pointer)?.as_object_mut()?;
    let field = if field == "*" { "odd" } else { field };
    match value {
        Value::Null => drop(object.remove(field)),
        own => drop(object.insert(field.to_owned(), own.clone())),
    }
    Some(files)
}

/// A directory, and what becomes of it as it is.
struct Subject {
    directory: TempDir,
    files: Files,
    usual: Outcome,
}

impl Subject {
    fn new(setup: Setup) -> Self {
        let directory = setup.directory();
        let usual = outcome(directory.path(), &setup.files);
        assert!(usual.is_ok(), "{usual:?}");
        Self { directory, files: setup.files, usual }
    }
}

/// Whether a field of a file does something, and what: in every directory that has the file, with every
/// value.
fn effects<'a>(
    subjects: &'a [Subject],
    file: &'static str,
    field: &'static str,
    values: &'a [Value],
) -> impl Iterator<Item = (bool, String)> + 'a {
    let places =
        subjects.iter().flat_map(move |own| places(file).into_iter().map(move |at| (own, at)));
    places.flat_map(move |(own, at)| {
        values.iter().filter_map(move |value| {
            let found = outcome(own.directory.path(), &edited(&own.files, &at, field, value)?);
            let what = format!("{field} = {value} of {file}: {:?}", found.as_ref().err());
            Some((found != own.usual, what))
        })
    })
}

#[test]
fn every_field_does_what_the_table_says() {
    let subjects: Vec<Subject> = setups().into_iter().map(Subject::new).collect();
    let (all, two) = (probes(), [json!("nonsense"), json!(7)]);
    let mut counts = [0; 3];
    for Fields { file, fate, names } in FIELDS.iter().filter(|row| row.file != "config.json") {
        for name in names.split_whitespace() {
            let of = |values| effects(&subjects, file, name, values);
            match fate {
                Fate::Read => {
                    assert!(of(&all).any(|(effect, _)| effect), "{file}: {name} is not read");
                    counts[0] += 1;
                }
                Fate::Refused { unless, .. } => {
                    let refused: Vec<_> = of(&two).collect();
                    let found = refused.iter().find(|(effect, _)| !effect);
                    assert!(!refused.is_empty() && found.is_none(), "{file}: {name}: {found:?}");
                    let unless = [serde_json::from_str(unless).unwrap(), Value::Null];
                    let found = of(&unless).find(|(effect, _)| *effect);
                    assert_eq!(found, None);
                    counts[1] += 1;
                }
                Fate::Irrelevant => {
                    let found: Vec<_> = of(&two).collect();
                    let effect = found.iter().find(|(effect, _)| *effect);
                    assert!(!found.is_empty() && effect.is_none(), "{file}: {name}: {effect:?}");
                    counts[2] += 1;
                }
                Fate::Same(_) => panic!("{file}: {name}"),
            }
        }
    }
    let [read, refused, irrelevant] = counts;
    println!("{read} fields are read, {refused} refused, {irrelevant} do nothing");
}

/// A configuration by the names of an earlier generation, if it is one that had others.
fn earlier(config: &Value) -> Option<Value> {
    let mut fields = config.as_object()?.clone();
    let names: &[(&str, &str)] = match config["model_type"].as_str()? {
        "modernbert" => &[],
        "nomic_bert" => &[
            ("hidden_size", "n_embd"),
            ("num_hidden_layers", "n_layer"),
            ("num_attention_heads", "n_head"),
            ("intermediate_size", "n_inner"),
            ("max_position_embeddings", "n_positions"),
            ("layer_norm_eps", "layer_norm_epsilon"),
        ],
        _ => return None,
    };
    for (name, own) in names {
        let value = fields.remove(*name)?;
        fields.insert((*own).to_owned(), value);
    }
    if names.is_empty() {
        fields.retain(|name, _| !["layer_types", "rope_parameters"].contains(&name.as_str()));
        fields.insert("global_attn_every_n_layers".to_owned(), json!(3));
        fields.insert("global_rope_theta".to_owned(), json!(160_000.0));
        fields.insert("local_rope_theta".to_owned(), json!(10_000.0));
    }
    Some(Value::Object(fields))
}

/// A directory of every tiny checkpoint, and those with a tokenizer.
fn families() -> Vec<Subject> {
    let mut subjects: Vec<_> = setups().into_iter().map(Subject::new).collect();
    for file in ["families.json", "families_transformers.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
        let cases: Files = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases.values() {
            let weights = serde_json::from_value::<BTreeMap<_, _>>(case["shapes"].clone()).unwrap();
            let weights: Shapes = weights.into_iter().collect();
            let image = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25] });
            let config = &case["config"];
            for config in std::iter::once(config.clone()).chain(earlier(config)) {
                let files =
                    files(&json!({ "config.json": config, "preprocessor_config.json": image }));
                subjects.push(Subject::new(Setup { weights: weights.clone(), files }));
            }
        }
    }
    subjects
}

/// Other values for a field, of the type of its own where it has one.
fn other_values(own: Option<&Value>) -> Vec<Value> {
    match own {
        Some(Value::Bool(flag)) => vec![json!(!flag)],
        Some(Value::Number(number)) => {
            let number = number.as_f64().unwrap();
            vec![json!(number * 2.0), json!(number + 1.0), json!(0), json!(1)]
        }
        Some(Value::String(_)) => ["relu", "gated-gelu", "other"].map(Value::from).to_vec(),
        Some(Value::Null) | None => [true, false]
            .map(Value::from)
            .into_iter()
            .chain([0, 1, 7].map(Value::from))
            .chain([json!(0.5), json!("relu"), json!("other"), json!({"0": "yes"})])
            .chain([json!(["full_attention", "full_attention"]), json!({"hidden_size": 4})])
            .collect(),
        // Without the field, or with less in it.
        Some(Value::Array(_)) => vec![Value::Null, json!(["other"])],
        Some(Value::Object(_)) => vec![Value::Null, json!({"0": "yes"})],
    }
}

/// An error that says no more than that a value is of another type.
fn is_of_type(error: &str) -> bool {
    ["invalid type", "invalid value", "invalid length", "did not match any"]
        .iter()
        .any(|words| error.contains(words))
}

/// Where a `config.json` has fields.
const HALVES: [&str; 4] = ["", "/decoder", "/vision_config", "/text_config"];

/// A value of the right type that changes what becomes of one of the checkpoints.
fn has_effect(subjects: &[Subject], field: &str) -> bool {
    // Of a model of two halves, also what it says of the second.
    let at = |own: &Subject, pointer| own.files["config.json"].pointer(pointer).cloned();
    let mut places: Vec<(&Subject, &'static str, Value)> = subjects
        .iter()
        .flat_map(|own| HALVES.map(|pointer| (own, pointer)))
        .filter_map(|(own, pointer)| Some((own, pointer, at(own, pointer)?)))
        .filter(|(.., fields)| fields.is_object())
        .collect();
    // Those that have the field first.
    places.sort_by_key(|(.., fields)| fields.get(field).is_none());
    places.iter().any(|(own, pointer, fields)| {
        let place = Place { file: "config.json", pointer };
        let values = other_values(fields.get(field));
        values.iter().any(|value| {
            let files = edited(&own.files, &place, field, value).unwrap();
            let found = outcome(own.directory.path(), &files);
            let of_type = found.as_ref().is_err_and(|error| is_of_type(error));
            found != own.usual && !of_type
        })
    })
}

#[test]
fn every_field_of_a_configuration_that_is_read_has_an_effect() {
    let subjects = families();
    assert!(subjects.len() > 40);
    let rows = FIELDS.iter().filter(|row| row.file == "config.json" && row.fate == Fate::Read);
    let names: Vec<&str> = rows.flat_map(|row| row.names.split_whitespace()).collect();
    let idle = names.iter().filter(|name| !has_effect(&subjects, name));
    assert_eq!(idle.collect::<Vec<_>>(), [&""; 0], "of {}", names.len());
}

/// All at once; the first that does something is looked for alone. A model that writes reads some of them as those of
/// `generation_config.json`.
#[test]
fn no_field_of_a_configuration_that_is_irrelevant_has_an_effect() {
    let is_irrelevant = |row: &&Fields| row.file == "config.json" && row.fate == Fate::Irrelevant;
    let rows = FIELDS.iter().filter(is_irrelevant);
    let names: Vec<&str> = rows.flat_map(|row| row.names.split_whitespace()).collect();
    let place = Place { file: "config.json", pointer: "" };
    let is_encoder = |own: &Subject| !own.files.contains_key("generation_config.json");
    for own in families().into_iter().filter(is_encoder) {
        let with = |names: &[&str], value: &Value| {
            let set = |files: Files, name: &&str| edited(&files, &place, name, value).unwrap();
            outcome(own.directory.path(), &names.iter().fold(own.files.clone(), set))
        };
        for value in [json!("nonsense"), json!(7), json!(false), json!(["other"])] {
            if with(&names, &value) != own.usual {
                let found = names.iter().find(|name| with(&[name], &value) != own.usual);
                panic!("{found:?} = {value} of {}", own.files["config.json"]);
            }
        }
    }
}

#[test]
fn fields_of_a_configuration_that_are_refused_are_so_in_every_family_that_reads_none() {
    let subjects = families();
    let place = Place { file: "config.json", pointer: "" };
    for Fields { names, fate, .. } in FIELDS.iter().filter(|row| row.file == "config.json") {
        let Fate::Refused { unless, .. } = fate else { continue };
        let unless: Value = serde_json::from_str(unless).unwrap();
        for name in names.split_whitespace() {
            let of = |own: &Subject, value: &Value| {
                let files = edited(&own.files, &place, name, value).unwrap();
                outcome(own.directory.path(), &files)
            };
            let refused = |own: &&Subject| {
                let error = of(own, &json!("nonsense")).err();
                error.is_some_and(|error| error.contains(name))
            };
            let others: Vec<_> = subjects.iter().filter(|own| !refused(own)).collect();
            assert!(others.len() < subjects.len() / 4, "{name}: {} families", others.len());
            let of_bert = subjects.iter().filter(refused).take(5);
            of_bert.for_each(|own| {
                let own_value = own.files["config.json"].get(name);
                if own_value.is_none_or(|value| *value == unless) {
                    assert_eq!(of(own, &unless), own.usual, "{name}");
                }
            });
        }
    }
}

#[test]
fn fields_that_are_not_known_are_listed_wherever_they_stand() {
    for (setup, (file, pointer), shown) in [
        (sentence(), ("tokenizer.json", ""), "tokenizer.json: fields not known, ignored: odd"),
        (sentence(), ("tokenizer.json", "/model"), "ignored: model.odd"),
        (sentence(), ("tokenizer.json", "/added_tokens/0"), "ignored: added_tokens.odd"),
        (sentence(), ("tokenizer_config.json", ""), "tokenizer_config.json: fields not known"),
        (list(), ("special_tokens_map.json", "/mask_token"), "ignored: mask_token.odd"),
        (sentence(), ("modules.json", "/0"), "modules.json: fields not known"),
        (sentence(), ("1_Pooling/config.json", ""), "1_Pooling/config.json: fields not known"),
        (sentence(), ("2_Dense/config.json", ""), "2_Dense/config.json: fields not known"),
        (sentence(), ("sentence_bert_config.json", ""), "sentence_bert_config.json: fields"),
        (
            sentence(),
            ("config_sentence_transformers.json", ""),
            "config_sentence_transformers.json",
        ),
    ] {
        let directory = setup.directory();
        let (.., notes) = outcome(directory.path(), &setup.files).unwrap();
        assert_eq!(notes, [""; 0]);
        let place = Place { file, pointer };
        let files = edited(&setup.files, &place, "*", &json!("x")).unwrap();
        let (.., notes) = outcome(directory.path(), &files).unwrap();
        assert!(notes.len() == 1 && notes[0].contains(shown), "{shown}: {notes:?}");
    }
}

#[test]
fn files_that_are_no_objects_are_refused_by_name() {
    for (setup, name) in [
        (sentence(), "tokenizer.json"),
        (sentence(), "tokenizer_config.json"),
        (list(), "special_tokens_map.json"),
        (list(), "added_tokens.json"),
        (images(), "preprocessor_config.json"),
        (sentence(), "config_sentence_transformers.json"),
        (sentence(), "sentence_bert_config.json"),
    ] {
        let directory = setup.directory();
        for text in ["[]", "null", "7"] {
            let mut files = setup.files.clone();
            files.insert(name.to_owned(), text.into());
            let error = outcome(directory.path(), &files).unwrap_err();
            assert!(error.contains(name) && error.contains("object"), "{error}");
        }
    }
}
