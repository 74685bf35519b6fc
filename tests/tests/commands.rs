//! The `coda` command says only what is so: no answer that is none, no output that is lost, no option
//! without effect in silence.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::calibrate::Costs;
use coda_converter::pack::{WeightType, pack_base};
use coda_converter::session::{Session, is_not_finite};
use coda_converter::similarity::Similarity;
use coda_converter::sound;
use coda_runtime::audio::Context;
use coda_runtime::config::{Head, HeadKind, Pooling};
use coda_runtime::executor::{all_finite, largest};
use coda_runtime::format::Role;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::Capacity;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_tests::bundled;
use coda_tests::seq2seq::{Given, Vectors};
use coda_tests::speech::{FIRST_TIME, LANGUAGES, several_languages};
use coda_tests::tiny::{Tiny, TinyInput};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;
use tokenizers::Tokenizer;

/// An image that the bundled model reads.
const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../converter/default/images/8.png");

/// Two maps in a row: their factors multiply.
const OVERFLOWING: [&str; 2] =
    ["encoder.layer.1.intermediate.dense.weight", "encoder.layer.1.output.dense.weight"];

const INPUT: i32 = 2;
const VERIFICATION: i32 = 3;

/// The command that `CODA` names, else one built with the profile of these tests.
fn coda() -> &'static Path {
    static CODA: OnceLock<PathBuf> = OnceLock::new();
    CODA.get_or_init(|| {
        if let Some(named) = std::env::var_os("CODA") {
            return named.into();
        }
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let build = Command::new(env!("CARGO"))
            .args(["build", "--profile", profile, "--quiet", "--bin", "coda"])
            .arg("--message-format=json")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
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

fn run(arguments: &[&str]) -> Output {
    Command::new(coda()).args(arguments).output().unwrap()
}

fn succeeded(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn object(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(&[arguments, &["--json"]].concat())).unwrap()
}

/// The command must end with `status` and one line on stderr that holds every one of `words`.
fn refused(arguments: &[&str], status: i32, words: &[&str]) {
    told(&run(arguments), status, words);
}

fn told(output: &Output, status: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    for word in ["error: "].iter().chain(words) {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

/// A directory that goes with its test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The bundle of a tiny model.
    fn bundle(&self, tiny: &Tiny) -> String {
        self.write("tiny.coda", &*tiny.pack(WeightType::F32).unwrap().bundle)
    }

    /// The base of a tiny model alone, which routes nothing.
    fn base(&self, tiny: &Tiny) -> String {
        self.write("base.coda", &*pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes)
    }

    /// An image that the tiny ViT reads.
    fn image(&self, tiny: &Tiny) -> String {
        let TinyInput::Pixels(pixels) = &tiny.input else { panic!("{} reads text", tiny.name) };
        let model = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
        let package = model.parse().unwrap();
        let grid = Model::dense(&package).unwrap().patch_grid().unwrap();
        let (kind, width, height) = (
            if grid.channels == 1 { 5 } else { 6 },
            grid.columns * grid.side,
            grid.rows * grid.side,
        );
        let header = format!("P{kind} {width} {height} 255\n").into_bytes();
        self.write("image.pnm", [header, pixels.clone()].concat())
    }

    /// A copy of the bundled model in f32, the weights of `OVERFLOWING` times `factor`.
    fn model(&self, factor: f32) -> String {
        let model = self.path("model");
        std::fs::create_dir_all(&model).unwrap();
        let from = bundled::model_directory();
        for file in ["config.json", "preprocessor_config.json", "coda.safetensors"] {
            std::fs::copy(from.join(file), Path::new(&model).join(file)).unwrap();
        }
        let bytes = std::fs::read(from.join("model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let scaled = tensors.map(|(own, view)| {
            let factor = if OVERFLOWING.contains(&&*own) { factor } else { 1.0 };
            let halves = view.data().chunks_exact(2);
            let value = |half: &[u8]| half::f16::from_le_bytes([half[0], half[1]]).to_f32();
            let values = halves.flat_map(|half| (factor * value(half)).to_le_bytes());
            (own, view.shape().to_vec(), values.collect::<Vec<u8>>())
        });
        let scaled: Vec<_> = scaled.collect();
        let views = scaled.iter().map(|(own, shape, data)| {
            (own.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
        });
        let file = safetensors::serialize(views, None).unwrap();
        std::fs::write(Path::new(&model).join("model.safetensors"), file).unwrap();
        model
    }
}

/// A model whose second layer overflows f32.
fn overflowing(mut tiny: Tiny) -> Tiny {
    for role in [Role::FeedForwardIn, Role::FeedForwardOut] {
        let tensor = tiny.base.tensors.get_mut(&(1, role)).unwrap();
        tensor.values.iter_mut().for_each(|value| *value *= 1e30);
    }
    tiny
}

fn without_head(mut tiny: Tiny) -> Tiny {
    tiny.base.head = None;
    tiny
}

#[test]
fn an_answer_that_is_not_finite_is_an_error_that_names_the_layer() {
    let place = Place::new();
    let words = ["finite", "after layer 1"];
    let headless = without_head(overflowing(Tiny::bert()));
    for package in [place.base(&headless), place.bundle(&headless)] {
        refused(&["bench", &package, "--tokens", "4", "--reductions", "1"], INPUT, &words);
    }
    let tiny = overflowing(Tiny::bert());
    for package in [place.base(&tiny), place.bundle(&tiny)] {
        let text = place.write("d.tsv", "yes\tthe cat\n");
        refused(&["run", &package, "--ids", "2,5,6,3", "--json"], INPUT, &words);
        refused(&["run", &package, "--text", "the cat", "--trace"], INPUT, &words);
        refused(&["run", &package, "--ids", "2,5,6,3", "--threads", "2"], INPUT, &words);
        refused(&["bench", &package, "--tokens", "4", "--reductions", "1"], INPUT, &words);
        if package.ends_with("tiny.coda") {
            let eval = ["eval", &package, "--data", &text, "--reductions", "1"];
            refused(&eval, INPUT, &["sample 1", "finite"]);
        }
    }
}

#[test]
fn every_kernel_table_sees_what_is_not_finite_at_every_reduction_and_weight_type() {
    let tiny = overflowing(Tiny::vit());
    for weights in [WeightType::F32, WeightType::Int8] {
        let packages = tiny.pack(weights).unwrap();
        let model = packages.model().unwrap();
        let mut session = Session::new(&model, Capacity::any_budget(tiny.tokens)).unwrap();
        for kernels in Kernels::available() {
            session = session.with_kernels(kernels);
            for r in [1.0, 2.0, 4.0] {
                let budget = Budget::Reduction(r);
                let found = session.run(tiny.input.view(), budget, &mut (), |out| out.label());
                let error = found.unwrap_err();
                assert!(is_not_finite(&error), "{}: {error:#}", kernels.name);
            }
        }
    }
}

/// Every kernel table must say that the answer in integers is not finite.
fn not_finite_in_any_table(tiny: &Tiny, what: &str) {
    let packages = tiny.pack(WeightType::Int8).unwrap();
    let model = packages.model().unwrap();
    let mut session = Session::new(&model, Capacity::any_budget(tiny.tokens)).unwrap();
    for kernels in Kernels::available() {
        session = session.with_kernels(kernels);
        for r in [1.0, 2.0] {
            let budget = Budget::Reduction(r);
            let found = session.run(tiny.input.view(), budget, &mut (), |out| out.label());
            let what = format!("{} {what} {} {r}", kernels.name, tiny.name);
            assert!(is_not_finite(&found.expect_err(&what)), "{what}");
        }
    }
}

#[test]
fn what_overflows_between_two_integer_maps_is_not_finite_in_any_table() {
    // Post-norm layers are run in floats when they are packed, which says so then.
    for tiny in [Tiny::vit(), Tiny::vit_low_rank(), Tiny::t5(), Tiny::modernbert()] {
        for role in [Role::Query, Role::Key, Role::Value, Role::FeedForwardIn] {
            let mut tiny = tiny.clone();
            let tensor = tiny.base.tensors.get_mut(&(1, role)).unwrap();
            tensor.values.iter_mut().for_each(|value| *value = 3e38f32.copysign(*value));
            not_finite_in_any_table(&tiny, role.name());
        }
    }
}

/// Column 0 of the keys is infinite where the first input is large; no query has it.
#[test]
fn one_key_that_is_infinite_is_not_finite_in_any_table() {
    let mut tiny = Tiny::vit();
    for (role, first) in [(Role::Key, 3e38), (Role::Query, 0.0), (Role::QueryBias, 0.0)] {
        tiny.base.tensors.get_mut(&(1, role)).unwrap().values[0] = first;
    }
    let row = tiny.base.config.hidden;
    tiny.base.tensors.get_mut(&(1, Role::Query)).unwrap().values[..row].fill(0.0);
    not_finite_in_any_table(&tiny, "one key");
}

#[test]
fn an_embedding_too_long_for_f32_is_no_vector_of_zeros() {
    let mut tiny = Tiny::bert();
    let kind = HeadKind::Embedding { normalize: true };
    tiny.base.head = Some(Head::new(Pooling::Mean, kind));
    let bias = tiny.base.tensors.get_mut(&(1, Role::FeedForwardNormBias)).unwrap();
    bias.values.fill(1e25);
    let packed = pack_base(&tiny.base, WeightType::F32, "").unwrap().bytes;
    let package = packed.parse().unwrap();
    let model = Model::dense(&package).unwrap();
    let mut session = Session::new(&model, Capacity::any_budget(8)).unwrap();
    let error = session.run(tiny.input.view(), Budget::Task, &mut (), |_| ()).unwrap_err();
    assert!(is_not_finite(&error), "{error:#}");
    assert!(format!("{error:#}").contains("behind the last layer"), "{error:#}");
}

#[test]
fn the_first_of_equal_values_is_the_label_and_a_nan_is_none() {
    assert_eq!(largest(&[1.0, 2.0, 2.0]), Some(1));
    assert_eq!(largest(&[-0.0, 0.0]), Some(0));
    assert_eq!(largest(&[f32::NAN, -1.0, f32::NAN]), Some(1));
    assert_eq!(largest(&[f32::NEG_INFINITY; 2]), None);
    assert_eq!(largest(&[f32::NAN]), None);
    assert_eq!(largest(&[]), None);
    assert!(all_finite(&[0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE]) && all_finite(&[]));
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(!all_finite(&[1.0, bad, 1.0]), "{bad}");
    }
}

#[test]
fn a_verification_of_what_is_not_finite_fails_with_its_place() {
    let place = Place::new();
    let model = place.model(1e30);
    let verify = ["verify", "--base", &model, "--weights", "f32", "--images", IMAGE];
    let shown = String::from_utf8(run(&verify).stdout).unwrap();
    assert!(shown.contains("not finite (NaN or infinity): ") && !shown.contains("every bound"));
    let verify = run(&[&verify[..], &["--json"]].concat());
    assert_eq!(verify.status.code(), Some(VERIFICATION));
    let found: Value = serde_json::from_slice(&verify.stdout).unwrap();
    assert_eq!(found["holds"], false);
    let first = found["not_finite"][0].as_str().unwrap();
    assert!(first.contains("input 1, layer 1"), "{first}");
}

#[test]
fn a_verification_says_which_bound_failed_and_judges_classifiers_by_labels() {
    let place = Place::new();
    let model = place.model(1.0);
    // No cosine of logits can be 1.1; classifiers have none.
    let held = ["verify", "--base", &model, "--cosine-bound", "1.1", "--images", IMAGE];
    let shown = succeeded(&held);
    assert!(shown.contains("every bound holds") && !shown.contains("cosine"), "{shown}");
    let failed = run(&[&held[..], &["--packed-bound", "1e-9"]].concat());
    assert_eq!(failed.status.code(), Some(VERIFICATION));
    let shown = String::from_utf8(failed.stdout).unwrap();
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("a bound is exceeded: packed weights, mean error"), "{last}");
    assert!(last.contains("bound at most 0.000000001"), "{last}");
}

#[test]
fn a_full_standard_output_is_one_line_and_a_status_for_every_command() {
    let place = Place::new();
    let tiny = Tiny::vit();
    let (package, image) = (place.bundle(&tiny), place.image(&tiny));
    let (key, out) = (place.path("key"), place.path("out.coda"));
    let model = bundled::model_directory();
    succeeded(&["keygen", "-o", &key]);
    let (other, public) = (place.path("other"), format!("{key}.pub"));
    let signed = place.path("signed");
    succeeded(&["sign", &package, "--key", &key, "--release", "1", "-o", &signed]);
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["--version"],
        &["cpu"],
        &["inspect", &package, "--tensors"],
        &["inspect", &package, "--json"],
        &["plan", &package],
        &["plan", &package, "--rust"],
        &["run", &package, "--image", &image],
        &["bench", &package, "--runs", "1", "--reductions", "1"],
        &["pack", "--base", model.to_str().unwrap(), "-o", &out],
        &["keygen", "-o", &other],
        &["sign", &package, "--key", &key, "--release", "1", "-o", &out],
        &["verify-signature", &signed, "--key", &public],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(coda()).args(arguments).stdout(full).output().unwrap();
        told(&output, INPUT, &["standard output", "space"]);
    }
}

#[test]
fn a_standard_error_that_is_full_changes_no_status() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(coda());
    let status = command.args(["inspect", "/nonexistent"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(INPUT));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::new();
    let package = place.bundle(&Tiny::vit());
    for arguments in [&["inspect", &package, "--tensors"][..], &["plan", &package], &["--help"]] {
        let mut command = Command::new(coda());
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait_with_output().unwrap().stderr, b"");
    }
}

#[test]
fn an_output_goes_through_links_and_keeps_permissions() {
    let place = Place::new();
    let (package, key, real) = (place.bundle(&Tiny::vit()), place.path("key"), place.path("real"));
    succeeded(&["keygen", "-o", &key]);
    let link = place.path("link");
    symlink("real", &link).unwrap();
    let sign = ["sign", &package, "--key", &key, "--release", "1", "-o", &link];
    succeeded(&sign);
    std::fs::set_permissions(&real, Permissions::from_mode(0o600)).unwrap();
    succeeded(&sign);
    assert!(Path::new(&link).is_symlink());
    let found = std::fs::symlink_metadata(&real).unwrap();
    assert!(found.is_file() && found.len() > 1000);
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&real, Permissions::from_mode(0o400)).unwrap();
    refused(&sign, INPUT, &[&link, "read-only"]);
}

#[test]
fn an_output_that_is_an_input_or_no_file_is_refused_before_anything_is_written() {
    let place = Place::new();
    let (package, key) = (place.bundle(&Tiny::vit()), place.path("key"));
    succeeded(&["keygen", "-o", &key]);
    let before = std::fs::read(&package).unwrap();
    let hard = place.path("hard");
    std::fs::hard_link(&package, &hard).unwrap();
    let sign = |output: &str, words: &[&str]| {
        let arguments = ["sign", &package, "--key", &key, "--release", "1", "-o", output];
        refused(&arguments, INPUT, &[&["cannot write"], words].concat());
    };
    sign(&package, &["input"]);
    sign(&hard, &["input"]);
    sign(&key, &["input"]);
    sign("-", &["standard output"]);
    sign(place.0.path().to_str().unwrap(), &["directory"]);
    sign(&place.path("no/such/out"), &["no directory", &place.path("no/such")]);
    assert_eq!(std::fs::read(&package).unwrap(), before);
    let model = place.model(1.0);
    let pack = |output: &str| {
        let output = format!("{model}/{output}");
        refused(&["pack", "--base", &model, "-o", &output], INPUT, &["input"]);
    };
    ["config.json", "model.safetensors", "coda.safetensors"].into_iter().for_each(pack);
    let inside = format!("{model}/out.coda");
    for _ in 0..2 {
        succeeded(&["pack", "--base", &model, "-o", &inside]);
    }
    assert!(!Path::new("-").exists());
    refused(&["demo", "-o", "-"], INPUT, &["standard output"]);
    refused(&["keygen", "-o", "-"], INPUT, &["standard output"]);
}

#[test]
fn options_without_effect_are_told() {
    let place = Place::new();
    let tiny = Tiny::bert();
    let dense = place.base(&tiny);
    let run = ["run", &dense, "--ids", "2,5,6,3"];
    let note = "routes nothing";
    assert!(succeeded(&[&run[..], &["--reduction", "2"]].concat()).contains(note));
    let found = object(&[&run[..], &["--selected", "2"]].concat());
    assert!(found["notes"][0].as_str().unwrap().contains("--selected"), "{found}");
    assert!(!succeeded(&run).contains("note"));
    let bench = ["bench", &dense, "--tokens", "8", "--runs", "2"];
    let found = object(&bench);
    assert_eq!(found["reductions"].as_array().unwrap().len(), 1);
    assert!(found["notes"].to_string().contains(note), "{found}");
    assert!(succeeded(&bench).contains(note));
    let routed = place.bundle(&tiny);
    let found = object(&["run", &routed, "--ids", "2,5,6,3", "--reduction", "2"]);
    assert_eq!(found["notes"], serde_json::json!([]));

    let many = succeeded(&[&run[..], &["--threads", "100000"]].concat());
    assert!(many.contains("--threads 100000: this machine runs"), "{many}");
    let found = object(&[&bench[..], &["--threads", "100000"]].concat());
    let most = std::thread::available_parallelism().unwrap().get();
    assert_eq!(found["threads"], most);
}

#[test]
fn tokens_are_labelled_one_by_one_without_the_special_ones() {
    let place = Place::new();
    let package = place.bundle(&Tiny::bert_tokens());
    let text = ["run", &package, "--text", "the cats sat"];
    let found = object(&text);
    let labels = found["token_labels"].as_array().unwrap();
    let pieces: Vec<&str> = labels.iter().map(|one| one["token"].as_str().unwrap()).collect();
    assert_eq!(pieces, ["the", "cat", "##s", "sat"]);
    assert_eq!((&labels[0]["position"], labels.len() + 2), (&1.into(), 6));
    assert_eq!(found["values"].as_array().unwrap().len(), 6 * 3);
    assert_eq!((&found["label"], &found["probabilities"]), (&Value::Null, &Value::Null));
    for (index, one) in labels.iter().enumerate() {
        let logits: Vec<f64> = (0..3)
            .map(|i| found["values"][3 * (index + 1) + i].as_f64())
            .map(Option::unwrap)
            .collect();
        let best = (0..3).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
        assert_eq!(one["label"], ["yes", "no", "perhaps"][best]);
    }
    let shown = succeeded(&text);
    assert!(shown.contains("##s") && !shown.contains("[CLS]"), "{shown}");
    assert!(succeeded(&["inspect", &package]).contains("one of 3 labels for each token"));
    let data = place.write("data.tsv", "label\ttext\nyes\tthe cat\n");
    refused(&["eval", &package, "--data", &data], INPUT, &["labels each token"]);
}

#[test]
fn a_set_for_a_model_that_routes_nothing_is_evaluated_once_and_has_no_column_of_texts() {
    let place = Place::new();
    let (base, _) = bundled::open().unwrap();
    let bytes = pack_base(&base, WeightType::Int8, "").unwrap().bytes;
    let package = place.write("base.coda", &*bytes);
    place.write("t-labels-idx1", [0u8, 0, 8, 1, 0, 0, 0, 1, 0]);
    let header = [0u8, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 28, 0, 0, 0, 28];
    let data = place.write("t-images-idx3", [&header[..], &[50; 784]].concat());
    let eval = ["eval", &package, "--data", &data, "--task-budget"];
    let found = object(&eval);
    assert_eq!(found["reductions"].as_array().unwrap().len(), 1);
    assert!(found["notes"].to_string().contains("routes nothing"), "{found}");
    let shown = succeeded(&eval);
    assert!(shown.contains("routes nothing") && !shown.contains("from text"), "{shown}");
}

#[test]
fn json_tells_what_the_plain_answer_tells() {
    let place = Place::new();
    let text = place.bundle(&Tiny::bert());
    let long = "the cat sat on the mat . ".repeat(4);
    let found = object(&["run", &text, "--text", &long]);
    assert_eq!(found["cut"], true);
    assert_eq!(found["total_tokens"], 30);
    assert!(found["notes"][0].as_str().unwrap().contains("were cut"), "{found}");
    assert_eq!(object(&["run", &text, "--text", "the cat"])["cut"], false);
    let tiny = Tiny::vit();
    let package = place.bundle(&tiny);
    let image = place.image(&tiny);
    let found = object(&["run", &package, "--image", &image]);
    let likely = found["probabilities"].as_array().unwrap();
    assert_eq!(likely[0][0], found["label"]);
    let sum: f64 = likely.iter().map(|pair| pair[1].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert!(found["kernels"].is_string());
}

/// The base of an embedding model whose embeddings are compared so.
fn embedding(place: &Place, similarity: Similarity) -> String {
    let mut tiny = Tiny::bert();
    tiny.base.texts.similarity = similarity;
    place.base(&tiny)
}

#[test]
fn two_texts_of_an_embedding_model_are_compared_as_it_says() {
    let place = Place::new();
    for how in Similarity::ALL {
        let package = embedding(&place, how);
        let two = ["run", &package, "--text", "the cat", "--text", "sat on"];
        let found = object(&two);
        assert_eq!(found["similarity"]["by"], how.name());
        let values = |index: usize| -> Vec<f32> {
            serde_json::from_value(found["texts"][index]["values"].clone()).unwrap()
        };
        let expected = how.of(&values(0), &values(1));
        assert_eq!(found["similarity"]["value"], expected);
        let alone = object(&["run", &package, "--text", "sat on"]);
        assert_eq!(alone["values"], found["texts"][1]["values"]);
        let shown = succeeded(&two);
        let line = format!("similarity ({}): {expected:.4}", how.name());
        assert_eq!(shown.lines().next(), Some(&*line), "{shown}");
        let inspected = succeeded(&["inspect", &package]);
        assert!(inspected.contains(&format!("compared by    {}", how.name())), "{inspected}");
    }
    // A classifier reads both as one input.
    let found = object(&["run", &place.bundle(&Tiny::bert()), "--text", "the", "--text", "cat"]);
    assert_eq!((&found["tokens"], &found["label"]), (&json!(5), &found["probabilities"][0][0]));
}

#[test]
fn texts_of_a_file_are_answered_line_by_line() {
    let place = Place::new();
    let long = "the cat sat on the mat . ".repeat(4);
    let texts = place.write("texts", format!("the cat\r\n{long}\nsat on"));
    for package in [place.bundle(&Tiny::bert()), embedding(&place, Similarity::Dot)] {
        let told = succeeded(&["run", &package, "--texts", &texts, "--json"]);
        let lines = told.lines().zip(["the cat", &*long, "sat on"]);
        for (line, text) in lines {
            let (found, alone): (Value, _) =
                (serde_json::from_str(line).unwrap(), object(&["run", &package, "--text", text]));
            for field in ["values", "label", "tokens", "total_tokens", "cut", "notes"] {
                assert_eq!(found[field], alone[field], "{field} of {text}");
            }
        }
        assert_eq!(told.lines().count(), 3);
        let shown = succeeded(&["run", &package, "--texts", &texts]);
        assert_eq!(shown.lines().count(), 4, "{shown}");
        assert!(shown.contains("note: 1 texts are longer"), "{shown}");
    }
    let package = place.bundle(&Tiny::bert());
    let mut command = Command::new(coda());
    let command =
        command.args(["run", &package, "--texts", "-"]).stdin(File::open(&texts).unwrap());
    assert!(command.output().unwrap().status.success());
    for (bytes, words) in [
        (&b"the\n\ncat"[..], &["texts: line 2", "empty"][..]),
        (b"", &["texts", "no text"]),
        (b"the\ncaf\xe9", &["texts", "line 2", "0xe9"]),
    ] {
        let texts = place.write("texts", bytes);
        refused(&["run", &package, "--texts", &texts], INPUT, words);
    }
    let pictures = place.bundle(&Tiny::vit());
    refused(&["run", &pictures, "--texts", &texts], INPUT, &["reads images of "]);
}

#[test]
fn every_tensor_that_is_packed_is_listed_within_80_columns() {
    let place = Place::new();
    let out = place.path("out.coda");
    let shown = succeeded(&["pack", "--base", &place.model(1.0), "-o", &out, "--tensors"]);
    let widest = shown
        .lines()
        .filter(|line| line.starts_with(['│', '┌']))
        .max_by_key(|line| line.chars().count());
    assert!(widest.unwrap().chars().count() <= 80, "{shown}");
    assert!(shown.contains("every tensor"), "{shown}");
}

#[test]
fn a_model_says_what_it_reads() {
    let place = Place::new();
    let tiny = Tiny::vit();
    let image = place.image(&tiny);
    let pictures = place.bundle(&tiny);
    let reads = ["reads images of ", " pixels", "--image"];
    refused(&["run", &pictures, "--text", "a"], INPUT, &reads);
    refused(&["run", &pictures, "--ids", "1"], INPUT, &reads);
    let words = place.bundle(&Tiny::bert());
    refused(&["run", &words, "--image", &image], INPUT, &["reads texts", "--text", "--ids"]);
}

#[test]
fn a_package_is_inspected_in_words() {
    let place = Place::new();
    for tiny in Tiny::all() {
        let shown = succeeded(&["inspect", &place.bundle(&tiny)]);
        for debug in [" { ", "Some(", "KTo", "Rms", "Gelu", "ClassToken"] {
            assert!(!shown.contains(debug), "{}: {debug} in {shown}", tiny.name);
        }
        assert!(shown.contains("parameters"), "{shown}");
        assert_eq!(shown.matches(coda_tests::tiny::PROVENANCE).count(), 1, "{shown}");
    }
}

#[test]
fn tables_are_no_wider_than_a_terminal_and_only_of_what_is_written() {
    let place = Place::new();
    let model = place.model(1.0);
    let task = format!("{model}/coda.safetensors");
    let output = place.path("out.coda");
    let pack = ["pack", "--base", &model, "--task", &task, "-o", &output];
    let whole = succeeded(&pack);
    let only = succeeded(&[&pack[..], &["--only", "task"]].concat());
    let inspected = succeeded(&["inspect", &output]);
    for line in [&whole, &only].into_iter().flat_map(|shown| shown.lines()) {
        assert!(line.starts_with("wrote ") || line.chars().count() <= 80, "{line}");
    }
    // What is in the file is what the table counts.
    let rows = |shown: &str| -> Vec<String> {
        let lines = shown.lines().skip_while(|line| !line.contains("stored as")).skip(2);
        let lines = lines.take_while(|line| line.starts_with('│'));
        lines.map(|line| line.split_whitespace().collect()).collect()
    };
    assert_eq!(rows(&only), rows(&inspected));
    assert_ne!(rows(&only), rows(&whole));
}

#[test]
fn costs_that_predict_badly_serve_no_deadline() {
    let place = Place::new();
    let package = place.bundle(&Tiny::bert());
    let costs = Costs {
        cpu: "a CPU".to_owned(),
        kernels: Kernels::from_environment().unwrap().name.to_owned(),
        threads: 1,
        fixed: 1.0,
        token: 0.0,
        frozen: 0.1,
        attention: 0.0,
        task: 0.0,
        margin: 0.1,
        worst_error: 0.05,
        answer: None,
    };
    let deadline = |costs: &Costs, status: Option<&[&str]>| {
        let path = Costs::path(Path::new(&package));
        std::fs::write(path, serde_json::to_string(costs).unwrap()).unwrap();
        let arguments = ["run", &package, "--ids", "2,5,6,3", "--deadline-ms", "1000"];
        match status {
            Some(words) => refused(&arguments, INPUT, words),
            None => drop(succeeded(&arguments)),
        }
    };
    deadline(&costs, None);
    let negative =
        Costs { cpu: String::new(), kernels: costs.kernels.clone(), fixed: -1e9, ..costs };
    deadline(&negative, Some(&["tiny.coda.costs.json", "a cost is below 0"]));
    let bad = Costs { worst_error: 0.901, ..costs };
    deadline(&bad, Some(&["90.1 %", "tiny.coda.costs.json", "calibrate"]));
}

/// The bundled model in one file.
fn bundled_package(place: &Place) -> String {
    place.write("model.coda", &*bundled::pack(WeightType::Int8).unwrap().bundle)
}

#[test]
fn a_report_is_one_page_in_which_what_files_say_is_text() {
    let place = Place::new();
    let (package, page, folder) = (bundled_package(&place), place.path("page"), place.path("<b>"));
    for class in ["Bag", "Coat"] {
        std::fs::create_dir_all(place.path(&format!("<b>/{class}"))).unwrap();
        std::fs::copy(IMAGE, place.path(&format!("<b>/{class}/8.png"))).unwrap();
    }
    let arguments = ["report", &package, "--data", &folder, "--reductions", "1,4", "-o"];
    succeeded(&[&arguments[..], &[&page]].concat());
    let html = std::fs::read_to_string(&page).unwrap();
    let (_, data) = html.split_once("id=\"data\">").unwrap();
    let (data, rest) = data.split_once("</script>").unwrap();
    assert!(!data.contains('<') && !rest.contains("src="), "the page loads nothing");
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["evaluation"]["samples"], 2);
    assert_eq!(data["data"], "<b>");
    assert_eq!(data["evaluation"]["reductions"][0]["accuracy"], 50.0);
    assert_eq!(data["confusion"][0]["rows"][4][8], 1, "the coat that is a bag");
    assert_eq!(data["samples"][0]["selected"][3].as_array().unwrap().len(), 13);
    refused(&[&arguments[..], &[&package]].concat(), INPUT, &["is an input"]);
}

#[test]
fn a_profile_has_every_stage() {
    let place = Place::new();
    let (package, profile) = (bundled_package(&place), place.path("trace.json"));
    succeeded(&["run", &package, "--image", IMAGE, "--profile", &profile]);
    let events: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
    let events = events["traceEvents"].as_array().unwrap();
    let names: Vec<&str> = events.iter().map(|event| event["name"].as_str().unwrap()).collect();
    let stages = ["process_name", "embedding", "layer 0", "layer 1", "layer 2", "layer 3", "head"];
    assert_eq!(names, stages);
}

/// A directory of a T5 that writes, packed as `--weights` says.
fn written(directory: &Path, weights: &str) -> (Vectors, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed013/t5");
    let vectors = Vectors::open(&root).unwrap().unwrap();
    vectors.write_directory(directory).unwrap();
    let package = directory.join("t5.coda").display().to_string();
    let base = directory.display().to_string();
    succeeded(&["pack", "--base", &base, "--weights", weights, "-o", &package]);
    (vectors, package)
}

#[test]
fn a_directory_with_a_decoder_is_packed_and_answers_as_the_reference() {
    let directory = tempfile::tempdir().unwrap();
    let (vectors, package) = written(directory.path(), "f32");
    let Given::Ids(ids) = &vectors.inputs()[0] else { panic!("a T5 reads ids") };
    let ids = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let run = ["run", &package, "--ids", &ids, "--beams", "1"];
    let answer = object(&run);
    let mut found: Vec<u32> = serde_json::from_value(answer["ids"].clone()).unwrap();
    let expected = vectors.dense_answer().unwrap();
    assert_eq!(answer["ended"], json!(found.len() < expected.len()));
    found.extend(expected.get(found.len()));
    assert_eq!(found, expected);
    let text = succeeded(&run);
    let shown = answer["ids"].as_array().unwrap().iter().map(Value::to_string);
    assert_eq!(text.lines().next().unwrap(), shown.collect::<Vec<_>>().join(" "));
    // With as many hypotheses as the directory says there is a score.
    assert!(object(&["run", &package, "--ids", &ids])["score"].is_number());
    assert_eq!(
        object(&[&run[..], &["--longest", "2"]].concat())["ids"].as_array().unwrap().len(),
        2
    );
    refused(&[&run[..], &["--longest", "0"]].concat(), INPUT, &["--longest must be at least 1"]);
    refused(&["run", &package, "--ids", &ids, "--beams", "17"], INPUT, &["17 hypotheses"]);
    let parts = object(&["inspect", &package]);
    let answers = parts["parts"][1]["facts"]["answers"].as_str().unwrap().to_owned();
    assert!(answers.contains("begin with"), "{answers}");
    let plan = object(&["plan", &package, "--max-tokens", "12", "--longest", "7", "--beams", "2"]);
    assert_eq!((&plan["positions"], &plan["beams"]), (&json!(8), &json!(2)));
    let phases = plan["phases"].as_object().unwrap().values().map(Value::as_u64);
    assert_eq!(phases.max().unwrap(), plan["arena_bytes"].as_u64());
}

/// A directory of a model of images of any size, packed.
fn of_any_size(directory: &Path) -> (Vectors, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed012/image");
    let vectors = Vectors::open(&root).unwrap().unwrap();
    vectors.write_directory(directory).unwrap();
    let image = json!({"max_patches": 12, "patch_size": {"height": 3, "width": 3}, "is_vqa": false,
        "do_normalize": true, "image_processor_type": "Pix2StructImageProcessor"});
    std::fs::write(directory.join("preprocessor_config.json"), image.to_string()).unwrap();
    let package = directory.join("page.coda").display().to_string();
    let base = directory.display().to_string();
    succeeded(&["pack", "--base", &base, "--weights", "f32", "-o", &package]);
    (vectors, package)
}

#[test]
fn an_image_of_any_size_is_written_about() {
    let place = Place::new();
    let (vectors, package) = of_any_size(place.0.path());
    let Given::Grid(patches) = &vectors.inputs()[0] else { panic!("it reads images") };
    let bytes: Vec<u8> = patches.flattened().into_iter().flat_map(f32::to_le_bytes).collect();
    let values = place.write("patches", &bytes);
    let run = ["run", &package, "--patches", &values, "--beams", "1"];
    let found: Vec<u32> = serde_json::from_value(object(&run)["ids"].clone()).unwrap();
    let expected = vectors.dense_answer().unwrap();
    assert_eq!(found, expected[..found.len()]);
    assert!(found.len() + 1 >= expected.len());
    let picture = |width: usize, height: usize| {
        let header = format!("P6 {width} {height} 255\n").into_bytes();
        let pixels = (0..width * height * 3).map(|index| (index * 41 % 256) as u8).collect();
        place.write("picture.ppm", [header, pixels].concat())
    };
    for (size, note) in [((40, 30), "3 by 4 patches"), ((1, 1), "3 by 3"), ((3000, 2), "1 by 7")] {
        for option in ["--image", "--image-resized"] {
            let picture = picture(size.0, size.1);
            let shown = succeeded(&["run", &package, option, &picture, "--longest", "2"]);
            assert!(shown.contains(note), "{note}: {shown}");
        }
    }
    let none = place.write("picture.ppm", "P6 0 7 255\n");
    refused(&["run", &package, "--image", &none], INPUT, &["picture.ppm"]);
    refused(&["run", &package, "--text", "a"], INPUT, &["images of any size", "--image"]);
    let flat = place.write("patches", &bytes[..bytes.len() - 4]);
    refused(&["run", &package, "--patches", &flat], INPUT, &["a row, a column and 27 values"]);
    let shown = succeeded(&["inspect", &package]);
    assert!(shown.contains("images of any size"), "{shown}");
    assert_eq!(object(&["plan", &package])["tokens"], 12);
    refused(&["plan", &package, "--max-tokens", "13"], INPUT, &["12 positions"]);
}

#[test]
fn a_picture_processor_of_images_of_any_size_is_held_to_what_is_done() {
    let place = Place::new();
    of_any_size(place.0.path());
    let base = place.0.path().display().to_string();
    let out = place.path("out.coda");
    for (fields, words) in [
        (json!({"is_vqa": true}), &["is_vqa = true", "draw it there before"][..]),
        (json!({"do_normalize": false}), &["do_normalize = false"]),
        (json!({"max_patches": 0}), &["max_patches = 0", "1 to 49"]),
        (json!({"max_patches": 50}), &["max_patches = 50"]),
        (json!({"patch_size": {"height": 16, "width": 16}}), &["patch_size", "sides of 3"]),
        (json!({"odd": 1}), &["odd", "not known"]),
    ] {
        place.write("preprocessor_config.json", fields.to_string());
        refused(&["pack", "--base", &base, "-o", &out], INPUT, words);
    }
}

/// The tokenizer of a T5 of 61 tokens: padding, end, unknown, then pieces of one or two characters.
fn unigram() -> Value {
    let letters = ('a'..='z').map(String::from).chain(["\u{2581}".to_owned()]);
    let words = ('a'..='z').map(|letter| format!("\u{2581}{letter}"));
    let marks = [".", ",", "!", "\u{e9}", "\u{4e2d}"].map(str::to_owned);
    let pieces = ["<pad>", "</s>", "<unk>"].map(str::to_owned).into_iter();
    let pieces = pieces.chain(letters).chain(words).chain(marks);
    let vocab: Vec<Value> = pieces.map(|piece| json!([piece, -2.0])).collect();
    assert_eq!(vocab.len(), 61);
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0, "<pad>"), special(1, "</s>"), special(2, "<unk>")],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}",
            "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
            "split": true},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": vocab},
    })
}

#[test]
fn a_text_goes_in_and_the_answers_text_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tokenizer.json"), unigram().to_string()).unwrap();
    let settings = json!({"tokenizer_class": "T5Tokenizer", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 0});
    let path = directory.path().join("tokenizer_config.json");
    std::fs::write(path, settings.to_string()).unwrap();
    let (_, package) = written(directory.path(), "int8");
    let run = ["run", &package, "--text", "so it is", "--beams", "1"];
    let answer = object(&run);
    let tokenizer = Tokenizer::from_file(directory.path().join("tokenizer.json")).unwrap();
    let ids: Vec<u32> = serde_json::from_value(answer["ids"].clone()).unwrap();
    let text = tokenizer.decode(&ids, true).unwrap();
    assert_eq!(answer["text"], json!(text));
    assert_eq!(succeeded(&run).lines().next().unwrap(), text.trim_end());
    // As ids, the text gives the same answer.
    let given = tokenizer.encode("so it is", true).unwrap();
    let given = given.get_ids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(object(&["run", &package, "--ids", &given, "--beams", "1"])["ids"], answer["ids"]);
    // Every line of a file, one answer each.
    let lines = directory.path().join("lines.txt");
    std::fs::write(&lines, "so it is\nso it is\n").unwrap();
    let lines = lines.display().to_string();
    let all = succeeded(&["run", &package, "--texts", &lines, "--beams", "1"]);
    assert_eq!(all.lines().collect::<Vec<_>>(), [text.trim_end(); 2]);
}

#[test]
fn answers_are_evaluated_by_characters_and_words_and_timed_beside_the_memory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("tokenizer.json"), unigram().to_string()).unwrap();
    let (_, package) = written(directory.path(), "int8");
    let answer = |text: &str| {
        let found = object(&["run", &package, "--text", text, "--beams", "1"]);
        found["text"].as_str().unwrap().trim().to_owned()
    };
    let (first, second) = (answer("so it is"), answer("it was"));
    assert!(!first.is_empty() && !second.is_empty());
    // The second answer lacks its last character.
    let short: String = second.chars().take(second.chars().count() - 1).collect();
    let data = directory.path().join("questions.tsv");
    std::fs::write(&data, format!("{first}\tso it is\n{short}\tit was\n")).unwrap();
    let data = data.display().to_string();
    let eval = ["eval", &package, "--data", &data, "--beams", "1"];
    let found = object(&eval);
    let line = &found["reductions"][0];
    assert_eq!((&found["samples"], &line["exact"]), (&json!(2), &json!(50.0)));
    let characters = (first.chars().count() + short.chars().count()) as f64;
    let error = line["character_error"].as_f64().unwrap();
    assert!((error - 100.0 / characters).abs() < 1e-9, "{error}");
    assert!(line["word_error"].as_f64().unwrap() > 0.0);
    assert!(succeeded(&eval).contains("word errors"));
    let bench = object(&["bench", &package, "--tokens", "8", "--runs", "2", "--longest", "4"]);
    let line = &bench["reductions"][0];
    assert!(line["first_token_ms"].as_f64() >= line["encoder_ms"].as_f64());
    assert!(line["tokens_per_second"].as_f64().unwrap() > 0.0);
    assert!(line["bandwidth_share"].as_f64().unwrap() > 0.0);
    assert!(bench["bandwidth"]["step_bytes"].as_u64().unwrap() > 10_000);
    refused(&["eval", &package, "--data", &package], INPUT, &["t5.coda"]);
}

#[test]
fn the_decoder_is_left_out_where_it_is_not_wanted_and_other_models_have_none() {
    let directory = tempfile::tempdir().unwrap();
    let (_, package) = written(directory.path(), "int8");
    let base = directory.path().display().to_string();
    let encoder = directory.path().join("encoder.coda").display().to_string();
    succeeded(&["pack", "--base", &base, "--tower", "encoder", "-o", &encoder]);
    let bytes = |package: &str| object(&["inspect", package])["bytes"].as_u64().unwrap();
    assert!(bytes(&encoder) < bytes(&package));
    assert_eq!(object(&["inspect", &encoder])["parts"].as_array().unwrap().len(), 1);
    let run = ["run", &encoder, "--ids", "3,4", "--longest", "3"];
    refused(&run, INPUT, &["the model has no decoder"]);
}

#[test]
fn generation_settings_that_are_not_done_are_refused_by_file_and_field() {
    let cases = [
        (json!({"no_repeat_ngram_size": 3}), "no_repeat_ngram_size"),
        (json!({"do_sample": true}), "do_sample"),
        (json!({"eos_token_id": [1, 2]}), "eos_token_id"),
        (json!({"num_beams": 99}), "num_beams"),
        (json!({"suppress_tokens": [4_000_000]}), "4000000"),
        (json!({"decoder_start_token_id": "pad"}), "decoder_start_token_id"),
    ];
    for (fields, named) in cases {
        let directory = tempfile::tempdir().unwrap();
        let (_, package) = written(directory.path(), "f16");
        let path = directory.path().join("generation_config.json");
        let mut own: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        own.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        std::fs::write(&path, own.to_string()).unwrap();
        let base = directory.path().display().to_string();
        refused(&["pack", "--base", &base, "-o", &package], INPUT, &[named]);
    }
}

/// A T5 that reads and writes texts, with a task.
fn with_task(directory: &Path) -> [String; 2] {
    std::fs::write(directory.join("tokenizer.json"), unigram().to_string()).unwrap();
    let (vectors, _) = written(directory, "int8");
    let task = directory.join("task.safetensors");
    vectors.write_task(&task).unwrap();
    [directory, &task].map(|path| path.display().to_string())
}

#[test]
fn a_shortlist_bounds_the_answer_and_a_bad_one_is_refused_by_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let [base, task] = with_task(directory.path());
    let [list, package] =
        ["list.txt", "listed.coda"].map(|name| directory.path().join(name).display().to_string());
    let pack = ["pack", "--base", &base, "--task", &task, "--shortlist", &list, "-o", &package];
    let answer = |lines: &str| -> Vec<u32> {
        std::fs::write(&list, lines).unwrap();
        succeeded(&pack);
        let run = ["run", &package, "--text", "so it is", "--beams", "1", "--longest", "6"];
        serde_json::from_value(object(&run)["ids"].clone()).unwrap()
    };
    let all = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
    let free = answer(&all(&(0..61).collect::<Vec<_>>()));
    assert!(!free.is_empty());
    let listed: Vec<u32> = (0..61).filter(|id| !free.contains(id)).collect();
    let ids = answer(&all(&listed));
    assert!(ids.iter().all(|id| listed.contains(id)), "{ids:?}");
    let shown = succeeded(&["inspect", &package]);
    let count = format!("an answer holds {} ids alone", listed.len());
    assert!(shown.contains(&count), "{shown}");
    // The tokens of the texts, as the tokenizer has them.
    let tokenizer = Tokenizer::from_file(directory.path().join("tokenizer.json")).unwrap();
    let texts = ["so it", "x"].map(|text| tokenizer.encode(text, true).unwrap().get_ids().to_vec());
    let ids = answer("so it\n\"x\"\n");
    assert!(ids.iter().all(|id| texts.concat().contains(id)), "{ids:?}");
    for (lines, words) in [
        ("", "there is no id and no text"),
        ("5\n9\n", "the id 50 is missing"),
        ("1\n61\n", "line 2: 61 is no id"),
        ("1\n5\n\n5\n", "line 4 is line 2 again"),
        ("1\n5\n05\n", "line 3: the id 5 is listed twice"),
        ("\"1\"\n", "line 1: the tokenizer does not know all of the text"),
    ] {
        std::fs::write(&list, lines).unwrap();
        refused(&pack, INPUT, &["list.txt", words]);
    }
}

#[test]
fn a_decoder_is_verified_with_its_task_and_another_weight_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let [base, task] = with_task(directory.path());
    let verify = ["verify", "--base", &base, "--task", &task, "--reductions", "2"];
    let shown = succeeded(&verify);
    for words in [
        "decoder against the tract oracle, 4 inputs",
        "decoder with the task against the tract oracle, r = 2",
        "int8 weights against f32, decoder, dense",
        "int8 weights against f32, decoder, r = 2",
        "same tokens",
        "every bound holds",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let found = object(&verify);
    assert_eq!(found["decoder_oracle"].as_array().unwrap().len(), 2);
    assert_eq!(found["packed"].as_array().unwrap().len(), 4);
    let stages = found["decoder_oracle"][0]["stages"].as_array().unwrap();
    assert_eq!(stages.last().unwrap()["stage"], "logits");
    let strict = run(&[&verify[..], &["--agreement-bound", "100.1"]].concat());
    assert_eq!(strict.status.code(), Some(VERIFICATION));
}

#[test]
fn a_deadline_of_an_answer_says_what_it_sets_aside() {
    let directory = tempfile::tempdir().unwrap();
    let [base, task] = with_task(directory.path());
    let package = directory.path().join("writer.coda").display().to_string();
    succeeded(&["pack", "--base", &base, "--task", &task, "-o", &package]);
    let costs = |answer: Value| {
        let costs = json!({
            "cpu": "", "kernels": Kernels::from_environment().unwrap().name, "threads": 1,
            "fixed": 1000.0, "token": 0.0, "frozen": 1.0, "attention": 1.0, "task": 1.0,
            "margin": 0.0, "worst_error": 0.1, "answer": answer,
        });
        std::fs::write(Costs::path(Path::new(&package)), costs.to_string()).unwrap();
    };
    let run = |deadline| {
        ["run", &package, "--text", "so it is", "--longest", "4", "--deadline-ms", deadline]
    };
    costs(Value::Null);
    refused(&run("1000"), INPUT, &["of the encoder alone", "calibrate"]);
    costs(json!({"memory": 1.0, "weight": 8.0, "row": 1.0, "key": 1.0, "margin": 0.1,
        "worst_error": 0.1}));
    let shown = succeeded(&run("1000"));
    assert!(shown.contains("set aside for memory and tokens"), "{shown}");
    let found = object(&run("1000"));
    assert!(found["reserved_ms"].as_f64().unwrap() > 0.0 && found["choice"]["k"].is_u64());
    refused(&run("0.01"), INPUT, &["the tokens of the answer take", "ask for fewer tokens"]);
}

/// A WAV file of 16 kHz and one channel of 16 bits.
fn wav(samples: usize) -> Vec<u8> {
    let mut bytes =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data"
            .to_vec();
    bytes[4..8].copy_from_slice(&(36 + 2 * samples as u32).to_le_bytes());
    bytes.extend((2 * samples as u32).to_le_bytes());
    let sample = |at: usize| ((at * at) as i16).wrapping_mul(7);
    bytes.extend((0..samples).flat_map(|at| sample(at).to_le_bytes()));
    bytes
}

#[test]
fn a_model_of_speech_reads_sound_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/seq2seq/seed012/whisper");
    let vectors = Vectors::open(&root).unwrap().unwrap();
    let place = Place::new();
    let packed = pack_base(vectors.base(), WeightType::F32, "").unwrap().bytes;
    let package = place.write("speech.coda", &*packed);
    let path = place.write("sound.wav", wav(1949));
    let sound = sound::read(Path::new(&path), 3840).unwrap();
    for (context, positions, options) in [
        (Context::Padded, 12, &["--audio", &path][..]),
        (Context::Exact, 7, &["--audio", &path, "--unpadded"]),
    ] {
        let features = sound.features(80, 12, context).unwrap();
        let features = place.write("features", bytemuck::cast_slice(&features));
        let expected = object(&["run", &package, "--features", &features]);
        let own = object(&[&["run", &package], options].concat());
        assert_eq!((&own["ids"], &own["tokens"]), (&expected["ids"], &json!(positions)));
        assert_eq!(own["notes"], json!([]));
    }
    let long = place.write("long.wav", wav(3841));
    let notes = object(&["run", &package, "--audio", &long])["notes"].to_string();
    assert!(notes.contains("longer than the 0.24 s"), "{notes}");
    refused(
        &["run", &package, "--audio", &package],
        INPUT,
        &["no sound file that is read", "ffmpeg"],
    );
    let text = place.bundle(&Tiny::bert());
    refused(&["run", &text, "--audio", &path], INPUT, &["the model reads"]);
    // It does not say which ids are times and languages.
    for option in [&["--times"][..], &["--translate"], &["--language", "en"]] {
        let command = [&["run", &package, "--audio", &path], option].concat();
        refused(&command, INPUT, &["say which ids are times"]);
    }
}

/// A second of silence, sung vowels, silence, vowels, silence, at 16 kHz: pulses through three resonances.
fn sung() -> Vec<u8> {
    const RATE: f32 = 16_000.0;
    const FORMANTS: [[f32; 3]; 3] =
        [[700.0, 1200.0, 2500.0], [300.0, 2200.0, 3000.0], [400.0, 900.0, 2300.0]];
    let turn = 2.0 * std::f32::consts::PI;
    let mut states = [[0.0; 2]; 3];
    let mut sing = |at: usize| {
        let t = at as f32 / RATE;
        let pitch = 120.0 + 15.0 * (turn * 1.5 * t).sin();
        let pulse = f32::from(u8::from((t * pitch).fract() < pitch / RATE));
        let formants = FORMANTS[(t * 4.0) as usize % 3];
        let sample = formants.iter().zip(&mut states).fold(pulse, |x, (formant, state)| {
            let radius = 0.97_f32;
            let turned = 2.0 * radius * (turn * formant / RATE).cos();
            let value = x + turned * state[0] - radius * radius * state[1];
            *state = [value, state[0]];
            0.3 * value
        });
        sample * (turn / 2.0 * (t * 4.0).fract()).sin()
    };
    let parts = [(false, 16_000), (true, 16_000), (false, 16_000), (true, 12_000), (false, 16_000)];
    let samples = parts.iter().flat_map(|(sings, count)| (0..*count).map(move |at| (*sings, at)));
    let samples = samples.map(|(sings, at)| if sings { sing(at) } else { 0.0 });
    let samples = samples.collect::<Vec<_>>();
    let loudest = samples.iter().fold(0.0_f32, |loudest, sample| loudest.max(sample.abs()));
    let pcm = samples.iter().map(|sample| (sample / loudest * 16_000.0) as i16);
    pcm.flat_map(i16::to_le_bytes).collect()
}

#[test]
fn phrases_are_heard_as_they_arrive() {
    let (place, scratch) = (Place::new(), tempfile::tempdir().unwrap());
    let base = several_languages(scratch.path()).unwrap();
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = place.write("speech.coda", &*packed);
    let pcm = sung();
    let mut bytes = wav(pcm.len() / 2);
    let end = bytes.len() - pcm.len();
    bytes.splice(end.., pcm.iter().copied());
    let path = place.write("sung.wav", bytes);
    let listen = ["listen", &package, "--pause-ms", "200", "--json"];
    let heard = |output: &str| {
        let phrases = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let phrases = phrases.map(|mut phrase| {
            assert!(phrase["latency_ms"].as_f64().unwrap() > 0.0);
            phrase.as_object_mut().unwrap().remove("latency_ms");
            phrase
        });
        phrases.collect::<Vec<_>>()
    };
    let phrases = heard(&succeeded(&[&listen[..], &["--from", &path]].concat()));
    // Both parts, in phrases as long as the tiny model's window; nothing in the silence between and around them.
    let seconds = |phrase: &Value, field: &str| phrase[field].as_f64().unwrap();
    let inside = |from: f64, to: f64| {
        let inside = |own: &&Value| seconds(own, "start") > from && seconds(own, "end") < to;
        phrases.iter().filter(inside).count()
    };
    let (first, second) = (inside(0.6, 2.6), inside(2.6, 4.4));
    assert!(first >= 2 && second >= 2, "{phrases:?}");
    assert_eq!(first + second, phrases.len(), "{phrases:?}");
    // The same from another program, sample for sample.
    let mut command = Command::new(coda());
    command.args(listen).args(["--from", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&pcm).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(heard(&String::from_utf8(output.stdout).unwrap()), phrases);
    refused(&["listen", &package], INPUT, &["no microphone", "--from"]);
    refused(&["listen", &place.bundle(&Tiny::bert())], INPUT, &["does not listen"]);
}

#[test]
fn a_sound_of_any_length_is_heard_in_the_language_that_is_asked_for() {
    let (place, scratch) = (Place::new(), tempfile::tempdir().unwrap());
    let base = several_languages(scratch.path()).unwrap();
    let packed = pack_base(&base, WeightType::F32, "").unwrap().bytes;
    let package = place.write("speech.coda", &*packed);
    let short = place.write("short.wav", wav(1949));
    // Sounds that fit are heard at once, and without times unless they are asked for.
    let heard = object(&["run", &package, "--audio", &short]);
    let windows = heard["windows"].as_array().unwrap();
    assert_eq!((windows.len(), &windows[0]["positions"]), (1, &json!(12)));
    assert_eq!((&windows[0]["start"], &windows[0]["language"]), (&json!(0.0), &json!("en")));
    let ids = |value: &Value| serde_json::from_value::<Vec<u32>>(value["ids"].clone()).unwrap();
    assert!(ids(&windows[0]).iter().all(|id| *id < FIRST_TIME));
    let timed = object(&["run", &package, "--audio", &short, "--times"]);
    assert!(ids(&timed["windows"][0])[0] >= FIRST_TIME, "an answer begins with a time");
    // The language that is named, or found: one of the model's.
    let found = |options: &[&str]| {
        let command = [&["run", &package, "--audio", &short], options].concat();
        object(&command)["windows"][0]["language"].as_str().unwrap().to_owned()
    };
    assert_eq!(found(&["--language", "yue"]), "yue");
    let auto = found(&["--language", "auto"]);
    assert!(LANGUAGES.iter().any(|(code, _)| *code == auto), "{auto}");
    found(&["--language", "fr", "--translate"]);
    let command = ["run", &package, "--audio", &short, "--language", "de"];
    refused(&command, INPUT, &["no language \"de\"", "en fr yue"]);
    refused(&["run", &package, "--audio", &short, "--beams", "2"], INPUT, &["--beams"]);
    // Longer ones window by window: each begins behind the one before it, and the last ends the sound.
    let samples = 5 * 3840 + 700;
    let long = place.write("long.wav", wav(samples));
    let heard = object(&["run", &package, "--audio", &long]);
    let windows = heard["windows"].as_array().unwrap();
    let seconds = |window: &Value, field: &str| window[field].as_f64().unwrap();
    let ends = windows.iter().map(|own| seconds(own, "start") + seconds(own, "seconds"));
    assert!(windows.len() >= 6, "{} windows", windows.len());
    assert!(windows.windows(2).all(|two| seconds(&two[0], "start") < seconds(&two[1], "start")));
    let end = samples as f64 / 16_000.0;
    assert!((ends.fold(0.0, f64::max) - end).abs() < 1e-9);
    let segments = heard["segments"].as_array().unwrap();
    assert!(segments.iter().all(|own| seconds(own, "start") <= seconds(own, "end")));
    let in_order = |two: &[Value]| seconds(&two[0], "end") < seconds(&two[1], "start") + 1e-9;
    assert!(segments.windows(2).all(in_order));
    let text = succeeded(&["run", &package, "--audio", &long]);
    assert_eq!(text.lines().filter(|line| line.starts_with("[0:0")).count(), segments.len());
    assert!(text.contains(&format!("{} windows", windows.len())), "{text}");
}
