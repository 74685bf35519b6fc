//! The `coda` command as people meet it: bad input is one clear line, and nothing is written.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::pack::seal;
use coda_converter::sign::read_key;
use coda_runtime::format::header;
use coda_runtime::signature::envelope;
use coda_tests::source::root;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

const USAGE: i32 = 1;
const INPUT: i32 = 2;
const VERIFICATION: i32 = 3;
const INTERRUPTED: i32 = 130;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn default_model() -> PathBuf {
    workspace().join("converter/default/fashion-vit")
}

fn image() -> String {
    text(&workspace().join("converter/default/images/8.png"))
}

/// The command that `CODA` names, else one built with the profile of these tests.
fn coda() -> &'static Path {
    static CODA: OnceLock<PathBuf> = OnceLock::new();
    CODA.get_or_init(|| {
        if let Some(named) = std::env::var_os("CODA") {
            return named.into();
        }
        let build = Command::new(env!("CARGO"))
            .args(["build", "--release", "--quiet", "--bin", "coda", "--message-format=json"])
            .current_dir(workspace())
            .output()
            .unwrap();
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        let messages = String::from_utf8(build.stdout).unwrap();
        let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut paths =
            messages.filter_map(|message| Some(message["executable"].as_str()?.to_owned()));
        PathBuf::from(paths.next_back().unwrap())
    })
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn run<S: AsRef<str>>(arguments: &[S]) -> Output {
    Command::new(coda()).args(arguments.iter().map(AsRef::as_ref)).output().unwrap()
}

fn succeeded<S: AsRef<str>>(arguments: &[S]) -> String {
    let output = run(arguments);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    String::from_utf8(output.stdout).unwrap()
}

/// The command must end with `status` and one line on stderr that holds every one of `words`.
fn refused<S: AsRef<str>>(arguments: &[S], status: i32, words: &[&str]) {
    let output = run(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.starts_with("error: "), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

/// A directory of inputs and an empty one for outputs.
struct Bench {
    inputs: TempDir,
    outputs: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { inputs: TempDir::new().unwrap(), outputs: TempDir::new().unwrap() }
    }

    fn input(&self, name: &str) -> PathBuf {
        self.inputs.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.input(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        text(&path)
    }

    fn output(&self) -> String {
        text(&self.outputs.path().join("out.coda"))
    }

    fn assert_nothing_written(&self) {
        assert_eq!(std::fs::read_dir(self.outputs.path()).unwrap().count(), 0);
    }

    /// A copy of the bundled model that a test may damage.
    fn model(&self) -> PathBuf {
        let directory = self.input("model");
        std::fs::create_dir_all(&directory).unwrap();
        for entry in std::fs::read_dir(default_model()).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
        }
        directory
    }

    /// Packing must be refused and write nothing.
    fn pack_refused(&self, base: &Path, task: Option<&Path>, words: &[&str]) {
        let (base, output) = (text(base), self.output());
        let mut arguments = vec!["pack", "--base", &base, "-o", &output];
        let task = task.map(text);
        arguments.extend(task.iter().flat_map(|task| ["--task", task]));
        refused(&arguments, INPUT, words);
        self.assert_nothing_written();
    }

    /// Packs the bundled model.
    fn packed(&self, name: &str, extra: &[&str]) -> String {
        let output = text(&self.input(name));
        let (base, task) = (text(&default_model()), text(&default_task()));
        let mut arguments = vec!["pack", "--base", &base, "--task", &task, "-o", &output];
        arguments.extend(extra);
        succeeded(&arguments);
        output
    }

    /// Packs the tiny BERT.
    fn packed_words(&self) -> String {
        let output = text(&self.input("words.coda"));
        succeeded(&["pack", "--base", &text(&self.text_model()), "-o", &output]);
        output
    }

    /// A tiny BERT with a vocabulary, 12 positions and a mean.
    fn text_model(&self) -> PathBuf {
        let directory = self.input("bert");
        std::fs::create_dir_all(&directory).unwrap();
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n";
        std::fs::write(directory.join("vocab.txt"), vocabulary).unwrap();
        self.write("bert/1_Pooling/config.json", r#"{ "pooling_mode": "mean" }"#);
        let config = bert_config(10, 8);
        std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
        write_bert(&directory.join("model.safetensors"), 10, 8);
        directory
    }
}

fn default_task() -> PathBuf {
    default_model().join("coda.safetensors")
}

fn bert_config(vocabulary: usize, hidden: usize) -> Value {
    json!({
        "model_type": "bert", "hidden_size": hidden, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": vocabulary,
        "max_position_embeddings": 12, "type_vocab_size": 2, "hidden_act": "gelu",
    })
}

/// Writes a BERT of one layer.
fn write_bert(path: &Path, vocabulary: usize, d: usize) {
    let layer = "encoder.layer.0.";
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![vocabulary, d]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![12, d]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, d]),
        (format!("{layer}intermediate.dense.weight"), vec![16, d]),
        (format!("{layer}output.dense.weight"), vec![d, 16]),
        (format!("{layer}attention.output.dense.weight"), vec![d, d]),
    ];
    for name in ["query", "key", "value"] {
        shapes.push((format!("{layer}attention.self.{name}.weight"), vec![d, d]));
    }
    for norm in ["embeddings", &format!("{layer}attention.output"), &format!("{layer}output")] {
        for part in ["weight", "bias"] {
            shapes.push((format!("{norm}.LayerNorm.{part}"), vec![d]));
        }
    }
    let tensors = shapes.into_iter().map(|(name, shape)| {
        let count: usize = shape.iter().product();
        let value = |index: usize| ((index * 7 % 23) as f32 / 23.0 - 0.4).to_le_bytes();
        (name, (shape, (0..count).flat_map(value).collect::<Vec<u8>>()))
    });
    write_tensors(path, &tensors.collect(), None);
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;
/// A change of a file's tensors, and the words of its refusal.
type Damage<'d> = (&'d dyn Fn(&mut Tensors), &'d [&'d str]);

fn write_tensors(path: &Path, tensors: &Tensors, metadata: Option<&str>) {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        let halves = bytes.len() == shape.iter().product::<usize>() * 2;
        let dtype = if halves { Dtype::F16 } else { Dtype::F32 };
        (name.clone(), TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    let metadata = metadata.map(|text| [("coda".to_owned(), text.to_owned())].into());
    let bytes = safetensors::serialize(views, metadata).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn read_tensors(path: &Path) -> (Tensors, Option<String>) {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().and_then(|map| map.get("coda").cloned());
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    (
        tensors.map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec()))).collect(),
        metadata,
    )
}

/// Changes the tensors of a safetensors file.
fn edit(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let (mut tensors, metadata) = read_tensors(path);
    change(&mut tensors);
    write_tensors(path, &tensors, metadata.as_deref());
}

#[test]
fn damaged_packages_are_refused() {
    let bench = Bench::new();
    let whole = std::fs::read(bench.packed("good.coda", &[])).unwrap();
    let image = image();
    let check = |name: &str, bytes: &[u8], words: &[&str]| {
        let path = bench.write(name, bytes);
        let mut words = words.to_vec();
        words.push(name);
        for arguments in [
            vec!["run", &path, "--image", &image],
            vec!["inspect", &path],
            vec!["plan", &path],
            vec!["eval", &path, "--data", &image],
        ] {
            refused(&arguments, INPUT, &words);
        }
    };
    for length in [1, 63, 64, 1000, whole.len() - 1] {
        check("cut.coda", &whole[..length], &[]);
    }
    check("empty.coda", &[], &["0 bytes"]);
    check(
        "text.coda",
        b"this is a text and no package at all, but long enough for a header",
        &["not a coda package"],
    );
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    check("flipped.coda", &flipped, &["checksum", "damaged"]);
    let mut version = whole.clone();
    version[header::MAJOR].copy_from_slice(&9u16.to_le_bytes());
    seal(&mut version);
    check("version.coda", &version, &["version 9"]);
    refused(&["run", "/nonexistent/x.coda", "--image", &image], INPUT, &["/nonexistent/x.coda"]);
}

#[test]
fn a_task_for_another_base_is_refused() {
    let bench = Bench::new();
    let base = bench.packed("base.coda", &["--only", "base", "--weights", "int8"]);
    let task = bench.packed("task.coda", &["--only", "task", "--weights", "f16"]);
    refused(
        &["run", &base, &task, "--image", &image()],
        INPUT,
        &["the task was made for the base", "this base is"],
    );
    refused(&["run", &task, "--image", &image()], INPUT, &["a base package is needed"]);
}

#[test]
fn a_base_and_its_task_in_two_files_answer_as_the_bundle_does() {
    let bench = Bench::new();
    let bundle = bench.packed("bundle.coda", &[]);
    let base = bench.packed("base.coda", &["--only", "base"]);
    let task = bench.packed("task.coda", &["--only", "task"]);
    let answer = |packages: &[&str]| {
        let image = image();
        let mut arguments = vec!["run"];
        arguments.extend(packages);
        arguments.extend(["--image", &image, "--reduction", "4", "--json"]);
        serde_json::from_str::<Value>(&succeeded(&arguments)).unwrap()["values"].clone()
    };
    assert_eq!(answer(&[&bundle]), answer(&[&base, &task]));
    assert_eq!(answer(&[&bundle]), answer(&[&task, &base]));
}

#[test]
fn damaged_base_weights_are_refused_and_nothing_is_written() {
    let name = "encoder.layer.2.intermediate.dense.weight";
    let damage: [Damage<'_>; 3] = [
        (&|tensors| drop(tensors.remove(name)), &[name, "is missing"]),
        (
            &|tensors| tensors.get_mut(name).unwrap().0 = vec![96, 384],
            &[name, "[96, 384]", "[384, 96]"],
        ),
        (
            &|tensors| tensors.get_mut(name).unwrap().1[4..6].copy_from_slice(&[0, 0x7e]),
            &[name, "NaN", "index 2"],
        ),
    ];
    for (change, words) in damage {
        let bench = Bench::new();
        let model = bench.model();
        edit(&model.join("model.safetensors"), change);
        bench.pack_refused(&model, None, words);
    }
}

#[test]
fn files_that_are_no_safetensors_are_refused_and_nothing_is_written() {
    let whole = std::fs::read(default_model().join("model.safetensors")).unwrap();
    let cut = &whole[..whole.len() - 10];
    let garbage = [&[0xff; 16], &whole[16..]].concat();
    let unlike = "not a valid safetensors file";
    let files: [(&[u8], &str); 4] =
        [(cut, unlike), (&garbage, unlike), (b"", "the file is empty"), (b"hello", unlike)];
    for (bytes, why) in files {
        let bench = Bench::new();
        let model = bench.model();
        std::fs::write(model.join("model.safetensors"), bytes).unwrap();
        bench.pack_refused(&model, None, &["model.safetensors", why]);
        let task = bench.write("task.safetensors", bytes);
        bench.pack_refused(&default_model(), Some(Path::new(&task)), &["task.safetensors"]);
    }
}

#[test]
fn damaged_tasks_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let (tensors, metadata) = read_tensors(&default_task());
    let metadata = metadata.unwrap();
    let path = bench.input("task.safetensors");
    let check = |change: &dyn Fn(&mut Tensors), metadata: Option<&str>, words: &[&str]| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        write_tensors(&path, &tensors, metadata);
        bench.pack_refused(&default_model(), Some(&path), words);
    };
    let router = "coda.layer.1.router.weight";
    let all = Some(metadata.as_str());
    check(&|t| drop(t.remove(router)), all, &[router, "is missing"]);
    check(
        &|t| t.get_mut(router).unwrap().1[..2].copy_from_slice(&[0, 0x7c]),
        all,
        &[router, "inf"],
    );
    let up = "coda.layer.0.adapter.up.weight";
    check(&|t| t.get_mut(up).unwrap().0.reverse(), all, &[up, "shape"]);
    let frozen = "encoder.layer.0.intermediate.dense.bias";
    let add = |t: &mut Tensors| drop(t.insert(frozen.to_owned(), (vec![2], vec![0; 4])));
    check(&add, all, &[frozen, "not part of this model"]);
    check(&|_| (), None, &["\"coda\" metadata"]);
    check(&|_| (), Some("{"), &["\"coda\" metadata"]);
    let attention = metadata.replace("k-to-all", "k-to-nobody");
    check(&|_| (), Some(&attention), &["k-to-nobody", "supported are"]);
    let gate = metadata.replace("\"ones\"", "\"soft\"");
    check(&|_| (), Some(&gate), &["soft", "supported are"]);
    let exact = metadata.replace("\"ones\"", "\"exact\"");
    check(&|_| (), Some(&exact), &["eps"]);
}

#[test]
fn unusable_directories_are_refused_and_nothing_is_written() {
    let bench = Bench::new();
    bench.pack_refused(bench.inputs.path(), None, &["has no config.json"]);
    let model = bench.text_model();
    let config = model.join("config.json");
    let check = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let mut value = bert_config(10, 8);
        change(&mut value);
        std::fs::write(&config, value.to_string()).unwrap();
        bench.pack_refused(&model, None, words);
    };
    check(&|v| v["model_type"] = json!("gpt2"), &["gpt2", "it is a decoder"]);
    check(&|v| v["model_type"] = json!("other"), &["other", "supported are bert, ernie"]);
    check(&|v| v["num_attention_heads"] = json!(3), &["num_attention_heads", "3"]);
    check(&|v| v["num_attention_heads"] = json!(0), &["num_attention_heads"]);
    check(&|v| v["hidden_act"] = json!("mish"), &["hidden_act", "mish"]);
    check(&|v| drop(v.as_object_mut().unwrap().remove("vocab_size")), &["vocab_size", "missing"]);
    check(&|v| v["position_embedding_type"] = json!("rotary"), &["rotary"]);
    check(&|v| v["num_hidden_layers"] = json!(100_000), &["cannot be packed"]);
    let words = &["the number of layers is 4294967297"];
    check(&|v| v["num_hidden_layers"] = json!(4_294_967_297u64), words);
    check(&|v| v["id2label"] = json!({ "0": "\u{1b}[2J" }), &["id2label: 0", "control"]);
    std::fs::write(&config, "{ not json").unwrap();
    bench.pack_refused(&model, None, &["config.json", "not valid JSON"]);
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let picture = bench.packed("picture.coda", &[]);
    let words = bench.packed_words();
    let image = image();
    refused(&["run", &words, "--text", ""], INPUT, &["empty"]);
    refused(&["run", &words, "--text", "  \n "], INPUT, &["empty"]);
    refused(&["run", &words, "--ids", "2,5,10,3"], INPUT, &["id 10", "ends at 9"]);
    refused(&["run", &words, "--image", &image], INPUT, &["reads texts"]);
    refused(&["run", &picture, "--text", "a"], INPUT, &["images of 28 by 28 pixels"]);
    refused(&["run", &picture, "--ids", "1"], INPUT, &["images of 28 by 28 pixels"]);
}

#[test]
fn budgets_that_do_not_fit_are_refused() {
    let bench = Bench::new();
    let picture = bench.packed("picture.coda", &[]);
    let image = image();
    let run_refused = |option: &str, value: &str, words: &[&str]| {
        refused(&["run", &picture, "--image", &image, option, value], INPUT, words);
    };
    for reduction in ["0", "-1", "0.5", "nan", "inf"] {
        run_refused("--reduction", reduction, &["at least 1"]);
    }
    run_refused("--reduction", "51", &["51", "50 tokens"]);
    for k in ["0", "-3", "51"] {
        run_refused("--selected", k, &["between 1 and", "50"]);
    }
    refused(&["eval", &picture, "--data", &image, "--reductions", "0"], INPUT, &["at least 1"]);
    refused(&["plan", &picture, "--reduction", "0"], INPUT, &["at least 1"]);
    refused(&["plan", &picture, "--max-tokens", "51"], INPUT, &["50"]);
    run_refused("--kernels", "x", &["portable", "scalar"]);
}

#[test]
fn a_text_longer_than_the_model_is_cut_and_the_cut_is_told() {
    let bench = Bench::new();
    let words = bench.packed_words();
    let told = succeeded(&["run", &words, "--text", &"a b c ".repeat(10), "--trace"]);
    assert!(told.contains("32 tokens, the model reads 12: the last 20 were cut"), "{told}");
    assert!(told.trim_end().ends_with("[[SEP]]"), "{told}");
    let thirteen = ["5"; 13].join(",");
    refused(&["run", &words, "--ids", &thirteen], INPUT, &["13", "12"]);
}

#[test]
fn a_prompt_is_put_before_the_text() {
    let bench = Bench::new();
    let prompts = json!({ "prompts": { "q": "a b ", "d": "" }, "default_prompt_name": "q" });
    bench.write("bert/config_sentence_transformers.json", prompts.to_string());
    let words = bench.packed_words();
    let told = |options: &[&str]| -> Value {
        let arguments = [&["run", &words, "--json"], options].concat();
        serde_json::from_str(&succeeded(&arguments)).unwrap()
    };
    let whole = told(&["--text", "a b c", "--prompt", "d"])["values"].clone();
    assert_eq!(told(&["--text", "c"])["values"], whole, "the default one");
    assert_eq!(told(&["--text", "c", "--prompt", "q"])["values"], whole);
    assert_eq!(told(&["--text", "a b c", "--prompt", ""])["values"], whole);
    assert_ne!(told(&["--text", "c", "--prompt", "d"])["values"], whole);
    refused(&["run", &words, "--text", "c", "--prompt", "x"], INPUT, &["\"x\"", "q", "d"]);
    let inspected = succeeded(&["inspect", &words]);
    assert!(
        inspected.contains("q: \"a b \"") && inspected.contains("embedding; mean"),
        "{inspected}"
    );
}

#[test]
fn two_texts_that_are_compared_may_have_a_prompt_each() {
    let bench = Bench::new();
    let prompts = json!({ "prompts": { "q": "a b ", "d": "c " } });
    bench.write("bert/config_sentence_transformers.json", prompts.to_string());
    let words = bench.packed_words();
    let told = |options: &[&str]| -> Value {
        let arguments = [&["run", &words, "--json"], options].concat();
        serde_json::from_str(&succeeded(&arguments)).unwrap()
    };
    let pair = ["--text", "a", "--text", "b"];
    let each = told(&[&pair[..], &["--prompt", "q", "--prompt", "d"]].concat());
    let values = |told: &Value, index: usize| told["texts"][index]["values"].clone();
    assert_eq!(values(&each, 0), told(&["--text", "a", "--prompt", "q"])["values"]);
    assert_eq!(values(&each, 1), told(&["--text", "b", "--prompt", "d"])["values"]);
    let other = told(&[&pair[..], &["--prompt", "q", "--prompt", ""]].concat());
    assert_eq!(values(&other, 1), told(&["--text", "b"])["values"]);
    assert_ne!(values(&other, 1), values(&each, 1));
    let both = told(&[&pair[..], &["--prompt", "q"]].concat());
    assert_eq!(values(&both, 1), told(&["--text", "b", "--prompt", "q"])["values"]);
    for texts in [&["--text", "a"][..], &[&pair[..], &["--prompt", ""]].concat()] {
        let arguments = [&["run", &words], texts, &["--prompt", "q", "--prompt", "d"]].concat();
        refused(&arguments, INPUT, &["times: give it once, or twice with --text twice"]);
    }
}

#[test]
fn a_base_without_a_head_packs_and_has_no_answer() {
    let bench = Bench::new();
    let model = bench.text_model();
    std::fs::remove_dir_all(model.join("1_Pooling")).unwrap();
    let output = text(&bench.input("bare.coda"));
    succeeded(&["pack", "--base", &text(&model), "-o", &output]);
    refused(&["run", &output, "--text", "a"], INPUT, &["no head", "task"]);
}

#[test]
fn labels_that_each_hold_or_not_and_values_are_told_as_such() {
    let bench = Bench::new();
    let model = bench.model();
    let image = image();
    for (kind, probabilities) in [("multi_label_classification", true), ("regression", false)] {
        let config = model.join("config.json");
        let mut json: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
        json["problem_type"] = json!(kind);
        std::fs::write(&config, json.to_string()).unwrap();
        let output = text(&bench.input("model.coda"));
        succeeded(&["pack", "--base", &text(&model), "-o", &output]);
        let told = succeeded(&["run", &output, "--image", &image, "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let readings = told["readings"].as_array().unwrap();
        assert!(told["label"].is_null() && readings.len() == 10);
        for (reading, value) in readings.iter().zip(told["values"].as_array().unwrap()) {
            assert_eq!(reading["value"], *value);
            let exact = 1.0 / (1.0 + (-value.as_f64().unwrap()).exp());
            let probability = reading["probability"].as_f64();
            assert_eq!(probability.is_some(), probabilities);
            assert!(probability.is_none_or(|found| (found - exact).abs() < 1e-6));
        }
        assert_eq!(succeeded(&["run", &output, "--image", &image]).lines().count(), 11);
    }
}

#[test]
fn images_of_another_size_or_kind_are_refused_unless_resizing_is_asked_for() {
    let bench = Bench::new();
    let picture = bench.packed("picture.coda", &[]);
    let pgm = bench.write("small.pgm", [b"P5 3 2 255\n".as_slice(), &[9; 6]].concat());
    refused(&["run", &picture, "--image", &pgm], INPUT, &["3 by 2", "28 by 28"]);
    succeeded(&["run", &picture, "--image-resized", &pgm]);
    let no_image = bench.write("no.png", b"no image");
    refused(&["run", &picture, "--image", &no_image], INPUT, &["no.png"]);
    refused(&["run", &picture, "--image", "/nonexistent.png"], INPUT, &["/nonexistent.png"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_and_special_files_stay() {
    let bench = Bench::new();
    let (base, fifo) = (text(&default_model()), text(&bench.input("fifo")));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let missing = text(&bench.input("missing/out.coda"));
    for output in [missing, text(bench.inputs.path()), fifo.clone(), "/dev/null".to_owned()] {
        refused(&["pack", "--base", &base, "-o", &output], INPUT, &["cannot write", &output]);
    }
    assert!(!Path::new(&fifo).is_file());
    assert!(!Path::new("/dev/null").is_file());
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let bench = Bench::new();
    let disk = text(bench.outputs.path());
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs {disk} && \
         {} pack --base {} -o {disk}/out.coda; echo status $?; ls -A {disk} | wc -l",
        text(coda()),
        text(&default_model()),
    );
    let output = Command::new("unshare").args(["-rm", "sh", "-c", &script]).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout, "status 2\n0\n", "{stderr} (this test needs user and mount namespaces)");
    assert!(stderr.starts_with("error: cannot write") && stderr.contains("No space"), "{stderr}");
}

#[test]
fn an_interrupt_leaves_nothing_half_written() {
    let bench = Bench::new();
    let model = bench.input("large");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("config.json"), bert_config(60_000, 512).to_string()).unwrap();
    write_bert(&model.join("model.safetensors"), 60_000, 512);
    let arguments = ["pack", "--weights", "f32", "--base", &text(&model), "-o", &bench.output()];
    // Early in the work, and while the file is written.
    for wait in [30, 300, 600] {
        let mut child = Command::new(coda())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        let files = std::fs::read_dir(bench.outputs.path()).unwrap().count();
        match status.code() {
            Some(INTERRUPTED) => bench.assert_nothing_written(),
            // It was faster than the signal: then the file is whole.
            Some(0) => assert_eq!(files, 1),
            other => panic!("{other:?} {signal}"),
        }
        drop(std::fs::remove_file(bench.output()));
    }
}

#[test]
fn malformed_data_sets_are_refused() {
    let bench = Bench::new();
    let picture = bench.packed("picture.coda", &[]);
    let words = bench.packed_words();
    let check = |package: &str, name: &str, bytes: &[u8], words: &[&str]| {
        let data = bench.write(name, bytes);
        refused(&["eval", package, "--data", &data], INPUT, words);
    };
    check(&words, "no-tab.tsv", b"0\ta b\nno tab here\n", &["line 2", "no tab"]);
    check(&words, "label.tsv", b"cat\ta b\n", &["gives no label"]);
    check(&words, "empty.tsv", b"", &["no sample"]);
    check(&words, "text.tsv", b"0\t \n", &["no sample"]);
    check(&words, "gzip.tsv", &[0x1f, 0x8b, 8, 0, 1, 2, 3], &["gzip"]);
    let idx = |count: u8, side: u8| -> Vec<u8> {
        let header = [0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, side, 0, 0, 0, side];
        let pixels = usize::from(count) * usize::from(side) * usize::from(side);
        header.into_iter().chain(std::iter::repeat_n(7, pixels)).collect()
    };
    bench.write("small-labels-idx1", [0, 0, 8, 1, 0, 0, 0, 2, 1, 1]);
    check(&picture, "small-images-idx3", &idx(2, 5), &["5 by 5", "28 by 28"]);
    bench.write("short-labels-idx1", [0, 0, 8, 1, 0, 0, 0, 1, 1]);
    check(&picture, "short-images-idx3", &idx(2, 28), &["2 images and 1 labels"]);
    bench.write("cut-labels-idx1", [0, 0, 8, 1, 0, 0, 0, 2, 1, 1]);
    check(&picture, "cut-images-idx3", &idx(2, 28)[..100], &["cut-images-idx3"]);
}

#[test]
fn json_is_one_object() {
    let bench = Bench::new();
    let package = bench.packed("picture.coda", &["--json"]);
    assert_eq!(object(&["inspect", &package, "--json"])["kind"], "bundle");
    assert!(object(&["plan", &package, "--json"])["arena_bytes"].as_u64() > Some(100_000));
    let run = object(&["run", &package, "--image", &image(), "--trace", "--json"]);
    assert_eq!(run["label"], "Bag");
    assert_eq!(run["selected"].as_array().unwrap().len(), 4);
}

/// What a command with `--json` prints.
fn object(arguments: &[&str]) -> Value {
    let value: Value = serde_json::from_str(&succeeded(arguments)).unwrap();
    assert!(value.is_object());
    value
}

#[test]
fn an_evaluation_as_json_has_a_line_for_each_reduction() {
    let bench = Bench::new();
    let package = bench.packed("picture.coda", &[]);
    bench.write("t-labels-idx1", [0u8, 0, 8, 1, 0, 0, 0, 1, 8]);
    let header = [0u8, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28];
    let data = bench.write("t-images-idx3", [header.as_slice(), &[50; 784]].concat());
    let eval = object(&["eval", &package, "--data", &data, "--reductions", "1,4", "--json"]);
    let lines = eval["reductions"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    for (line, reduction) in lines.iter().zip([1.0, 4.0]) {
        assert_eq!(line["reduction"], reduction);
        assert!(line["accuracy"].is_number() && line["median_ms"].as_f64() > Some(0.0));
        assert!(line["end_to_end_ms"].as_f64() >= line["median_ms"].as_f64());
        assert!(line["end_to_end_speed_up"].as_f64() > Some(0.0));
    }
    assert!(eval["layer_factors"].is_null());
    let with_factors = |factors: &str| {
        ["eval", &package, "--data", &data, "--json", "--layer-factors", factors].map(str::to_owned)
    };
    let eval = with_factors("0.5,1,1,2");
    let eval = object(&eval.each_ref().map(String::as_str));
    assert_eq!(eval["layer_factors"], serde_json::json!([0.5, 1.0, 1.0, 2.0]));
    for (factors, words) in
        [("0.5", ["1 layer factors", "4 layers"]), ("0,1,1,1", ["above 0", "0"])]
    {
        refused(&with_factors(factors).each_ref().map(String::as_str), INPUT, &words);
    }
}

#[test]
fn a_benchmark_lists_every_reduction() {
    let bench = Bench::new();
    let package = bench.packed("picture.coda", &[]);
    let arguments = ["bench", &package, "--reductions", "1,4,8", "--runs", "3", "--threads", "2"];
    assert!(succeeded(&arguments).contains("50 tokens, "));
    let shown = object(&[&arguments[..], &["--json"]].concat());
    let lines = shown["reductions"].as_array().unwrap();
    assert_eq!(lines.len(), 3);
    for (line, reduction) in lines.iter().zip([1.0, 4.0, 8.0]) {
        assert_eq!(line["reduction"], reduction);
        assert!(line["median_ms"].as_f64() > Some(0.0));
        assert!(line["p95_ms"].as_f64() >= line["median_ms"].as_f64());
    }
    assert!(lines[2]["macs"].as_u64() < lines[1]["macs"].as_u64());
    refused(&["bench", &package, "--reductions", "0.5"], INPUT, &["at least 1"]);
    refused(&["bench", &package, "--tokens", "7"], INPUT, &["50 tokens"]);
    let words = bench.packed_words();
    succeeded(&["bench", &words, "--tokens", "12", "--runs", "1"]);
    refused(&["bench", &words, "--tokens", "13"], INPUT, &["13", "12"]);
    refused(&["bench", &words, "--tokens", "0"], INPUT, &["from 1"]);
}

#[test]
fn the_kernel_table_in_use_is_shown_and_can_be_forced() {
    let in_use = |variable: Option<&str>| -> Output {
        let mut command = Command::new(coda());
        command.args(["cpu", "--json"]).env_remove("CODA_KERNELS");
        command.envs(variable.map(|name| ("CODA_KERNELS", name))).output().unwrap()
    };
    let used = |variable| -> Value {
        serde_json::from_slice::<Value>(&in_use(variable).stdout).unwrap()["used"].clone()
    };
    assert_eq!(used(Some("scalar")), "scalar");
    assert_ne!(used(None), "scalar");
    let unknown = in_use(Some("none"));
    assert_eq!(unknown.status.code(), Some(INPUT));
    let message = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(message.contains("CODA_KERNELS=none") && message.contains("portable"), "{message}");
    assert!(succeeded(&["cpu"]).contains("in use"));
}

#[test]
fn verification_has_its_own_status() {
    let base = text(&default_model());
    let arguments = ["verify", "--base", &base, "--task", &text(&default_task())];
    assert!(succeeded(&arguments).contains("every bound holds"));
    let strict = run(&[&arguments[..], &["--float-bound", "1e-12"]].concat());
    assert_eq!(strict.status.code(), Some(VERIFICATION));
    assert!(String::from_utf8_lossy(&strict.stdout).contains("a bound is exceeded"));
}

#[test]
fn a_package_is_signed_and_another_key_release_or_content_is_refused() {
    let bench = Bench::new();
    let package = bench.packed("model.coda", &[]);
    let (key, other, signed) =
        (text(&bench.input("key")), text(&bench.input("other")), bench.output());
    assert!(succeeded(&["keygen", "-o", &key]).contains("pub const KEY: [u8; 32] = ["));
    succeeded(&["keygen", "-o", &other]);
    refused(&["keygen", "-o", &key], INPUT, &["exists"]);
    // A public key alone is not overwritten either.
    std::fs::rename(&other, bench.input("moved")).unwrap();
    refused(&["keygen", "-o", &other], INPUT, &["exists"]);
    std::fs::rename(bench.input("moved"), &other).unwrap();
    let sign = ["sign", &package, "--key", &key, "--release", "3", "-o", &signed];
    assert!(succeeded(&sign).contains("release 3"));
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&key, mode(0o644)).unwrap();
    assert!(
        String::from_utf8_lossy(&run(&sign).stderr).contains("others may read the private key")
    );
    std::fs::set_permissions(&key, mode(0o600)).unwrap();
    assert!(run(&sign).stderr.is_empty());
    let public = format!("{key}.pub");
    let back = text(&bench.input("back.coda"));
    let verify = ["verify-signature", &signed, "--key", &public, "--at-least", "3", "-o", &back];
    assert!(succeeded(&verify).contains("a bundle of release 3"));
    assert_eq!(std::fs::read(&package).unwrap(), std::fs::read(&back).unwrap());

    let check = |file: &str, key: &str, least: &str, word: &str| {
        let arguments = ["verify-signature", file, "--key", key, "--at-least", least];
        refused(&arguments, VERIFICATION, &[word]);
    };
    check(&signed, &public, "4", "older");
    check(&signed, &other, "0", "signed with key");
    check(&package, &public, "0", "not signed");
    let mut altered = std::fs::read(&signed).unwrap();
    *altered.last_mut().unwrap() ^= 1;
    check(&bench.write("altered", altered), &public, "0", "not the one that was signed");
    refused(&["sign", &key, "--key", &key, "--release", "1", "-o", &back], INPUT, &["packages"]);
    let arguments = ["sign", &package, "--key", &public, "--release", "1", "-o", &back];
    refused(&arguments, INPUT, &["private key"]);
}

#[test]
fn an_envelope_that_speaks_of_another_kind_or_base_than_its_package_is_refused() {
    let bench = Bench::new();
    let package = bench.packed("model.coda", &[]);
    let (key, signed) = (text(&bench.input("key")), bench.output());
    succeeded(&["keygen", "-o", &key]);
    succeeded(&["sign", &package, "--key", &key, "--release", "3", "-o", &signed]);
    let (key_pair, right) = (read_key(Path::new(&key)).unwrap(), std::fs::read(&signed).unwrap());
    for (at, number) in [(envelope::KIND.start, 12), (envelope::BASE_ID.start, 15)] {
        let mut file = right.clone();
        file[at] ^= 1;
        let signature = ed25519_dalek::Signer::sign(&key_pair, &file[envelope::SIGNED]);
        file[envelope::SIGNATURE].copy_from_slice(&signature.to_bytes());
        let word = ["kind", "base"][usize::from(number == 15)];
        let file = bench.write("other", file);
        refused(&["verify-signature", &file, "--key", &key], VERIFICATION, &[word]);
    }
}

#[test]
fn a_self_test_is_packed_and_told_and_a_model_without_answers_has_none() {
    let bench = Bench::new();
    let package = bench.packed("model.coda", &[]);
    let image = text(&root().join("converter/default/images/7.png"));
    let tested = bench.output();
    let arguments = ["self-test", &package, "--image", &image, "--image", &image, "-o", &tested];
    assert!(succeeded(&arguments).contains("a self-test of 2 inputs"));
    assert!(succeeded(&["inspect", &tested]).contains("2 inputs with their answers"));
    let answers = |package: &str| {
        let shown = succeeded(&["run", package, "--image", &image, "--json"]);
        serde_json::from_str::<Value>(&shown).unwrap()["values"].clone()
    };
    assert_eq!(answers(&tested), answers(&package));
    let refuses = |words: &[&str], arguments: &[&str]| {
        let all = [&["self-test", &package, "-o", &tested], arguments].concat();
        refused(&all, INPUT, words);
    };
    refuses(&["reads images"], &["--text", "a text"]);
    refuses(&["reads images"], &["--ids", "1,2"]);
    refuses(&["--selected 9999", "50 tokens"], &["--image", &image, "--selected", "9999"]);
}

#[test]
fn a_list_of_keys_is_signed_and_a_key_that_is_left_out_is_revoked() {
    let bench = Bench::new();
    let package = bench.packed("model.coda", &[]);
    let at = |name: &str| text(&bench.input(name));
    let keys = ["root", "first", "second"].map(at);
    keys.iter().for_each(|key| drop(succeeded(&["keygen", "-o", key])));
    let [root, first, second] = &keys;
    let public = [first, second].map(|key| format!("{key}.pub"));
    let (list, signed, root_public) = (at("list"), at("signed"), format!("{root}.pub"));
    let sign_keys = |keys: &[&str], threshold: &str, release: &str| {
        let options = ["--key", root, "--threshold", threshold, "--release", release, "-o", &list];
        succeeded(&[&["sign-keys"], keys, &options].concat());
    };
    let verify = ["verify-signature", &signed, "--keys", &list, "--key", &root_public];
    sign_keys(&[&public[0], &public[1]], "1", "1");
    let shown = succeeded(&["verify-signature", &list, "--key", &root_public]);
    assert!(shown.contains("1 of them must sign") && shown.contains("a key list of release 1"));
    succeeded(&["sign", &package, "--key", first, "--release", "1", "-o", &signed]);
    assert!(succeeded(&verify).contains("a bundle of release 1"));
    sign_keys(&[&public[1]], "1", "2");
    refused(&verify, VERIFICATION, &["signed with key"]);
    // Two of two.
    sign_keys(&[&public[0], &public[1]], "2", "3");
    refused(&verify, VERIFICATION, &[]);
    let both = ["sign", &package, "--key", first, "--key", second, "--release", "1", "-o", &signed];
    succeeded(&both);
    assert!(succeeded(&verify).contains("a bundle of release 1"));
    refused(&[&verify[..], &["--product", "1"]].concat(), VERIFICATION, &["product 0"]);
    let threshold = ["sign-keys", &public[0], "--key", root, "--threshold", "2", "--release", "1"];
    refused(&[&threshold[..], &["-o", &list]].concat(), INPUT, &["list of keys"]);
}

#[test]
fn the_demo_shows_labels_memory_and_flash() {
    let shown = succeeded(&["demo"]);
    for word in ["Ankle boot", "layer 3: 13", "median latency", "flash: ", "RAM: "] {
        assert!(shown.contains(word), "{word}");
    }
}

#[test]
fn an_existing_package_is_replaced_whole() {
    let bench = Bench::new();
    std::fs::write(bench.output(), "old").unwrap();
    succeeded(&["pack", "--base", &text(&default_model()), "-o", &bench.output()]);
    assert!(succeeded(&["inspect", &bench.output(), "--tensors"]).contains("query weight"));
    assert_eq!(std::fs::read_dir(bench.outputs.path()).unwrap().count(), 1);
}

#[test]
fn a_removed_option_says_what_to_do_instead() {
    for (arguments, instead) in [
        (&["demo", "--firmware", "x"][..], "firmware-files"),
        (&["demo", "--swap", "x"], "firmware-files"),
        (&["bench", "x.coda", "--cold"], "load_ms"),
        (&["run", "x.coda", "--activations", "f32"], "--weights f32"),
    ] {
        let output = run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(USAGE), "{message}");
        assert!(message.contains("removed in 0.2") && message.contains(instead), "{message}");
    }
}

#[test]
fn usage_errors_and_help_have_their_status() {
    assert_eq!(run(&["--help"]).status.code(), Some(0));
    assert_eq!(run(&["pack", "--help"]).status.code(), Some(0));
    for wrong in [&["--wrong"][..], &["pack"], &["run", "x.coda"], &["plan", "a", "b", "c"]] {
        assert_eq!(run(wrong).status.code(), Some(USAGE), "{wrong:?}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_early_causes_no_panic() {
    let bench = Bench::new();
    let package = bench.packed("picture.coda", &[]);
    let mut child = Command::new(coda())
        .args(["inspect", &package, "--tensors"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    child.wait().unwrap();
    assert_eq!(message, "");
}
