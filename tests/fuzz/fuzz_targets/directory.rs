//! Any texts as the files of a model directory, and any header of its weights: reading it never panics
//! nor takes much memory, and what is read makes a package.
#![no_main]

use coda_converter::pack::{WeightType, pack_base};
use coda_converter::smooth::smooth;
use coda_converter::source::Base;
use coda_fuzz::hostile::read_everything;
use coda_fuzz::{files, write};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

/// The files in the order of the parts between zero bytes; the header of the weights follows.
const NAMES: [&str; 12] = [
    "config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
];
/// The most bytes of weights.
const MOST: usize = 1 << 20;

/// Writes a safetensors file with this header and as many bytes of weights as a number in it says.
fn write_weights(path: &Path, header: &[u8]) {
    let numbers = header.split(|byte| !byte.is_ascii_digit());
    let numbers =
        numbers.filter_map(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    let data = numbers.filter(|bytes| *bytes <= MOST).max().unwrap_or(0);
    let length = (header.len() as u64).to_le_bytes();
    // Small floats of every type.
    write(path, &[&length, header, &vec![0x3c; data]].concat());
}

fuzz_target!(|bytes: &[u8]| {
    let (directory, header) = files(bytes, &NAMES);
    write_weights(&directory.join("model.safetensors"), header);
    write_weights(&directory.join("2_Dense/model.safetensors"), header);
    let Ok(base) = Base::open(&directory, None) else { return };
    for weights in [WeightType::F32, WeightType::Int8] {
        let Ok(smoothed) = smooth(&base, weights) else { continue };
        let Ok(packed) = pack_base(&smoothed, weights, "") else { continue };
        read_everything(&packed.bytes.parse().expect("a package that was written"));
    }
});
