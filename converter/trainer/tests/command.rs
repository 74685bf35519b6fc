//! The command: what it writes, what it refuses, and that a killed training goes on to the bit.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::source::{Base, Task};
use coda_runtime::format::Role;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Classes of the bundled base.
const CLASSES: u8 = 10;
/// Side of its images.
const SIDE: u32 = 28;
/// Images of each class in the sets of these tests.
const EACH: usize = 6;
/// How long a training may take to write its first checkpoint.
const PATIENCE: Duration = Duration::from_secs(120);

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../default")
}

fn base() -> PathBuf {
    bundled().join("fashion-vit")
}

/// A directory with a small labelled set.
struct Bench {
    directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: TempDir::new().unwrap() };
        let labels: Vec<u8> = (0..CLASSES).flat_map(|label| [label; EACH]).collect();
        bench.write_idx("train", SIDE, &labels);
        bench
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Images of `side` pixels with these labels: each class has bright rows of its own, and each
    /// image a bright column of its own. Returns where they are.
    fn write_idx(&self, name: &str, side: u32, labels: &[u8]) -> String {
        let count = labels.len() as u32;
        let mut images = vec![0, 0, 8, 3];
        for size in [count, side, side] {
            images.extend(size.to_be_bytes());
        }
        for (index, label) in labels.iter().enumerate() {
            for pixel in 0..side * side {
                let (row, column) = (pixel / side, pixel % side);
                let own = row / 2 == u32::from(*label) || column == index as u32 % side;
                images.push(if own { 230 } else { (index as u8).wrapping_mul(3) % 40 });
            }
        }
        let mut head = vec![0, 0, 8, 1];
        head.extend(count.to_be_bytes());
        head.extend(labels);
        self.write(&format!("{name}-labels-idx1-ubyte"), head);
        self.write(&format!("{name}-images-idx3-ubyte"), images)
    }

    /// Arguments of a training of the set `data` on the bundled base.
    fn arguments(&self, data: &str, out: &str, more: &[&str]) -> Vec<String> {
        let data = self.path(&format!("{data}-images-idx3-ubyte"));
        let usual = ["--batch", "8", "--adapter-hidden", "4", "--validation", "0.2"];
        let (base, out) = (base(), self.path(out));
        let words = ["train", "--base", base.to_str().unwrap(), "--data", &data, "--out", &out];
        [&words[..], &usual, more].concat().into_iter().map(str::to_owned).collect()
    }

    /// Trains on the set of [`Bench::new`].
    fn train(&self, out: &str, more: &[&str]) {
        succeeded(&self.arguments("train", out, more));
    }

    /// The task that a training on the bundled base has written.
    fn task(&self, out: &str) -> Task {
        open_task(&self.path(out), &Base::open(&base(), None).unwrap())
    }

    fn record(&self, out: &str) -> Value {
        serde_json::from_slice(&self.read(&format!("{out}/training.json"))).unwrap()
    }
}

fn open_task(out: &str, base: &Base) -> Task {
    Task::open(&Path::new(out).join("task.safetensors"), base).unwrap()
}

fn trainer() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coda-trainer"));
    command.env("RAYON_NUM_THREADS", "1");
    command
}

fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    trainer().args(arguments).output().unwrap()
}

/// What a command that succeeds says on its way.
fn succeeded<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The command ends with status 2 and an error that holds every one of `words`.
fn refused<S: AsRef<std::ffi::OsStr>>(arguments: &[S], words: &[&str]) {
    assert_refused(&run(arguments), 2, words);
}

fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.contains("error: ") && !message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

/// Starts a training and waits until it has written a checkpoint.
fn start_until_checkpoint(arguments: &[String], checkpoint: &str) -> Child {
    let command = &mut trainer();
    let command = command.args(arguments).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let start = Instant::now();
    while !Path::new(checkpoint).is_file() {
        assert!(start.elapsed() < PATIENCE, "no checkpoint");
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it was stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Starts a training and kills it when it has written a checkpoint, which is returned.
fn kill_after_checkpoint(arguments: &[String], checkpoint: &str) -> Vec<u8> {
    let mut child = start_until_checkpoint(arguments, checkpoint);
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::read(checkpoint).unwrap()
}

fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let list = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut list: Vec<PathBuf> = list.collect();
    list.sort();
    list.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn a_training_writes_a_task_a_record_and_curves_and_leaves_the_base_alone() {
    let bench = Bench::new();
    let before = files(&base());
    let test = bench.write_idx("test", SIDE, &[3, 4, 5]);
    let more = ["--steps", "12", "--reductions", "1,4", "--flip", "--shift", "1", "--test", &test];
    bench.train("out", &more);
    assert_eq!(files(&base()), before);
    let written = files(Path::new(&bench.path("out")));
    let names: Vec<_> = written.iter().map(|(path, _)| path.file_name().unwrap()).collect();
    assert_eq!(names, ["curves.svg", "task.safetensors", "training.json"]);
    let task = bench.task("out");
    assert!(task.layers.iter().all(|layer| layer.routing.is_some()));
    assert!(task.tensors.keys().all(|(_, role)| role.belongs_to_task()));
    assert_eq!(task.pinned, [0]);
    let record = bench.record("out");
    assert_eq!(record["settings"]["seed"], 1);
    assert_eq!(record["data"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record["progress"]["curve"].as_array().unwrap().len(), 12);
    assert_eq!(record["test"]["samples"], 3);
    let trained: usize = task.tensors.values().map(|tensor| tensor.values.len()).sum();
    assert_eq!(record["trained_parameters"], trained);
}

#[test]
fn every_method_learns_a_set_that_is_easy() {
    let bench = Bench::new();
    for method in ["coda", "parallel-adapter", "linear-probe"] {
        let more = ["--method", method, "--steps", "60", "--head-rate", "0.02"];
        bench.train(method, &more);
        let record = bench.record(method);
        let curve = record["progress"]["curve"].as_array().unwrap();
        let loss = |point: &Value| point["loss"].as_f64().unwrap();
        let (first, last) = (loss(curve.first().unwrap()), loss(curve.last().unwrap()));
        assert!(last < 0.6 * first, "{method}: {first} to {last}");
    }
}

#[test]
fn a_killed_training_goes_on_and_ends_with_the_same_bytes() {
    let bench = Bench::new();
    let more = "--steps 60 --checkpoint-every 1 --flip --shift 1 --average 0.9 --gate exact";
    let more: Vec<&str> = more.split(' ').collect();
    bench.train("whole", &more);
    let arguments = bench.arguments("train", "killed", &more);
    let checkpoint = bench.path("killed/checkpoint.safetensors");
    kill_after_checkpoint(&arguments, &checkpoint);
    succeeded(&arguments);
    let read = |out: &str| bench.read(&format!("{out}/task.safetensors"));
    assert!(read("whole") == read("killed"), "the weights differ");
    assert!(!Path::new(&checkpoint).exists());
}

#[test]
fn a_checkpoint_of_other_settings_is_refused_and_kept() {
    let bench = Bench::new();
    let steps = ["--steps", "400", "--checkpoint-every", "1"];
    let arguments = bench.arguments("train", "out", &steps);
    let checkpoint = bench.path("out/checkpoint.safetensors");
    let before = kill_after_checkpoint(&arguments, &checkpoint);
    refused(&bench.arguments("train", "out", &["--steps", "300"]), &["another training"]);
    assert!(std::fs::read(&checkpoint).unwrap() == before);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_last_checkpoint_stays() {
    let bench = Bench::new();
    let more = ["--steps", "400", "--checkpoint-every", "1"];
    let arguments = bench.arguments("train", "out", &more);
    let checkpoint = bench.path("out/checkpoint.safetensors");
    let before = kill_after_checkpoint(&arguments, &checkpoint);
    // No file may grow beyond a few blocks, as on a full disk.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_coda-trainer"))
        .args(&arguments)
        .output()
        .unwrap();
    assert_refused(&output, 2, &["cannot write", "checkpoint.safetensors"]);
    assert!(std::fs::read(&checkpoint).unwrap() == before);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_training() {
    let bench = Bench::new();
    bench.write("out", "a file");
    refused(&bench.arguments("train", "out", &["--steps", "1"]), &["cannot write to"]);
}

#[test]
fn an_empty_class_is_refused() {
    let bench = Bench::new();
    let labels: Vec<u8> = (0..CLASSES).filter(|label| *label != 3).collect();
    bench.write_idx("hole", SIDE, &labels);
    refused(&bench.arguments("hole", "out", &[]), &["class \"3\" has no sample"]);
}

#[test]
fn a_label_that_training_never_saw_is_refused() {
    let bench = Bench::new();
    let test = bench.write_idx("test", SIDE, &[3, 12]);
    let more = ["--steps", "1", "--test", &test];
    refused(&bench.arguments("train", "out", &more), &["label 12 was never seen in training"]);
}

#[test]
fn images_of_another_size_are_refused() {
    let bench = Bench::new();
    bench.write_idx("small", 20, &[0, 1]);
    refused(&bench.arguments("small", "out", &[]), &["20 by 20", "28 by 28"]);
    let folder = bench.path("folder");
    for class in ["a", "b"] {
        let image = image::GrayImage::new(SIDE, if class == "a" { SIDE } else { 14 });
        let directory = Path::new(&folder).join(class);
        std::fs::create_dir_all(&directory).unwrap();
        image.save(directory.join("0.png")).unwrap();
    }
    let mut arguments = bench.arguments("train", "out", &[]);
    arguments[4].clone_from(&folder);
    refused(&arguments, &["0.png", "28 by 14"]);
}

#[test]
fn images_of_the_size_that_is_named_resize_the_positions() {
    let bench = Bench::new();
    let labels: Vec<u8> = (0..CLASSES).flat_map(|label| [label; 2]).collect();
    bench.write_idx("small", 20, &labels);
    let more = ["--image-size", "20", "--steps", "2"];
    succeeded(&bench.arguments("small", "out", &more));
    let small = Base::open(&base(), Some(20)).unwrap();
    assert!(open_task(&bench.path("out"), &small).head.is_some());
    let full = ["--method", "full", "--image-size", "20"];
    refused(&bench.arguments("small", "no", &full), &["--image-size", "--method full"]);
}

#[test]
fn a_loss_that_is_not_a_number_says_the_step_and_the_rate() {
    let bench = Bench::new();
    let more = ["--steps", "50", "--rate", "1e30", "--head-rate", "1e30", "--norm-rate", "1e30"];
    let words = ["at step", "with learning rate", "lower --rate"];
    refused(&bench.arguments("train", "out", &more), &words);
    assert!(!Path::new(&bench.path("out/task.safetensors")).exists());
}

/// A tiny BERT without weights.
fn text_base(bench: &Bench) -> String {
    let config = r#"{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 9,
        "max_position_embeddings": 12, "type_vocab_size": 2}"#;
    bench.write("bert/config.json", config);
    bench.write("bert/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\nblue\nlarge\nsmall\n");
    bench.path("bert")
}

fn text_arguments(bench: &Bench, base: &str, data: &str, more: &[&str]) -> Vec<String> {
    let out = bench.path("text");
    let words = ["train", "--base", base, "--data", data, "--out", &out, "--batch", "4"];
    words.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

#[test]
fn texts_train_a_base_from_scratch_and_then_a_task_on_it() {
    let bench = Bench::new();
    let data = texts(&bench);
    let scratch = ["--from-scratch", "--method", "full", "--steps", "30", "--muon"];
    succeeded(&text_arguments(&bench, &text_base(&bench), &data, &scratch));
    let base = bench.path("base");
    std::fs::rename(bench.path("text"), &base).unwrap();
    let more = ["--adapter-hidden", "4", "--steps", "40", "--attention", "k-to-all"];
    succeeded(&text_arguments(&bench, &base, &data, &more));
    let opened = Base::open(Path::new(&base), None).unwrap();
    assert_eq!(open_task(&bench.path("text"), &opened).labels, ["a", "b"]);
}

#[test]
fn a_text_without_tokens_and_an_unknown_label_are_refused() {
    let bench = Bench::new();
    let base = text_base(&bench);
    let scratch = ["--from-scratch", "--method", "full", "--steps", "1"];
    let empty = bench.write("empty.tsv", "a\tred\nb\tblue\nb\t \u{1} \n");
    refused(&text_arguments(&bench, &base, &empty, &scratch), &["line 3", "no token"]);
    let data = bench.write("train.tsv", "a\tred\nb\tblue\n");
    let test = bench.write("test.tsv", "a\tred\nc\tblue\n");
    let more = [&scratch[..], &["--test", &test]].concat();
    let words = ["line 2", "label \"c\" was never seen in training"];
    refused(&text_arguments(&bench, &base, &data, &more), &words);
}

#[test]
fn pretraining_writes_a_task_without_head_that_a_training_begins_with() {
    let bench = Bench::new();
    let mut arguments = bench.arguments("train", "pretrained", &["--steps", "10", "--hidden", "1"]);
    arguments[0] = "pretrain".to_owned();
    succeeded(&arguments);
    assert!(bench.task("pretrained").head.is_none());
    let init = bench.path("pretrained/task.safetensors");
    bench.train("out", &["--steps", "4", "--init", &init]);
}

#[test]
fn a_base_whose_layers_tokens_skip_is_a_plain_base() {
    let bench = Bench::new();
    let skipping = ["--method", "full", "--skip-layers", "--reductions", "1,4", "--steps", "6"];
    bench.train("base", &skipping);
    bench.train("other", &["--method", "full", "--steps", "6"]);
    let open = |name| Base::open(Path::new(&bench.path(name)), None).unwrap();
    let (base, other) = (open("base"), open("other"));
    let places = |base: &Base| base.tensors.keys().copied().collect::<Vec<_>>();
    assert_eq!(places(&base), places(&other));
    let values = |base: &Base| base.tensors[&(0, Role::Query)].values.clone();
    assert_ne!(values(&base), values(&other));
    let coda = bench.arguments("train", "no", &["--skip-layers"]);
    refused(&coda, &["--skip-layers needs --method full"]);
}

#[test]
fn examples_are_refused_where_a_class_is_never_right() {
    let bench = Bench::new();
    let (images, data) = (bench.path("images"), bench.path("train-images-idx3-ubyte"));
    let (base, task) = (base(), base().join("coda.safetensors"));
    let [base, task] = [&base, &task].map(|path| path.to_str().unwrap());
    let examples = ["examples", "--base", base, "--task", task, "--data", &data, "--out", &images];
    // The stripes of these tests are no clothes: some class has no example.
    refused(&examples, &["is right at every reduction"]);
}

/// Texts of two classes that words tell apart.
fn texts(bench: &Bench) -> String {
    let line = |i: usize| {
        let size = if i.is_multiple_of(3) { "large" } else { "small" };
        if i.is_multiple_of(2) {
            format!("a\tred {size} red\n")
        } else {
            format!("b\t{size} blue\n")
        }
    };
    bench.write("train.tsv", (0..20).map(line).collect::<String>())
}

/// A tiny BERT with random weights, and a parallel adapter on it.
fn text_teacher(bench: &Bench, data: &str) -> (String, String) {
    let scratch = ["--from-scratch", "--method", "full", "--steps", "2"];
    succeeded(&text_arguments(bench, &text_base(bench), data, &scratch));
    let base = bench.path("base");
    std::fs::rename(bench.path("text"), &base).unwrap();
    let dense = ["--method", "parallel-adapter", "--adapter-hidden", "4", "--steps", "4"];
    succeeded(&text_arguments(bench, &base, data, &dense));
    let teacher = bench.path("adapter");
    std::fs::rename(bench.path("text"), &teacher).unwrap();
    (base, format!("{teacher}/task.safetensors"))
}

#[test]
fn answers_of_a_teacher_serve_the_next_training_and_no_other_teacher() {
    let bench = Bench::new();
    let data = texts(&bench);
    let (base, teacher) = text_teacher(&bench, &data);
    let answers = bench.path("answers.safetensors");
    let more = ["--adapter-hidden", "4", "--steps", "12", "--teacher", &teacher];
    let kept = [&more[..], &["--answers", &answers]].concat();
    let result = || bench.read("text/task.safetensors");
    succeeded(&text_arguments(&bench, &base, &data, &more));
    let without = result();
    for _ in 0..2 {
        succeeded(&text_arguments(&bench, &base, &data, &kept));
        assert!(result() == without, "answers from a file are not the teacher's");
    }
    let twice = [&more[..], &["--teacher", &teacher]].concat();
    succeeded(&text_arguments(&bench, &base, &data, &twice));
    assert!(result() == without, "the mean of one teacher and itself is another");
    let kept_twice = [&twice[..], &["--answers", &answers]].concat();
    refused(&text_arguments(&bench, &base, &data, &kept_twice), &["answers", "other teachers"]);
    let renamed = std::fs::read_to_string(&data).unwrap().replace("b\t", "c\t");
    let renamed = bench.write("renamed.tsv", renamed);
    let words = ["labels of the teacher", "same order"];
    refused(&text_arguments(&bench, &base, &renamed, &more), &words);
    let other = bench.write("other.tsv", "a\tred\nb\tblue\na\tred red\nb\tblue blue\n");
    refused(&text_arguments(&bench, &base, &other, &kept), &["answers", "other teachers"]);
}

#[test]
fn other_ways_to_select_are_recorded_and_write_no_task() {
    let bench = Bench::new();
    let test = bench.write_idx("test", SIDE, &[3, 4, 5, 6, 7]);
    for selection in ["random", "first", "every"] {
        let more = ["--steps", "4", "--selection", selection, "--test", &test];
        bench.train(selection, &more);
        assert!(!Path::new(&bench.path(selection)).join("task.safetensors").exists());
        let record = bench.record(selection);
        assert_eq!(record["settings"]["selection"], selection);
        let at = &record["test"]["reductions"][0];
        let right = at["right"].as_str().unwrap();
        let bits: u32 = right.chars().map(|digit| digit.to_digit(16).unwrap().count_ones()).sum();
        assert_eq!(right.len(), 2);
        assert!((at["accuracy"].as_f64().unwrap() - f64::from(bits) * 20.0).abs() < 1e-9);
    }
}

#[test]
fn routers_begin_with_the_saliency_of_a_dense_model() {
    let bench = Bench::new();
    let start = ["--steps", "1", "--rate", "1e-9", "--router-start", "saliency"];
    let routers = |out: &str| {
        let tensors =
            bench.task(out).tensors.into_iter().filter(|((_, role), _)| *role == Role::Router);
        tensors.map(|(_, tensor)| tensor.values).collect::<Vec<_>>()
    };
    let said = succeeded(&bench.arguments("train", "fitted", &start));
    assert!(said.contains("of the saliency, layer by layer"), "{said}");
    bench.train("drawn", &start[..4]);
    let (fitted, drawn) = (routers("fitted"), routers("drawn"));
    assert_eq!((fitted.len(), drawn.len()), (4, 4));
    for (fitted, drawn) in fitted.iter().zip(&drawn) {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = dot(fitted, drawn) / (dot(fitted, fitted) * dot(drawn, drawn)).sqrt();
        assert!(cosine.abs() < 0.6, "{cosine}");
    }
    for more in [["--method", "parallel-adapter"], ["--selection", "first"]] {
        let more = [&start[..], &more].concat();
        refused(&bench.arguments("train", "refused", &more), &["--router-start", "coda"]);
    }
}

#[test]
fn what_was_removed_says_what_to_use() {
    let bench = Bench::new();
    let schedule = ["schedule", "--base", "b", "--speed", "3", "--out", "o"];
    refused(&schedule, &["removed in 0.2", "--layer-factors"]);
    let output = run(&bench.arguments("train", "out", &["--pooled-keys", "4"]));
    assert_refused(&output, 1, &["removed in 0.2", "k-to-low-rank"]);
}

#[test]
fn factors_of_layers_are_the_default_of_the_task_and_must_fit_the_base() {
    let bench = Bench::new();
    let common = ["--steps", "2", "--low-rank", "4", "--reductions", "9,18", "--layer-factors"];
    let train = |out: &str, factors: &str| {
        bench.arguments("train", out, &[&common[..], &[factors]].concat())
    };
    succeeded(&train("out", "0.125,1,1,2"));
    let layers = bench.task("out").layers;
    let written: Vec<Option<f32>> =
        layers.iter().map(|layer| layer.routing.unwrap().reduction).collect();
    assert_eq!(written, [1.125, 9.0, 9.0, 18.0].map(Some));
    refused(&train("other", "0.5,1"), &["2 layer factors", "4 layers"]);
    refused(&train("other", "0,1,1,1"), &["above 0"]);
}

#[test]
fn a_report_has_the_tables_and_the_picture_of_collected_trainings() {
    let bench = Bench::new();
    let test = bench.write_idx("test", SIDE, &[3, 4, 5, 6]);
    let runs = [
        ("runs/fashion/adapter-s1", ["--method", "parallel-adapter"]),
        ("runs/fashion/coda-s1", ["--method", "coda"]),
        ("runs/fashion/random-s1", ["--selection", "random"]),
    ];
    for (name, more) in runs {
        bench.train(name, &[&["--steps", "4", "--test", &test][..], &more].concat());
    }
    let evaluated = |accuracy: f64, ms: f64| {
        format!(
            r#"{{"samples": 4, "kernels": "scalar", "cpu": "a CPU", "tokens": 50, "arena_bytes": 1,
                "reductions": [{{"reduction": 1.0, "accuracy": {accuracy}, "median_ms": {ms},
                "speed_up": 1.0, "end_to_end_ms": {ms}, "end_to_end_speed_up": 1.0}}]}}"#
        )
    };
    bench.write("runs/fashion/adapter-s1/eval.json", evaluated(75.0, 2.0));
    bench.write("runs/fashion/coda-s1/eval.json", evaluated(74.0, 0.5));
    let results = bench.path("results");
    std::fs::create_dir(&results).unwrap();
    let collect = |run: &str| ["collect", "--results", &results, run].map(str::to_owned);
    for (name, _) in runs {
        succeeded(&collect(&bench.path(name)));
    }
    let read = || String::from_utf8(bench.read("results/trainings.jsonl")).unwrap();
    let lines = read();
    assert_eq!(lines.lines().count(), 4, "{lines}");
    assert!(!lines.contains("curve") && !lines.contains("right"), "{lines}");
    succeeded(&collect(&bench.path("runs/fashion/random-s1")));
    assert!(read() == lines, "a training that is collected again is another");
    let page = bench.path("RESULTS.md");
    succeeded(&["report", &results, "--out", &page]);
    let page = std::fs::read_to_string(page).unwrap();
    for words in ["| coda | 1 |", "-1.00", "4.00x", "| coda / random | 1 |", "a CPU", "σ)"] {
        assert!(page.contains(words), "\"{words}\" is not in:\n{page}");
    }
    assert!(Path::new(&results).join("accuracy.svg").is_file());
    refused(&collect(&bench.path("runs/fashion")), &["TASK/METHOD-sSEED"]);
    let empty = bench.path("empty");
    std::fs::create_dir(&empty).unwrap();
    refused(&["report", &empty, "--out", &bench.path("page")], &["no records"]);
}

#[cfg(unix)]
#[test]
fn control_c_writes_a_checkpoint_and_the_training_goes_on_from_it() {
    let bench = Bench::new();
    let more = ["--steps", "60", "--checkpoint-every", "1"];
    bench.train("whole", &more);
    let arguments = bench.arguments("train", "interrupted", &more);
    let checkpoint = bench.path("interrupted/checkpoint.safetensors");
    let child = start_until_checkpoint(&arguments, &checkpoint);
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let output = child.wait_with_output().unwrap();
    assert_refused(&output, 130, &["interrupted at step"]);
    assert!(Path::new(&checkpoint).is_file());
    succeeded(&arguments);
    let read = |out: &str| bench.read(&format!("{out}/task.safetensors"));
    assert!(read("whole") == read("interrupted"), "the weights differ");
}
