//! The files of models that write: a small one with words and what it answers, for the examples in C and the
//! page, and the golden ones with inputs and answers, for the boards.

use super::Files;
use anyhow::{Context, Result};
use coda_converter::answer::{self, Answer, Writer};
use coda_converter::firmware::rust_answer_constants;
use coda_runtime::decoder::Search;
use coda_runtime::executor::Input;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use coda_runtime::text::Detokenizer;
use coda_tests::writers::{self, Answer as Expected, Golden};
use std::fmt::Write;

/// What it is asked. `runtime/capi/examples/write.c` has the same.
const TEXT: &str = "the old cat sat on a mat.";
/// New tokens and hypotheses.
const LONGEST: usize = 12;
const BEAMS: usize = 3;
const REDUCTION: f32 = 2.0;

/// `texts.coda`, `pictures.coda`: models with words; `written.txt`: their answers; `texts.rs`: the
/// plan of the first; `writers.rs`: the golden ones.
pub(super) fn files() -> Result<Files> {
    let packages = [writers::of_texts()?, writers::of_pictures()?];
    let mut written = String::new();
    for package in &packages {
        written += &answers(&Model::from_package(&package.parse()?)?)?;
    }
    // The boards have no feature `frames`, which a model of speech needs.
    let mut all = writers::read_all()?;
    all.retain(|golden| !golden.name.starts_with("whisper"));
    let [texts, pictures] = packages;
    let plan = rust_answer_constants(&plan(&Model::from_package(&texts.parse()?)?)?);
    Ok(vec![
        ("texts.rs".to_owned(), plan.into_bytes()),
        ("texts.coda".to_owned(), texts.to_vec()),
        ("pictures.coda".to_owned(), pictures.to_vec()),
        ("written.txt".to_owned(), written.into_bytes()),
        ("writers.rs".to_owned(), rust_of(&all)?.into_bytes()),
    ])
}

/// For the longest input, and the answers below.
fn plan(model: &Model<'_>) -> Result<GenerationPlan> {
    let tokens = model.max_tokens().context("no longest input")?;
    let answer = AnswerCapacity { positions: LONGEST + 1, beams: BEAMS };
    answer::plan(model, Capacity::any_budget(tokens), answer, 1)
}

/// What a model answers, greedily and with several hypotheses: the lines of the example in C.
fn answers(model: &Model<'_>) -> Result<String> {
    let tokenizer = model.tokenizer().context("no tokenizer")?;
    let mut ids = [0; 64];
    let encoding = tokenizer.encode(TEXT, &mut ids);
    let pixels = model.patch_grid().map(|grid| picture(grid.image_bytes()));
    let input = match &pixels {
        Some(pixels) => Input::Pixels(pixels),
        None => Input::tokens(&ids[..encoding.len]),
    };
    let tokens = model.max_tokens().context("no longest input")?;
    let answer = AnswerCapacity { positions: LONGEST + 1, beams: BEAMS };
    let kernels = Kernels::from_environment()?;
    let mut writer = Writer::new(model, kernels, Capacity::any_budget(tokens), answer, 1)?;
    let mut answer = |beams| -> Result<Answer> {
        let search = Search { longest: LONGEST, beams, ..Search::OF_PACKAGE };
        writer.run(input, Budget::Reduction(REDUCTION), &search, &mut (), |_| Ok(()))
    };
    let (greedy, best) = (answer(1)?, answer(BEAMS)?);
    let mut text = String::new();
    let mut detokenizer = Detokenizer::new(tokenizer);
    greedy.tokens.iter().try_for_each(|id| detokenizer.write(*id, &mut text))?;
    detokenizer.finish(&mut text)?;
    let score = best.score.context("no score")?.to_bits();
    let list = |ids: &[u32]| ids.iter().map(|id| format!(" {id}")).collect::<String>();
    let (first, second) = (list(&greedy.tokens), list(&best.tokens));
    Ok(format!("text: {text}\nids:{first}\nbest:{second}\nscore: {score:08x}\n"))
}

/// The picture of the example in C.
fn picture(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * 37 % 251) as u8).collect()
}

/// The golden models with inputs and answers, as `targets/firmware` compiles them.
fn rust_of(all: &[Golden]) -> Result<String> {
    let mut text = String::new();
    for (index, golden) in all.iter().enumerate() {
        let patches = golden.patches()?;
        let bits = patches.iter().map(|value| format!("f32::from_bits({:#010x})", value.to_bits()));
        writeln!(text, "// SAFETY: read-only data, in flash beside the packages.")?;
        writeln!(text, "#[cfg_attr(target_os = \"none\", unsafe(link_section = \".package\"))]")?;
        let bits = bits.collect::<Vec<_>>().join(", ");
        writeln!(text, "static PATCHES_{index}: [f32; {}] = [{bits}];\n", patches.len())?;
    }
    writeln!(text, "static GOLDEN: [Golden; {}] = [", all.len())?;
    for (index, golden) in all.iter().enumerate() {
        let (name, ids) = (golden.name, &golden.expected.ids);
        writeln!(
            text,
            "    Golden {{ name: \"{name}\", package: &PACKAGE_{index}.0, ids: &{ids:?},"
        )?;
        writeln!(text, "        patches: &PATCHES_{index}, answers: &[")?;
        for Expected { reduction, beams, longest, tokens, score, .. } in &golden.expected.answers {
            let tokens = hexadecimal(tokens)?;
            let score = hexadecimal(score)?.first().copied().unwrap_or(0);
            writeln!(
                text,
                "            Expected {{ reduction: {reduction:?}, beams: {beams}, longest: {longest}, \
                 score: {score:#x}, tokens: &{tokens:?} }},"
            )?;
        }
        writeln!(text, "        ] }},")?;
    }
    writeln!(text, "];")?;
    Ok(text)
}

fn hexadecimal(text: &str) -> Result<Vec<u32>> {
    text.split_whitespace().map(|word| Ok(u32::from_str_radix(word, 16)?)).collect()
}
