//! Labelled data and pictures as they lie on disks: read as their writers meant them, or refused.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use anyhow::Result;
use coda_converter::dataset::{self, Labelled, Reading, SampleInput};
use coda_converter::folder::Folder;
use coda_converter::grid::Patches;
use coda_converter::pack::WeightType;
use coda_converter::picture;
use coda_converter::preparation::{Pixels, Preparation, Resample, Resize};
use coda_converter::rows::{self, Header, Rows};
use coda_converter::source::{Base, SourceError};
use coda_runtime::image::{PatchGrid, Standardization};
use coda_tests::tiny::{Packages, Tiny};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const WIDTH: usize = 23;
const HEIGHT: usize = 17;

fn rows(name: &str, bytes: &[u8]) -> Result<Rows> {
    rows::read(Path::new(name), bytes, Header::Auto)
}

/// Label and text of each row, with a `|` between.
fn pairs(name: &str, bytes: &[u8]) -> Vec<String> {
    let rows = rows(name, bytes).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    rows.rows.iter().map(|row| format!("{}|{}", row.label, row.text)).collect()
}

fn utf16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(bytes_of).collect()
}

#[test]
fn texts_are_read_however_they_were_written() {
    let plain = "pos\tthe cat\nneg\tthe mat\n";
    let expected = ["pos|the cat", "neg|the mat"];
    for (what, name, bytes) in [
        ("plain", "a.tsv", plain.as_bytes().to_vec()),
        ("no end of the last line", "a", plain.trim_end().as_bytes().to_vec()),
        ("blank lines", "a.txt", b"\n\npos\tthe cat\n \t \nneg\tthe mat\n\n".to_vec()),
        ("CRLF", "a.tsv", plain.replace('\n', "\r\n").into_bytes()),
        ("mark", "a.tsv", [b"\xef\xbb\xbf", plain.as_bytes()].concat()),
        ("UTF-16 LE", "a.tsv", utf16(plain, u16::to_le_bytes)),
        ("UTF-16 BE", "a.tsv", utf16(plain, u16::to_be_bytes)),
        ("header", "a.tsv", format!("Label\tText\n{plain}").into_bytes()),
        ("header, turned", "a.tsv", b"sentence\tclass\nthe cat\tpos\nthe mat\tneg\n".to_vec()),
        ("numbered", "a.csv", b",label,text\n0,pos,the cat\n1,neg,the mat\n".to_vec()),
        ("CSV", "a.csv", b"pos,the cat\nneg,\"the mat\"\n".to_vec()),
        ("CSV of Excel", "A.CSV", b"pos;the cat\r\nneg;the mat\r\n".to_vec()),
        ("CSV, unpacked", "a.csv.gz", b"pos,the cat\nneg,the mat\n".to_vec()),
        ("space", "a.tsv", "pos \tthe cat\n\u{a0}neg\u{feff}\tthe mat\n".as_bytes().to_vec()),
    ] {
        assert_eq!(pairs(name, &bytes), expected, "{what}");
    }
}

#[test]
fn quotes_are_those_of_the_writer() {
    let csv = b"label,text\npos,\"a \"\"b\"\", c\nd\"\nneg,e\n";
    assert_eq!(pairs("a.csv", csv), ["pos|a \"b\", c\nd", "neg|e"]);
    let lines: Vec<u64> = rows("a.csv", csv).unwrap().rows.iter().map(|row| row.line).collect();
    assert_eq!(lines, [2, 4]);
    // As pandas writes TSV, and as others do, who know no quotes.
    assert_eq!(pairs("a.tsv", b"pos\t\"a \"\"b\"\"\tc\"\nneg\td\n"), ["pos|a \"b\"\tc", "neg|d"]);
    assert_eq!(pairs("a.tsv", b"pos\t\"a\" b\nneg\t\"c\n"), ["pos|\"a\" b", "neg|\"c"]);
    assert_eq!(pairs("a.tsv", b"pos\t5\" b\nneg\t\"c\"\n"), ["pos|5\" b", "neg|\"c\""]);
}

#[test]
fn texts_that_cannot_be_meant_are_refused_with_their_line() {
    let latin = b"pos\tthe cat\nneg\tcaf\xe9\n";
    for (name, bytes, words) in [
        ("a.tsv", &b"pos\ta\rneg\tb\r"[..], &["line 1", "carriage return"][..]),
        ("a.tsv", latin, &["line 2", "0xe9", "iconv"]),
        ("a.tsv", b"pos\ta\nneg b\n", &["line 2", "tab"]),
        ("a.tsv", b"pos a\nneg b\n", &["line 1", "tab"]),
        ("a.csv", b"pos,a\n\nneg,b, c\n", &["line 3", "comma", "quotes"]),
        ("a.csv", b"pos,a\nneg,\"b\npos,c\n", &["line 2", "quote"]),
        ("a.csv", b"pos,a\nneg,\"b\" c\n", &["line 2", "quote"]),
        ("a.tsv", b"pos\ta\n \tb\n", &["line 2", "label is empty"]),
        ("a.tsv", b"pos\ta\tb\tc\n", &["line 1", "4 columns", "pair"]),
        ("a.tsv", b"pos\ta\tb\nneg\tc\n", &["line 2", "2 fields", "3"]),
        ("a.tsv", b"pos\ta\nneg\tb\tc\n", &["line 2", "3 fields", "2"]),
        ("a.tsv", b"label\tsentence2\nx\ty\n", &["line 1", "sentence2", "half a pair"]),
        ("a.tsv", b"label\tpremise\tsentence2\nx\ty\tz\n", &["premise", "sentence2", "pairs"]),
        ("a.tsv", b"label\ttext\treview\nx\ty\tz\n", &["text", "review", "leave one out"]),
        ("a.tsv", b"label\ttext\tquery\tpassage\nx\ty\tz\tw\n", &["passage", "third text"]),
        ("a.tsv", b"x\ty\tsentence2\tlabel\na\tb\tc\td\n", &["half a pair"]),
        ("a.csv", b"label,text,source\nx,y,z\n", &["line 1", "source"]),
        ("a.tsv", b"p\0o\0s\0\t\0a\0\n\0", &["line 1", "zero byte"]),
        ("a.tsv.bz2", b"BZh91AY", &["bunzip2"]),
        ("a.xlsx", b"PK\x03\x04", &["ZIP", "Excel"]),
        ("a.parquet", b"PAR1", &["Parquet"]),
        ("a.jsonl", b"{\"label\": 1}\n", &["JSON"]),
        ("a.tsv", b"\xff\xfep\0o", &["half a character"]),
    ] {
        let message = format!("{:#}", rows(name, bytes).unwrap_err());
        for word in words {
            assert!(message.contains(word), "\"{word}\" is not in: {message}");
        }
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn a_header_is_what_it_is_said_to_be() {
    let read = |header| rows::read(Path::new("a.tsv"), b"art\tinhalt\nx\ty\n", header).unwrap();
    assert_eq!(
        [Header::Auto, Header::Yes, Header::No].map(|header| read(header).rows.len()),
        [2, 1, 2]
    );
    let named = rows::read(Path::new("a.tsv"), b"label\ttext\n", Header::No).unwrap();
    assert_eq!(named.rows[0].label, "label");
}

#[test]
fn a_third_column_is_the_second_text_of_a_pair() {
    let expected = [("pos", "the cat", "sat"), ("neg", "the mat", "on")];
    for (what, name, text) in [
        ("no header", "a.tsv", "pos\tthe cat\tsat\nneg\tthe mat\ton\n"),
        (
            "GLUE",
            "a.tsv",
            "idx\tsentence1\tsentence2\tlabel\n0\tthe cat\tsat\tpos\n1\tthe mat\ton\tneg\n",
        ),
        ("NLI", "a.csv", "premise,hypothesis,label\nthe cat,sat,pos\nthe mat,on,neg\n"),
        ("QNLI", "a.csv", "label,sentence,question\npos,sat,the cat\nneg,on,the mat\n"),
        ("BERT", "a.csv", "label;text_b;text_a\npos;sat;the cat\nneg;on;the mat\n"),
        ("ranking", "a.csv", "query,document,label\nthe cat,sat,pos\nthe mat,\"on\",neg\n"),
    ] {
        let found = rows(name, text.as_bytes()).unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let read =
            found.rows.iter().map(|row| (&*row.label, &*row.text, row.second.as_deref().unwrap()));
        assert_eq!(read.collect::<Vec<_>>(), expected, "{what}");
        let notes = found.notes().join("; ");
        assert_eq!(
            notes.contains("three columns without a header"),
            what == "no header",
            "{notes}"
        );
    }
    let torn = rows("a.tsv", b"x\ta\tb\nx\ta\t \ny\t\tb\nx\ta\tb\ny\ta\tb\ny\ta\tc\n").unwrap();
    assert_eq!((torn.rows.len(), torn.empty), (4, 2));
    let notes = torn.notes().join("; ");
    assert!(notes.contains("1 rows stand there more"), "{notes}");
    assert!(notes.contains("1 texts stand there again"), "{notes}");
}

#[test]
fn empty_torn_and_repeated_texts_are_told() {
    let found = rows("a.tsv", b"x\ta\nx\t \ny\t\nx\ta\ny\ta\n").unwrap();
    assert_eq!((found.rows.len(), found.empty), (3, 2));
    let notes = found.notes().join("; ");
    for part in ["2 rows without a text", "1 rows stand there more", "1 texts stand there again"] {
        assert!(notes.contains(part), "{notes}");
    }
    assert!(rows("a.tsv", b"x\ta\ny\tb\n").unwrap().notes().is_empty());
}

/// Reads `data` for a tiny text model of the classes `names`, which may be none.
fn read_for(names: &[&str], data: &[u8]) -> Result<Labelled> {
    let Tiny { base, mut task, .. } = Tiny::bert();
    task.labels = names.iter().map(|name| (*name).to_owned()).collect();
    let packages = Packages::of(&base, &task, WeightType::F32, "")?;
    let directory = TempDir::new()?;
    let path = directory.path().join("d.tsv");
    std::fs::write(&path, data)?;
    dataset::read(&path, Reading::default(), &packages.model()?)
}

fn labels(names: &[&str], data: &str) -> Vec<usize> {
    let set = read_for(names, data.as_bytes()).unwrap();
    set.samples.iter().map(|sample| sample.label).collect()
}

#[test]
fn labels_of_a_file_are_all_names_or_all_indices() {
    let (words, stars) = (["no", "yes", "so"], ["1", "2", "3"]);
    assert_eq!(labels(&words, "yes\tcat\nno\tmat\n"), [1, 0]);
    assert_eq!(labels(&words, "1\tcat\n2\tmat\n"), [1, 2]);
    assert_eq!(labels(&stars, "1\tcat\n3\tmat\n"), [0, 2]);
    assert_eq!(labels(&[], "2\tcat\n"), [2]);
    for (names, data, word) in [
        (&words[..], "yes\tcat\n1\tmat\n", "line 2: the model has no label \"1\""),
        (&words, "0\tcat\n3\tmat\n", "line 2: the model has no label \"3\""),
        (&words, "label\tcat\n", "line 1: the model has no label \"label\""),
        (&stars, "1\tcat\n0\tmat\n", "line 2: the model has no label \"0\""),
        (&stars, "0\tcat\n", "line 1: the model has no label \"0\""),
        (&[], "yes\tcat\n", "only the indices 0 to 2"),
    ] {
        let message = format!("{:#}", read_for(names, data.as_bytes()).unwrap_err());
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn pairs_are_inputs_with_types_and_cut_at_the_longer_text() {
    let long = "cat ".repeat(99);
    let data = format!("1\tthe cat\tsat on\n0\t{long}\tsat on\n");
    let set = read_for(&["no", "yes", "so"], data.as_bytes()).unwrap();
    let [pair, cut] = &set.samples[..] else { panic!("{set:?}") };
    let (ids, types) = (vec![2, 5, 6, 3, 7, 9, 3], vec![0, 0, 0, 0, 1, 1, 1]);
    assert_eq!((&pair.input, pair.label), (&SampleInput::Typed { ids, types }, 1));
    let SampleInput::Typed { ids, types } = &cut.input else { panic!("{cut:?}") };
    // The second text is whole.
    assert!(ids.ends_with(&[6, 3, 7, 9, 3]) && types.ends_with(&[0, 0, 1, 1, 1]), "{cut:?}");
    assert_eq!((set.cut, ids.len()), (1, types.len()));
    assert!(set.notes().any(|note| note.contains("1 texts are longer")), "{set:?}");
}

#[test]
fn a_package_without_labels_says_so_and_cut_texts_are_counted() {
    let Tiny { mut base, .. } = Tiny::bert();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("d.tsv");
    std::fs::write(&path, format!("x\t{}\ny\tcat\nx\t\n", "cat ".repeat(99))).unwrap();
    for (head, word) in [(base.head, "gives no label"), (None, "has no head")] {
        base.head = head;
        let packed = coda_converter::pack::pack_base(&base, WeightType::F32, "").unwrap();
        let package = packed.bytes.parse().unwrap();
        let model = coda_runtime::model::Model::dense(&package).unwrap();
        let refused = dataset::read(&path, Reading::default(), &model).unwrap_err();
        assert!(format!("{refused:#}").contains(word), "{refused:#}");
        let reading = Reading { unlabelled: true, ..Reading::default() };
        let set = dataset::read(&path, reading, &model).unwrap();
        assert_eq!((set.samples.len(), set.cut, set.passed_over), (2, 1, 1));
    }
}

// Pictures

/// The picture of pictures.py.
fn pixels() -> Pixels {
    pixels_of(WIDTH, HEIGHT)
}

/// The same of another size.
fn pixels_of(width: usize, height: usize) -> Pixels {
    let sample = |index: usize| {
        let (x, y, c) = (index / 3 % width, index / 3 / width, index % 3);
        ((x * x * (7 + 4 * c) + y * (13 + 50 * c) + x * y * 5) % 256) as u8
    };
    let values = (0..width * height * 3).map(sample).collect();
    Pixels { width, height, channels: 3, values }
}

/// What Pillow made.
fn pillow() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/pictures.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
    hex.as_chunks::<2>().0.iter().map(|[high, low]| digit(high) << 4 | digit(low)).collect()
}

/// The largest difference from what Pillow made.
fn difference(found: &Pixels, expected: &Value) -> u8 {
    let shape = [found.height, found.width, found.channels].map(Value::from);
    let shape = &shape[..expected["shape"].as_array().unwrap().len()];
    assert_eq!(expected["shape"].as_array().unwrap(), shape);
    let expected = bytes(&expected["hex"]);
    assert_eq!(found.values.len(), expected.len());
    let pairs = found.values.iter().zip(&expected);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn pictures_are_resized_and_cut_as_by_the_reference() {
    let pillow = pillow();
    let all = [
        ("nearest", Resample::Nearest),
        ("lanczos", Resample::Lanczos),
        ("bilinear", Resample::Bilinear),
        ("bicubic", Resample::Bicubic),
        ("box", Resample::Box),
        ("hamming", Resample::Hamming),
    ];
    let mut cases: Vec<(String, Preparation)> = Vec::new();
    for (name, resample) in all {
        let how = Preparation { resize: Resize::Exact([12, 16]), resample, crop: None };
        cases.push((format!("down {name}"), how));
        if matches!(resample, Resample::Bilinear | Resample::Bicubic) {
            cases.push((
                format!("up {name}"),
                Preparation { resize: Resize::Exact([25, 29]), ..how },
            ));
        }
    }
    let resample = Resample::Bicubic;
    let edge = Preparation { resize: Resize::ShortestEdge(12), resample, crop: None };
    cases.push(("edge bicubic".to_owned(), edge));
    let cut = Preparation { crop: Some([11, 11]), ..edge };
    cases.push(("edge bicubic, middle".to_owned(), cut));
    let cut = Preparation { resize: Resize::No, resample, crop: Some([20, 18]) };
    cases.push(("middle beyond".to_owned(), cut));
    for (name, how) in cases {
        let found = how.apply(pixels(), [1, 1]).unwrap();
        let worst = difference(&found, &pillow["values"][&name]);
        println!("{name}: at most {worst} from Pillow");
        assert!(worst <= 1, "{name}: {worst}");
    }
}

#[test]
fn pictures_of_any_size_become_patches_as_by_the_reference() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/grids.json");
    let reference: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let grids = reference["grids"].as_array().unwrap();
    assert_eq!(grids.len(), 6);
    for grid in grids {
        let size = |name: &str| grid[name].as_u64().unwrap() as usize;
        let floats = |name: &str| serde_json::from_value::<Vec<f32>>(grid[name].clone()).unwrap();
        let picture = pixels_of(size("width"), size("height"));
        let most = PatchGrid { columns: 99, rows: 99, side: size("side"), channels: 3 };
        let found = Patches::of(&picture, most, size("most")).unwrap();
        assert_eq!((found.rows, found.columns), (size("rows"), size("columns")), "{grid}");
        let flattened = found.flattened();
        let places = flattened.chunks(most.inputs() + 2).map(|patch| vec![patch[0], patch[1]]);
        let expected: Vec<Vec<f32>> = serde_json::from_value(grid["places"].clone()).unwrap();
        assert_eq!(places.collect::<Vec<_>>(), expected);
        assert_eq!(Patches::of_flattened(&flattened, most.inputs()).unwrap(), found);
        let patches = || found.values.chunks(most.inputs());
        let weight = |index: usize| (index % 11) as f32 - 5.0;
        let weighted = |patch: &[f32]| patch.iter().enumerate().map(|(i, x)| x * weight(i)).sum();
        let near = |found: Vec<f32>, name: &str, tolerance: f32| {
            let expected = floats(name);
            assert_eq!(found.len(), expected.len());
            let pairs = found.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            println!("{name} of {} by {}: {worst}", size("width"), size("height"));
            assert!(worst < tolerance, "{name}: {worst} of {grid}");
        };
        near(found.values.iter().take(12).copied().collect(), "first", 1e-5);
        near(patches().map(|patch| patch.iter().sum()).collect(), "sums", 2e-3);
        near(patches().map(weighted).collect(), "weighted", 5e-3);
    }
}

#[test]
fn a_device_normalises_pixels_as_the_reference() {
    // 48 by 32 pixels are a whole grid of 6 patches: nothing is resized.
    let picture = pixels_of(48, 32);
    let grid = PatchGrid { columns: 3, rows: 2, side: 16, channels: 3 };
    let found = Patches::of(&picture, grid, 6).unwrap();
    let standard = Standardization::of(&picture.values);
    let mut values = vec![0.0; picture.values.len()];
    for (index, slot) in values.chunks_exact_mut(grid.inputs()).enumerate() {
        standard.read(&picture.values, &grid, index, slot);
    }
    assert_eq!(found.values, values);
    // One gray, and none.
    assert_eq!(Standardization::of(&[9; 16]), Standardization { mean: 9.0, std: 0.25 });
    assert_eq!(Standardization::of(&[]), Standardization { mean: 0.0, std: 1.0 });
}

#[test]
fn patches_that_are_no_grid_are_refused() {
    for (flattened, words) in [
        (&[1.0, 1.0][..], "no patches of"),
        (&[0.0, 0.0, 7.0], "no grid"),
        (&[1.0, 2.0, 7.0], "no grid"),
        (&[1.0, 1.0, 7.0, 2.0, 2.0, 7.0], "no grid"),
        (&[1.0, 1.0, 7.0, 1.0, 2.0, 7.0, 2.0, 1.0, 7.0], "no grid"),
        (&[f32::NAN, 1.0, 7.0], "no grid"),
    ] {
        let error = Patches::of_flattened(flattened, 1).unwrap_err().to_string();
        assert!(error.contains(words), "{flattened:?}: {error}");
    }
    let padded = [1.0, 1.0, 7.0, 1.0, 2.0, 8.0, 0.0, 0.0, 0.0];
    let found = Patches::of_flattened(&padded, 1).unwrap();
    assert_eq!(found, Patches { rows: 1, columns: 2, values: vec![7.0, 8.0] });
}

/// The base of a small image model whose `preprocessor_config.json` has these fields besides the usual.
fn with_preprocessor(fields: &Value) -> Result<Base, SourceError> {
    let files = Files::new();
    let config = json!({"model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 8, "image_size": 16, "patch_size": 8,
        "num_channels": 3, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": true});
    files.write("config.json", config.to_string());
    if !fields.is_null() {
        let mut all = json!({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 0.5]});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        files.write("preprocessor_config.json", all.to_string());
    }
    Base::blank(files.0.path(), None)
}

#[test]
fn a_preprocessor_file_says_how_pictures_are_prepared() {
    let how = |resize, resample, crop| Preparation { resize, resample, crop };
    let (linear, cubic) = (Resample::Bilinear, Resample::Bicubic);
    let exact = Resize::Exact([16, 16]);
    for (fields, expected) in [
        (json!({}), Preparation::default()),
        (json!({"do_resize": false, "size": 16}), how(Resize::No, linear, None)),
        (json!({"size": 16, "do_convert_rgb": true}), how(exact, linear, None)),
        (json!({"size": [16, 12]}), how(Resize::Exact([16, 12]), linear, None)),
        (json!({"size": {"height": 16, "width": 16}, "resample": 3}), how(exact, cubic, None)),
        (
            json!({"size": {"shortest_edge": 20}, "do_center_crop": true, "crop_size": 16,
                "image_processor_type": "BitImageProcessor"}),
            how(Resize::ShortestEdge(20), cubic, Some([16, 16])),
        ),
        (
            json!({"size": 20, "resample": 1, "crop_size": {"height": 16, "width": 12},
                "feature_extractor_type": "CLIPFeatureExtractor", "crop_pct": null}),
            how(Resize::ShortestEdge(20), Resample::Lanczos, Some([16, 12])),
        ),
        (
            json!({"size": {"height": 16, "width": 16},
                "image_processor_type": "DINOv3ViTImageProcessorFast", "do_pad": false}),
            how(exact, linear, None),
        ),
    ] {
        let base = with_preprocessor(&fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        assert_eq!(base.preparation, expected, "{fields}");
    }
    let plain = with_preprocessor(&json!({"do_rescale": false, "do_normalize": false})).unwrap();
    let image = plain.image.unwrap();
    assert_eq!((image.rescale, image.mean[0], image.std[1]), (1.0, 0.0, 1.0));
}

#[test]
fn what_a_preprocessor_file_says_and_is_not_done_is_refused_by_field_and_value() {
    for (fields, words) in [
        (Value::Null, &["is not there"][..]),
        (json!({"image_mean": [0.5]}), &["image_mean = [0.5]", "3 numbers"]),
        (json!({"image_std": [0.5, 0, 0.5]}), &["image_std", "above 0"]),
        (json!({"rescale_factor": "1/255"}), &["rescale_factor = \"1/255\""]),
        (json!({"rescale_offset": true}), &["rescale_offset = true"]),
        (json!({"crop_pct": 0.9}), &["crop_pct = 0.9"]),
        (json!({"do_flip_channel_order": true}), &["do_flip_channel_order"]),
        (json!({"resample": 9}), &["resample = 9"]),
        (json!({"do_resize": "yes"}), &["do_resize = \"yes\""]),
        (json!({"size": {"longest_edge": 16}}), &["size = {\"longest_edge\":16}"]),
        (json!({"size": {"shortest_edge": 16, "longest_edge": 32}}), &["size"]),
        (json!({"size": 0}), &["size = 0"]),
        (json!({"size": 1e9}), &["size"]),
        (
            json!({"image_processor_type": "DonutImageProcessor"}),
            &["image_processor_type", "Donut"],
        ),
    ] {
        let message = with_preprocessor(&fields).unwrap_err().to_string();
        assert!(message.contains("preprocessor_config.json"), "{message}");
        for word in words {
            assert!(message.contains(word), "\"{word}\" is not in: {message}");
        }
    }
}

#[test]
fn a_way_to_prepare_travels_in_the_package() {
    let Tiny { mut base, task, .. } = Tiny::vit();
    let usual = Packages::of(&base, &task, WeightType::F32, "").unwrap();
    assert_eq!(Preparation::of_package(&usual.bundle).unwrap(), Preparation::default());
    let resample = Resample::Bicubic;
    base.preparation =
        Preparation { resize: Resize::ShortestEdge(9), resample, crop: Some([6, 8]) };
    let own = Packages::of(&base, &task, WeightType::F32, "").unwrap();
    for bytes in [&own.base, &own.bundle] {
        assert_eq!(Preparation::of_package(bytes).unwrap(), base.preparation);
    }
    assert_eq!(Preparation::of_package(&own.task).unwrap(), Preparation::default());
    assert_eq!(Preparation::of_package(b"CODA").unwrap(), Preparation::default());
    own.model().unwrap();
}

#[test]
fn sizes_without_bound_are_refused() {
    let thin = |width| Pixels { width, height: 1, channels: 1, values: vec![9; width] };
    let edge = Preparation { resize: Resize::ShortestEdge(1 << 14), ..Preparation::default() };
    assert!(edge.apply(thin(1 << 16), [1, 1]).is_err());
    let cut = Preparation { resize: Resize::No, crop: Some([1 << 40, 1 << 40]), ..edge };
    assert!(cut.apply(thin(2), [1, 1]).is_err());
    assert!(edge.apply(thin(0), [1, 1]).is_err());
}

fn grid(width: usize, height: usize, channels: usize) -> PatchGrid {
    PatchGrid { columns: width, rows: height, side: 1, channels }
}

/// A folder of files for a test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn png(color: ExtendedColorType, [width, height]: [usize; 2], values: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    encoder.write_image(values, width as u32, height as u32, color).unwrap();
    file
}

fn jpeg(size: usize) -> Vec<u8> {
    let values: Vec<u8> = (0..size * size * 3).map(|index| (index * 7 % 251) as u8).collect();
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut file, 90);
    encoder.write_image(&values, size as u32, size as u32, ExtendedColorType::Rgb8).unwrap();
    file
}

#[test]
fn colours_are_converted_as_by_the_reference() {
    use ExtendedColorType as Color;
    let files = Files::new();
    let read = |color: Color, values: &[u8], channels| {
        let width = values.len() / usize::from(color.bits_per_pixel() / 8);
        let path = files.write("a.png", png(color, [width, 1], values));
        picture::read(&path, grid(width, 1, channels), None)
    };
    assert_eq!(read(Color::L8, &[0, 200], 3).unwrap(), [0, 0, 0, 200, 200, 200]);
    assert_eq!(read(Color::La8, &[9, 0, 200, 255], 3).unwrap(), [9, 9, 9, 200, 200, 200]);
    assert_eq!(read(Color::Rgba8, &[9, 8, 7, 0], 3).unwrap(), [9, 8, 7]);
    // 16 bits, as the machine has them: the high byte is left.
    let wide = [255u16, 40_000, 65_535].map(u16::to_ne_bytes).concat();
    assert_eq!(read(Color::Rgb16, &wide, 3).unwrap(), [0, 156, 255]);
    assert!(read(Color::L16, &wide[..2], 1).is_err());
    let path = files.write("a.png", png(Color::Rgb8, [WIDTH, HEIGHT], &pixels().values));
    let values = picture::read(&path, grid(WIDTH, HEIGHT, 1), None).unwrap();
    let gray = Pixels { width: WIDTH, height: HEIGHT, channels: 1, values };
    assert_eq!(difference(&gray, &pillow()["values"]["gray"]), 0);
}

#[test]
fn files_of_the_reference_are_read_upright_and_in_its_colours() {
    let (files, pillow) = (Files::new(), pillow());
    for name in ["turned", "cmyk", "progressive"] {
        let path = files.write(name, bytes(&pillow["files"][name]));
        let values = picture::read(&path, grid(16, 16, 3), None).unwrap();
        let found = Pixels { width: 16, height: 16, channels: 3, values };
        let worst = difference(&found, &pillow["values"][name]);
        println!("{name}: at most {worst} from Pillow");
        // Decoders of JPEG round in their own ways.
        assert!(worst <= 4, "{name}: {worst}");
    }
}

#[test]
fn an_orientation_in_a_png_is_obeyed() {
    let mut file = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
    let turn =
        [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0".as_slice(), &[0; 4]].concat();
    encoder.set_exif_metadata(turn).unwrap();
    let size = (WIDTH as u32, HEIGHT as u32);
    encoder.write_image(&pixels().values, size.0, size.1, ExtendedColorType::Rgb8).unwrap();
    let files = Files::new();
    let path = files.write("a.png", &file);
    let values = picture::read(&path, grid(HEIGHT, WIDTH, 3), None).unwrap();
    let found = Pixels { width: HEIGHT, height: WIDTH, channels: 3, values };
    assert_eq!(difference(&found, &pillow()["values"]["upright 6"]), 0);
}

#[test]
fn cut_and_foreign_pictures_are_refused_by_name() {
    let files = Files::new();
    let refused = |name: &str, bytes: &[u8], word: &str| {
        let path = files.write(name, bytes);
        let error = picture::read(&path, grid(16, 16, 3), None).unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains(name) && message.contains(word), "{message}");
    };
    let progressive = bytes(&pillow()["files"]["progressive"]);
    for whole in [jpeg(16), progressive] {
        for end in [whole.len() - 1, whole.len() - 9, whole.len() / 2, 30, 3] {
            refused("cut.jpg", &whole[..end], "");
        }
    }
    let whole = png(ExtendedColorType::Rgb8, [16, 16], &[7; 768]);
    // The last chunk is empty: without it the picture is whole.
    for end in 1..whole.len() - 12 {
        refused("cut.png", &whole[..end], "");
    }
    let pgm = [b"P5 16 16 255\n".as_slice(), &[1; 200]].concat();
    refused("cut.pgm", &pgm, "");
    refused("a.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "WebP");
    refused("a.gif", b"GIF89a", "Gif");
    refused("a.txt", b"no picture", "PNG, JPEG and PNM");
    refused("empty.png", b"", "PNG, JPEG and PNM");
    refused("large.ppm", b"P6 65000 65000 255\n", "too large");
    refused("b.png", &png(ExtendedColorType::L8, [4, 5], &[0; 20]), "4 by 5");
}

#[test]
fn a_folder_has_its_pictures_and_nothing_else() {
    let files = Files::new();
    let picture = png(ExtendedColorType::L8, [8, 6], &[7; 48]);
    for name in ["no/2.png", "no/1.JPG", "yes/a", "yes/b.png"] {
        files.write(name, &picture);
    }
    for name in
        ["yes/.DS_Store", "yes/._b.png", "no/Thumbs.db", "no/list.csv", ".git/a.png", "readme"]
    {
        files.write(name, b"Bud1");
    }
    let found = Folder::read(files.0.path()).unwrap();
    let names = |class: &coda_converter::folder::Class| {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        (class.name.clone(), class.pictures.iter().map(name).collect::<Vec<_>>().join(" "))
    };
    let classes: Vec<_> = found.classes.iter().map(names).collect();
    let expected = [("no", "1.JPG 2.png"), ("yes", "a b.png")];
    assert_eq!(classes, expected.map(|(name, list)| (name.to_owned(), list.to_owned())));
    assert_eq!(found.passed_over, 6);
    let Tiny { base, task, .. } = Tiny::vit();
    let packages = Packages::of(&base, &task, WeightType::F32, "").unwrap();
    let set =
        dataset::read(files.0.path(), Reading::default(), &packages.model().unwrap()).unwrap();
    let labels: Vec<usize> = set.samples.iter().map(|sample| sample.label).collect();
    // The classes of the model are yes, no, perhaps.
    assert_eq!((labels, set.passed_over), (vec![1, 1, 0, 0], 6));
    assert_eq!(set.samples[0].input, SampleInput::Pixels(vec![7; 6 * 8 * 3]));
}

#[test]
fn folders_that_hide_pictures_are_refused_by_name() {
    let picture = png(ExtendedColorType::L8, [8, 6], &[7; 48]);
    for (entries, words) in [
        (&["a/1.png", "b/list.txt"][..], &["b", "no picture"][..]),
        (&["a/1.png", "a/more/1.png"], &["more", "a folder in a class folder"]),
        (&["1.png", "2.png"], &["no class folder"]),
    ] {
        let files = Files::new();
        for entry in entries {
            let text = entry.ends_with("txt");
            files.write(entry, if text { b"a text".as_slice() } else { &picture });
        }
        let message = format!("{:#}", Folder::read(files.0.path()).unwrap_err());
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    }
    #[cfg(unix)]
    {
        let files = Files::new();
        files.write("a/1.png", &picture);
        std::os::unix::fs::symlink(files.0.path(), files.0.path().join("a/up")).unwrap();
        let message = format!("{:#}", Folder::read(files.0.path()).unwrap_err());
        assert!(message.contains("a folder in a class folder"), "{message}");
    }
}
