//! Heads as directories describe them: modules of sentence-transformers, and classifiers of checkpoints,
//! each answer against one computed in float64 from the tensors of the files.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::{WeightType, pack_base, provenance, similarity};
use coda_converter::session::Session;
use coda_converter::similarity::Similarity;
use coda_converter::source::Base;
use coda_runtime::config::{HeadKind, Pooling, Poolings, Reading};
use coda_runtime::executor::Input;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::head64;
use coda_tests::tolerance::OTHER_F32;
use safetensors::{Dtype, serialize, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

const D: usize = 8;
const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat", "query"];

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A model directory in the making.
struct Directory {
    place: TempDir,
    config: Value,
    tensors: Tensors,
}

/// Values of a tensor that depend on its name alone.
fn values(name: &str, count: usize) -> Vec<f32> {
    let seed = name.bytes().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let norm = name.contains("Norm") && name.ends_with("weight");
    let value = |index: u32| {
        let step = seed.wrapping_add(index).wrapping_mul(2_654_435_761) >> 22;
        (step as f32 - 512.0) / 1024.0 + f32::from(u8::from(norm))
    };
    (0..count as u32).map(value).collect()
}

fn write_tensors(path: &Path, tensors: &Tensors) {
    let bytes = |(_, values): &(_, Vec<f32>)| -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    let bytes: Vec<Vec<u8>> = tensors.values().map(bytes).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn add(tensors: &mut Tensors, name: &str, shape: &[usize]) {
    let count = shape.iter().product();
    tensors.insert(name.to_owned(), (shape.to_vec(), values(name, count)));
}

fn add_linear(tensors: &mut Tensors, name: &str, rows: usize, columns: usize) {
    add(tensors, &format!("{name}.weight"), &[rows, columns]);
    add(tensors, &format!("{name}.bias"), &[rows]);
}

impl Directory {
    /// A BERT of one layer with 16 positions and a vocabulary.
    fn bert(prefix: &str) -> Self {
        let mut tensors = Tensors::new();
        let rows = [("word", WORDS.len()), ("position", 16), ("token_type", 2)];
        for (name, rows) in rows {
            let name = format!("{prefix}embeddings.{name}_embeddings.weight");
            add(&mut tensors, &name, &[rows, D]);
        }
        let layer = format!("{prefix}encoder.layer.0.");
        let maps = ["attention.self.query", "attention.self.key", "attention.self.value"];
        for name in maps.into_iter().chain(["attention.output.dense"]) {
            add_linear(&mut tensors, &format!("{layer}{name}"), D, D);
        }
        add_linear(&mut tensors, &format!("{layer}intermediate.dense"), 12, D);
        add_linear(&mut tensors, &format!("{layer}output.dense"), D, 12);
        let norms = [format!("{layer}attention.output"), format!("{layer}output")];
        for norm in norms.into_iter().chain([format!("{prefix}embeddings")]) {
            add(&mut tensors, &format!("{norm}.LayerNorm.weight"), &[D]);
            add(&mut tensors, &format!("{norm}.LayerNorm.bias"), &[D]);
        }
        let config = json!({
            "model_type": "bert", "hidden_size": D, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": WORDS.len(),
            "max_position_embeddings": 16, "type_vocab_size": 2,
        });
        let directory = Self { place: tempfile::tempdir().unwrap(), config, tensors };
        directory.file("vocab.txt", &WORDS.join("\n"));
        directory
    }

    /// The same as sentence-transformers stores it, with a mean and nothing else.
    fn sentence() -> Self {
        let directory = Self::bert("");
        directory.modules(&[("", "Transformer"), ("1_Pooling", "Pooling")]);
        directory.file("1_Pooling/config.json", &json!({ "pooling_mode": "mean" }).to_string());
        directory
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
    }

    fn json(&self, name: &str, value: &Value) {
        self.file(name, &value.to_string());
    }

    fn modules(&self, modules: &[(&str, &str)]) {
        let module = |(index, (path, kind)): (usize, &(&str, &str))| {
            let kind = format!("sentence_transformers.models.{kind}");
            json!({ "idx": index, "name": index.to_string(), "path": path, "type": kind })
        };
        let modules: Vec<Value> = modules.iter().enumerate().map(module).collect();
        self.json("modules.json", &json!(modules));
    }

    /// A dense module with a bias, its weights named by the module.
    fn dense(&self, module: &str, outputs: usize, inputs: usize, activation: &str) -> Tensors {
        let config = json!({
            "in_features": inputs, "out_features": outputs, "bias": true,
            "activation_function": format!("torch.nn.modules.{activation}"),
        });
        self.json(&format!("{module}/config.json"), &config);
        let mut named = Tensors::new();
        add_linear(&mut named, module, outputs, inputs);
        let own =
            named.iter().map(|(name, tensor)| (name.replace(module, "linear"), tensor.clone()));
        write_tensors(&self.path(&format!("{module}/model.safetensors")), &own.collect());
        named
    }

    /// Writes the encoder to a folder in the directory, and reads all.
    fn open_in(&self, encoder: &str) -> Result<Base, String> {
        self.json(&format!("{encoder}config.json"), &self.config);
        write_tensors(&self.path(&format!("{encoder}model.safetensors")), &self.tensors);
        Base::open(self.place.path(), None).map_err(|error| error.to_string())
    }

    fn open(&self) -> Result<Base, String> {
        self.open_in("")
    }

    fn refusal(&self) -> String {
        let refusal = self.open().unwrap_err();
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
        refusal
    }
}

/// Hidden states and answer of a packed base.
struct Answer {
    hidden: Vec<Vec<f64>>,
    values: Vec<f64>,
}

fn answer(base: &Base, input: Input<'_>, tokens: usize) -> Answer {
    let packed = pack_base(base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let mut session = Session::new(&model, Capacity::any_budget(tokens)).unwrap();
    let wide = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
    let read = |out: coda_runtime::executor::Output<'_>| Answer {
        hidden: out.hidden.iter().map(wide).collect(),
        values: wide(out.values),
    };
    session.run(input, Budget::Task, &mut (), read).unwrap()
}

fn of_ids(base: &Base) -> Answer {
    answer(base, Input::tokens(&[2, 5, 6, 9, 10, 3]), 6)
}

/// `W x + b` of tensors by name.
fn linear(tensors: &Tensors, name: &str, x: &[f64]) -> Vec<f64> {
    let rows = tensors[&format!("{name}.weight")].1.chunks_exact(x.len());
    let bias = &tensors[&format!("{name}.bias")].1;
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
    rows.zip(bias).map(|(row, bias)| dot(row) + f64::from(*bias)).collect()
}

fn each(values: Vec<f64>, function: impl Fn(f64) -> f64) -> Vec<f64> {
    values.into_iter().map(function).collect()
}

fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let (found, expected) = (found.iter().copied(), expected.iter().copied());
    assert_eq!(OTHER_F32.first_miss(found, expected), None, "{what}");
}

#[test]
fn poolings_of_both_generations_of_files_are_read() {
    use Pooling::{ClassToken, LastToken, Max, Mean, MeanRootLength, WeightedMean};
    let flag = |names: &[&str]| {
        let names = names.iter().map(|name| (format!("pooling_mode_{name}"), json!(true)));
        Value::Object(names.chain([("word_embedding_dimension".to_owned(), json!(D))]).collect())
    };
    let no_mean = |names: &[&str]| {
        let mut value = flag(names);
        value["pooling_mode_mean_tokens"] = json!(false);
        value
    };
    for (config, poolings) in [
        (flag(&["mean_tokens"]), &[Mean][..]),
        (flag(&[]), &[Mean]),
        (no_mean(&["cls_token"]), &[ClassToken]),
        (flag(&["cls_token", "mean_tokens"]), &[ClassToken, Mean]),
        (no_mean(&["max_tokens"]), &[Max]),
        (no_mean(&["mean_sqrt_len_tokens"]), &[MeanRootLength]),
        (no_mean(&["weightedmean_tokens"]), &[WeightedMean]),
        (no_mean(&["lasttoken"]), &[LastToken]),
        (
            flag(&["lasttoken", "mean_tokens", "max_tokens", "cls_token", "weightedmean_tokens"]),
            &[ClassToken, Max, Mean, WeightedMean, LastToken],
        ),
        (json!({ "pooling_mode": "cls", "embedding_dimension": D }), &[ClassToken]),
        (json!({ "pooling_mode": "lasttoken", "include_prompt": false }), &[LastToken]),
        (json!({ "pooling_mode": ["cls", "mean"] }), &[ClassToken, Mean]),
        (json!({ "pooling_mode": "max", "pooling_mode_cls_token": true }), &[Max]),
    ] {
        let directory = Directory::sentence();
        directory.json("1_Pooling/config.json", &config);
        let base = directory.open().unwrap();
        let head = base.head.unwrap();
        assert_eq!(head.pooling.iter().collect::<Vec<_>>(), poolings, "{config}");
        assert_eq!(head.kind, HeadKind::Embedding { normalize: false });
        let Answer { hidden, values } = of_ids(&base);
        assert_close(&values, &head64::expected(&base, &hidden), &config.to_string());
    }
}

#[test]
fn modules_stand_in_any_folder_and_pass_one_after_the_other() {
    let directory = Directory::bert("");
    directory.modules(&[
        ("0_Transformer", "Transformer"),
        ("pool", "Pooling"),
        ("first", "Dense"),
        ("dropped", "Dropout"),
        ("second", "Dense"),
        ("3_Normalize", "Normalize"),
    ]);
    directory.json("pool/config.json", &json!({ "pooling_mode": ["cls", "max"] }));
    let mut maps = directory.dense("first", 5, 2 * D, "activation.Tanh");
    maps.append(&mut directory.dense("second", 3, 5, "linear.Identity"));
    let base = directory.open_in("0_Transformer/").unwrap();
    assert!(base.unused.is_empty());
    let Answer { hidden, values } = of_ids(&base);
    let largest = |column: usize| hidden.iter().map(|row| row[column]).fold(f64::MIN, f64::max);
    let pooled = [hidden[0].clone(), (0..D).map(largest).collect()].concat();
    let first = each(linear(&maps, "first", &pooled), f64::tanh);
    let second = linear(&maps, "second", &first);
    let length = second.iter().map(|x| x * x).sum::<f64>().sqrt();
    assert_close(&values, &each(second, |x| x / length), "two dense modules");
}

#[test]
fn what_modules_say_that_is_not_computed_is_refused_by_name() {
    type Change = fn(&Directory);
    let changes: [(Change, &[&str]); 17] = [
        (
            |d| d.modules(&[("", "Transformer"), ("1_Pooling", "Pooling"), ("2", "CNN")]),
            &["models.CNN"],
        ),
        (
            |d| d.modules(&[("", "Transformer"), ("1_Pooling", "Pooling"), ("2", "Asym")]),
            &["Asym", "side"],
        ),
        (|d| d.modules(&[("", "Transformer")]), &["modules.json", "Pooling"]),
        (|d| d.modules(&[("", "Transformer"), ("../1", "Pooling")]), &["../1", "leaves"]),
        (|d| d.modules(&[("", "Transformer"), ("/etc", "Pooling")]), &["/etc", "leaves"]),
        (|d| d.file("modules.json", "{}"), &["modules.json", "list"]),
        (|d| d.file("modules.json", r#"[{"path": ""}]"#), &["\"type\""]),
        (
            |d| d.file("modules.json", r#"[{"path": "", "type": "custom_st.Transformer"}]"#),
            &["custom_st.Transformer"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "pooling_mode": "median" })),
            &["pooling_mode", "median"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "pooling_mode": ["mean", "cls"] })),
            &["pooling_mode", "order"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "pooling_mode_mean_tokens": false })),
            &["pooling_mode"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "pooling_mode_mean_tokens": "yes" })),
            &["pooling_mode_mean_tokens"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "pooling_mode_top_tokens": true })),
            &["pooling_mode_top_tokens"],
        ),
        (
            |d| d.json("1_Pooling/config.json", &json!({ "word_embedding_dimension": 9 })),
            &["word_embedding_dimension = 9", "8"],
        ),
        (
            |d| {
                d.json("1_Pooling/config.json", &json!({ "include_prompt": false }));
                d.json(
                    "config_sentence_transformers.json",
                    &json!({ "prompts": { "q": "query " } }),
                );
            },
            &["include_prompt"],
        ),
        (
            |d| d.json("config_sentence_transformers.json", &json!({ "default_prompt_name": "q" })),
            &["default_prompt_name = q"],
        ),
        (
            |d| d.json("sentence_bert_config.json", &json!({ "max_seq_length": "many" })),
            &["max_seq_length"],
        ),
    ];
    for (change, words) in changes {
        let directory = Directory::sentence();
        change(&directory);
        let refusal = directory.refusal();
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal} has not {words:?}");
    }
}

#[test]
fn dense_modules_that_are_not_computed_are_refused_by_name() {
    let refusal = |change: &dyn Fn(&Directory)| {
        let directory = Directory::sentence();
        let dense = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2", "Dense"), ("3", "Dense")];
        directory.modules(&dense);
        directory.dense("2", 4, D, "activation.ReLU");
        directory.dense("3", 4, 4, "activation.GELU");
        change(&directory);
        directory.refusal()
    };
    let changed = |field: &str, value: Value| {
        refusal(&|directory| {
            let mut config = json!({
                "in_features": D, "out_features": 4,
                "activation_function": "torch.nn.modules.activation.Tanh",
            });
            config[field] = value.clone();
            directory.json("2/config.json", &config);
        })
    };
    let sigmoid = changed("activation_function", json!("torch.nn.modules.activation.Sigmoid"));
    assert!(sigmoid.contains("activation_function = \"torch.nn.modules.activation.Sigmoid\""));
    assert!(changed("in_features", json!(9)).contains("in_features = 9"));
    assert!(changed("out_features", json!(5)).contains("linear.weight"));
    assert!(changed("module_input_name", json!("token_embeddings")).contains("module_input_name"));
    let old = refusal(&|directory| {
        std::fs::rename(
            directory.path("2/model.safetensors"),
            directory.path("2/pytorch_model.bin"),
        )
        .unwrap();
    });
    assert!(old.contains("pytorch_model.bin"), "{old}");
    let third = refusal(&|directory| {
        let modules = [
            ("", "Transformer"),
            ("1_Pooling", "Pooling"),
            ("3", "Dense"),
            ("3", "Dense"),
            ("3", "Dense"),
        ];
        directory.modules(&modules);
        directory.dense("3", D, D, "activation.Tanh");
    });
    assert!(third.contains("Dense module more"), "{third}");
}

/// The longest text of a directory: as the base says, and as a model of it reads.
fn longest(directory: &Directory) -> (usize, Option<usize>, usize) {
    let base = directory.open().unwrap();
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let mut ids = [0; 40];
    let limit = model.max_tokens().unwrap();
    let text = "the cat sat on a mat ".repeat(9);
    let encoding = model.tokenizer().unwrap().encode(&text, &mut ids[..limit]);
    (base.texts.longest, model.max_tokens(), encoding.len)
}

#[test]
fn texts_are_cut_where_sentence_transformers_cuts_them() {
    let directory = Directory::sentence();
    assert_eq!(longest(&directory), (0, Some(16), 16));
    directory.json("tokenizer_config.json", &json!({ "model_max_length": 1e30 }));
    assert_eq!(longest(&directory), (0, Some(16), 16));
    directory.json("tokenizer_config.json", &json!({ "model_max_length": 9 }));
    assert_eq!(longest(&directory), (9, Some(9), 9));
    directory.json("sentence_bert_config.json", &json!({ "max_seq_length": 12 }));
    assert_eq!(longest(&directory), (12, Some(12), 12), "the module's own length counts");
    directory.json("sentence_bert_config.json", &json!({ "max_seq_length": null }));
    assert_eq!(longest(&directory), (9, Some(9), 9));
    directory.json("sentence_bert_config.json", &json!({ "max_seq_length": 40 }));
    assert_eq!(longest(&directory), (40, Some(16), 16), "no more than the positions");
}

#[test]
fn lower_case_is_that_of_the_tokenizer_or_of_the_module() {
    let directory = Directory::sentence();
    let lower = |directory: &Directory| {
        let options = directory.open().unwrap().tokenizer.unwrap().options;
        options.normalization.lowercase
    };
    directory.json("tokenizer_config.json", &json!({ "do_lower_case": false }));
    assert!(!lower(&directory));
    directory.json("sentence_bert_config.json", &json!({ "do_lower_case": true }));
    assert!(lower(&directory));
}

#[test]
fn how_embeddings_are_compared_travels_in_the_package() {
    let directory = Directory::sentence();
    for (name, expected) in [
        (Value::Null, Similarity::Cosine),
        (json!("cosine"), Similarity::Cosine),
        (json!("dot"), Similarity::Dot),
        (json!("euclidean"), Similarity::Euclidean),
        (json!("manhattan"), Similarity::Manhattan),
    ] {
        let file = "config_sentence_transformers.json";
        directory.json(file, &json!({ "similarity_fn_name": name }));
        let packed = pack_base(&directory.open().unwrap(), WeightType::F32, "from here").unwrap();
        let package = packed.bytes.parse().unwrap();
        assert_eq!((similarity(&package), &*provenance(&package)), (expected, "from here"));
        directory.json(file, &json!({ "similarity_fn_name": "jaccard" }));
        let refusal = directory.refusal();
        assert!(refusal.contains("similarity_fn_name = jaccard"), "{refusal}");
    }
}

#[test]
fn prompts_are_stored_in_order_with_the_default_one() {
    let directory = Directory::sentence();
    directory.json(
        "config_sentence_transformers.json",
        &json!({
            "prompts": { "document": "", "query": "query: " },
            "default_prompt_name": "query",
            "similarity_fn_name": "cosine",
        }),
    );
    let base = directory.open().unwrap();
    assert_eq!(base.texts.similarity, Similarity::Cosine);
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let rules = packed.parse().unwrap().text();
    let prompts: Vec<(&str, &str)> = rules.prompts().collect();
    assert_eq!(prompts, [("document", ""), ("query", "query: ")]);
    assert_eq!(rules.default_prompt(), Some(("query", "query: ")));
    directory.json(
        "config_sentence_transformers.json",
        &json!({ "prompts": { "document": "", "query": "" } }),
    );
    assert_eq!(
        directory.open().unwrap().texts.section(),
        None,
        "prompts without a word say nothing"
    );
}

/// A BERT with the head of a class that transformers writes.
fn classifier(architecture: &str, maps: &[(&str, usize, usize)]) -> Directory {
    let mut directory = Directory::bert("bert.");
    directory.config["architectures"] = json!([architecture]);
    directory.config["id2label"] = json!({ "0": "no", "1": "maybe", "2": "yes" });
    for (name, rows, columns) in maps {
        add_linear(&mut directory.tensors, name, *rows, *columns);
    }
    directory
}

#[test]
fn a_bert_classifies_by_its_pooler() {
    let maps = [("bert.pooler.dense", D, D), ("classifier", 3, D)];
    let directory = classifier("BertForSequenceClassification", &maps);
    let base = directory.open().unwrap();
    assert!(base.unused.is_empty());
    assert_eq!((base.labels.len(), base.head.unwrap().reading), (3, Reading::Largest));
    let Answer { hidden, values } = of_ids(&base);
    let pooled = each(linear(&directory.tensors, "bert.pooler.dense", &hidden[0]), f64::tanh);
    assert_close(&values, &linear(&directory.tensors, "classifier", &pooled), "pooler");
}

#[test]
fn a_roberta_classifies_by_its_dense_layer() {
    let maps = [("classifier.dense", D, D), ("classifier.out_proj", 1, D)];
    let mut directory = classifier("RobertaForSequenceClassification", &maps);
    directory.config["model_type"] = json!("roberta");
    directory.config["max_position_embeddings"] = json!(16);
    let renamed = directory.tensors.into_iter();
    let renamed = renamed.map(|(name, tensor)| (name.replace("bert.", "roberta."), tensor));
    directory.tensors = renamed.collect();
    let base = directory.open().unwrap();
    assert_eq!(base.head.unwrap().reading, Reading::Value, "one label is a value");
    let Answer { hidden, values } = of_ids(&base);
    let dense = each(linear(&directory.tensors, "classifier.dense", &hidden[0]), f64::tanh);
    assert_close(&values, &linear(&directory.tensors, "classifier.out_proj", &dense), "dense");
}

#[test]
fn heads_that_are_not_computed_are_refused_with_their_tensors() {
    let pooler = ("bert.pooler.dense", D, D);
    let class = "BertForSequenceClassification";
    for (architecture, maps, words) in [
        ("BertForQuestionAnswering", &[("qa_outputs", 2, D)][..], "ForQuestionAnswering"),
        ("BertForMultipleChoice", &[pooler, ("classifier", 1, D)], "ForMultipleChoice"),
        (class, &[("classifier", 3, D)], "pooler.dense.weight"),
        (class, &[("score", 3, D)], "score.weight"),
        (class, &[("classifier.dense", D, D), ("classifier.last", 3, D)], "classifier.last"),
    ] {
        let mut directory = classifier(architecture, maps);
        directory.config["id2label"] = json!(null);
        let refusal = directory.refusal();
        let tensor = maps.last().unwrap().0;
        assert!(refusal.contains(words) && refusal.contains(tensor), "{refusal}");
    }
    let mut directory = classifier(class, &[pooler, ("classifier", 3, D)]);
    directory.config["problem_type"] = json!("ranking");
    assert!(directory.refusal().contains("problem_type = \"ranking\""));
    directory.config["problem_type"] = json!("multi_label_classification");
    assert_eq!(directory.open().unwrap().head.unwrap().reading, Reading::Each);
}

#[test]
fn heads_of_pretraining_are_left_out() {
    let maps = [("bert.pooler.dense", D, D), ("cls.predictions.transform.dense", D, D)];
    let base = classifier("BertForMaskedLM", &maps).open().unwrap();
    assert_eq!((base.head, base.unused.len(), base.labels.len()), (None, 4, 0));
}

/// A ViT or DINOv2 of one layer and four patches.
fn images(kind: &str, class_token: bool, classifier: Option<usize>) -> Directory {
    let mut tensors = Tensors::new();
    let tokens = 4 + usize::from(class_token);
    add(&mut tensors, "embeddings.patch_embeddings.projection.weight", &[D, 3, 2, 2]);
    add(&mut tensors, "embeddings.patch_embeddings.projection.bias", &[D]);
    add(&mut tensors, "embeddings.position_embeddings", &[1, tokens, D]);
    if class_token {
        add(&mut tensors, "embeddings.cls_token", &[1, 1, D]);
    }
    let dino = kind == "dinov2";
    let layer = "encoder.layer.0.";
    for name in
        ["attention.attention.query", "attention.attention.key", "attention.attention.value"]
    {
        add_linear(&mut tensors, &format!("{layer}{name}"), D, D);
    }
    add_linear(&mut tensors, &format!("{layer}attention.output.dense"), D, D);
    let (wide, back) =
        if dino { ("mlp.fc1", "mlp.fc2") } else { ("intermediate.dense", "output.dense") };
    add_linear(&mut tensors, &format!("{layer}{wide}"), 12, D);
    add_linear(&mut tensors, &format!("{layer}{back}"), D, 12);
    let norms = if dino { ["norm1", "norm2"] } else { ["layernorm_before", "layernorm_after"] };
    for norm in
        norms.map(|norm| format!("{layer}{norm}")).into_iter().chain(["layernorm".to_owned()])
    {
        add(&mut tensors, &format!("{norm}.weight"), &[D]);
        add(&mut tensors, &format!("{norm}.bias"), &[D]);
    }
    if let Some(columns) = classifier {
        add_linear(&mut tensors, "classifier", 3, columns);
    }
    let config = json!({
        "model_type": kind, "hidden_size": D, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "hidden_act": "gelu", "image_size": 4, "patch_size": 2,
        "num_channels": 3,
    });
    let directory = Directory { place: tempfile::tempdir().unwrap(), config, tensors };
    let image = json!({ "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25] });
    directory.json("preprocessor_config.json", &image);
    directory
}

fn of_pixels(base: &Base) -> Answer {
    let pixels: Vec<u8> = (0..48u32).map(|index| (index * 37 % 251) as u8).collect();
    answer(base, Input::Pixels(&pixels), base.config.max_tokens().unwrap())
}

fn mean(rows: &[Vec<f64>]) -> Vec<f64> {
    let sum = |column: usize| rows.iter().map(|row| row[column]).sum::<f64>();
    (0..D).map(|column| sum(column) / rows.len() as f64).collect()
}

#[test]
fn encoders_of_images_without_a_head_answer_with_their_class_token() {
    let base = images("vit", true, None).open().unwrap();
    let Answer { hidden, values } = of_pixels(&base);
    assert_close(&values, &hidden[0], "class token");
    let base = images("vit", false, None).open().unwrap();
    let Answer { hidden, values } = of_pixels(&base);
    assert_close(&values, &mean(&hidden), "mean of the patches");
}

#[test]
fn classifiers_of_images_read_one_vector_or_two() {
    for (kind, columns) in [("vit", D), ("dinov2", 2 * D)] {
        let directory = images(kind, true, Some(columns));
        let base = directory.open().unwrap();
        let Answer { hidden, values } = of_pixels(&base);
        let mut vector = hidden[0].clone();
        if columns > D {
            vector.extend(mean(&hidden[1..]));
        }
        assert_close(&values, &linear(&directory.tensors, "classifier", &vector), kind);
    }
    let mut directory = images("dinov2", true, Some(2 * D));
    directory.config["num_register_tokens"] = json!(4);
    assert!(directory.refusal().contains("num_register_tokens = 4"));
}

#[test]
fn every_pooling_has_a_name_of_its_own() {
    use coda_runtime::config::Named;
    let names: std::collections::BTreeSet<&str> =
        Poolings::ORDER.iter().map(|p| p.name()).collect();
    assert_eq!(names.len(), Poolings::ORDER.len());
    for pooling in Poolings::ORDER {
        assert_eq!(Pooling::from_name(pooling.name()), Some(pooling));
    }
}
