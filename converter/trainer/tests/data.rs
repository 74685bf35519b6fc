//! What a training says of its data, and what data it refuses, before the first step.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_converter::source::{Base, TensorFile};
use image::{GrayImage, Luma};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A directory with data.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Starts a short training of `data` on `base`, which has no weights unless it is the bundled one.
    fn train(&self, base: &Path, data: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coda-trainer"));
        command.env("RAYON_NUM_THREADS", "1").args(["train", "--steps", "1", "--batch", "4"]);
        command.arg("--base").arg(base).arg("--data").arg(data).arg("--out").arg(self.path("out"));
        command.args(more).output().unwrap()
    }

    /// The same for texts.
    fn texts(&self, data: &[u8], more: &[&str]) -> Output {
        let config = r#"{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 7,
            "max_position_embeddings": 6, "type_vocab_size": 2}"#;
        self.write("bert/config.json", config);
        self.write("bert/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\nblue\n");
        let scratch = ["--from-scratch", "--method", "full"];
        let data = self.write("train.tsv", data);
        self.train(&self.path("bert"), &data, &[&scratch[..], more].concat())
    }
}

fn bundled() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../default/fashion-vit")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_refused(output: &Output, words: &[&str]) {
    let message = said(output);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{message}");
    for word in words {
        assert!(message.contains(word), "\"{word}\" is not in: {message}");
    }
}

/// Two classes of five texts.
const TEXTS: &str = "a\tred\na\tred red\na\tred blue red\na\tred red red\na\tred red red red red red\n\
                     b\tblue\nb\tblue blue\nb\tblue red blue\nb\tblue blue blue\nb\t\n";

#[test]
fn a_training_says_what_it_read() {
    let files = Files::new();
    let output = files.texts(TEXTS.as_bytes(), &["--validation", "0.25", "--test"]);
    assert_refused(&output, &["--test"]);
    let test = files.write("test.tsv", "text\tlabel\nblue red\tb\n");
    let more = ["--validation", "0.25", "--test", test.to_str().unwrap()];
    let output = files.texts(TEXTS.as_bytes(), &more);
    let message = said(&output);
    assert!(output.status.success(), "{message}");
    for words in [
        "train.tsv: 9 samples, 2 classes: a 5, b 4",
        "tokens: median 5, longest 6; 1 texts cut at 6 tokens",
        "1 rows without a text were passed over",
        "test.tsv: 1 samples, 2 classes: a 0, b 1",
        "7 samples to train with, 2 held out",
    ] {
        assert!(message.contains(words), "\"{words}\" is not in: {message}");
    }
}

/// The same words, the classes told apart by which text they stand in.
const PAIRS: &str = "premise\thypothesis\tlabel\nred\tblue\ta\nred red\tblue\ta\nblue\tred\tb\n\
                     blue\tred red\tb\nblue\tred red red\tb\n";

#[test]
fn pairs_are_trained_on() {
    let files = Files::new();
    let test = files.write("test.csv", "label,sentence1,sentence2\na,red,blue\nb,blue,red\n");
    let output = files.texts(PAIRS.as_bytes(), &["--test", test.to_str().unwrap()]);
    let message = said(&output);
    assert!(output.status.success(), "{message}");
    for words in [
        "train.tsv: 5 samples, 2 classes: a 2, b 3",
        "tokens: median 6, longest 6; 1 texts cut at 6 tokens",
        "test.csv: 2 samples",
    ] {
        assert!(message.contains(words), "\"{words}\" is not in: {message}");
    }
}

/// Trains a base without weights of a family whole.
fn trained_whole(files: &Files, config: &str) -> Output {
    files.write("base/config.json", config);
    files.write("base/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\nblue\n");
    files.write("base/tokenizer_config.json", r#"{"tokenizer_class": "BertTokenizer"}"#);
    let data = files.write("train.tsv", TEXTS);
    let whole = ["--from-scratch", "--method", "full", "--precision", "f32"];
    files.train(&files.path("base"), &data, &whole)
}

/// Sizes of a base, by the names that most families have.
const SIZES: &str = r#""hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 8, "vocab_size": 7, "max_position_embeddings": 8"#;

#[test]
fn a_base_whose_layers_share_weights_is_not_trained_whole() {
    let files = Files::new();
    let albert = format!(r#"{{"model_type": "albert", "embedding_size": 8, {SIZES}}}"#);
    assert_refused(&trained_whole(&files, &albert), &["--method full", "share weights"]);
}

#[test]
fn a_base_that_is_trained_whole_is_written_as_files_hold_it() {
    let roberta = format!(r#"{{"model_type": "roberta", "pad_token_id": 1, {SIZES}}}"#);
    let t5 = r#"{"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1,
        "num_heads": 2, "vocab_size": 7, "relative_attention_num_buckets": 4,
        "relative_attention_max_distance": 8}"#;
    let bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    for (config, name, shape) in
        [(&*roberta, "embeddings.position_embeddings.weight", [8, 8]), (t5, bias, [4, 2])]
    {
        let files = Files::new();
        let output = trained_whole(&files, config);
        assert!(output.status.success(), "{}", said(&output));
        let file = TensorFile::open(&files.path("out/model.safetensors")).unwrap();
        assert_eq!(file.tensor(name).unwrap().shape, shape);
        let base = Base::open(&files.path("out"), None).unwrap();
        assert!(base.unused.is_empty() && base.head.is_some(), "{:?}", base.unused);
    }
}

#[test]
fn data_that_cannot_be_meant_are_refused_before_the_first_step() {
    let one: String = (0..9).map(|i| format!("a\t{}\n", "red ".repeat(i + 1))).collect();
    let other = format!("etikett\tinhalt\n{TEXTS}");
    let turned: String = (0..9).map(|i| format!("{}\ta\n", "red ".repeat(i + 1))).collect();
    for (data, more, words) in [
        (&one, &[][..], &["one class", "\"a\""][..]),
        (&other, &[], &["line 1", "etikett", "--header"]),
        (&turned, &[], &["9 classes in 9 rows"]),
        (&TEXTS.to_owned(), &["--test", "nowhere.tsv"], &["nowhere.tsv"]),
        (&TEXTS.to_owned(), &["--head-rate", "nan"], &["--head-rate", "finite"]),
        (&TEXTS.to_owned(), &["--rate", "-1"], &["--rate", "finite"]),
        (&TEXTS.to_owned(), &["--weight-decay", "inf"], &["--weight-decay", "finite"]),
        (&TEXTS.to_owned(), &["--reductions", "1,nan"], &["--reductions", "finite"]),
        (&TEXTS.to_owned(), &["--temperature", "0"], &["--temperature"]),
    ] {
        let files = Files::new();
        assert_refused(&files.texts(data.as_bytes(), more), words);
        assert!(!files.path("out/model.safetensors").exists());
    }
    let files = Files::new();
    let named = files.texts(other.as_bytes(), &["--header", "yes"]);
    assert!(said(&named).contains("2 classes: a 5, b 4"), "{}", said(&named));
}

/// IDX images of the classes 0 and 1, as large as the bundled base reads them.
fn idx(files: &Files) -> PathBuf {
    let head = |dimensions: u8, sizes: &[u32]| {
        let sizes = sizes.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, dimensions].into_iter().chain(sizes).collect::<Vec<u8>>()
    };
    let pixels = (0..4 * 28 * 28).map(|index| (index * 7 % 251) as u8);
    let images: Vec<u8> = head(3, &[4, 28, 28]).into_iter().chain(pixels).collect();
    files.write("t-labels-idx1", [head(1, &[4]), vec![0, 1, 0, 1]].concat());
    files.write("t-images-idx3", images)
}

fn labels(files: &Files) -> Value {
    let record = std::fs::read(files.path("out/training.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    record["data"]["labels"].clone()
}

#[test]
fn numbered_classes_are_never_called_as_those_of_the_base() {
    for (more, expected) in [(&[][..], ["0", "1"]), (&["--classes", "odd,even"], ["odd", "even"])] {
        let files = Files::new();
        let data = idx(&files);
        let output =
            files.train(&bundled(), &data, &[&["--method", "linear-probe"], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(labels(&files), Value::from(expected.to_vec()));
    }
    let files = Files::new();
    let output = files.train(&bundled(), &idx(&files), &["--classes", "odd,even,other"]);
    assert_refused(&output, &["--classes names 3", "have 2"]);
}

#[test]
fn folders_are_read_without_their_litter_and_pictures_of_any_size_if_asked() {
    let files = Files::new();
    for (class, side) in [("cat", 28), ("cat", 56), ("dog", 28), ("dog", 31)] {
        let picture = GrayImage::from_fn(side, side, |x, y| Luma([(x * y % 256) as u8]));
        let path = files.write(&format!("set/{class}/{side}.png"), "");
        picture.save(path).unwrap();
    }
    files.write("set/cat/.DS_Store", "Bud1");
    let train = |more: &[&str]| {
        files.train(&bundled(), &files.path("set"), &[&["--method", "linear-probe"], more].concat())
    };
    assert_refused(&train(&[]), &["56.png", "56 by 56", "--resize"]);
    let output = train(&["--resize"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("1 files that are no pictures"), "{}", said(&output));
    assert_eq!(labels(&files), Value::from(vec!["cat", "dog"]));
}
