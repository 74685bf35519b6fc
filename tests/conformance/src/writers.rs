//! Whole answers: golden packages of models that write, and the tokens and bits that they must give.

use crate::golden::{GoldenError, golden, quoted, read_list, words};
use coda_runtime::Generator;
use coda_runtime::decoder::{Search, StepObserver};
use coda_runtime::executor::Input;
use coda_runtime::format::Package;
use coda_runtime::kernels::Kernels;
use coda_runtime::memory::{AnswerCapacity, Capacity, GenerationPlan, Plan};
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;

/// Longest input, in token ids or values of patches.
const LONGEST: usize = 1024;

/// Runs every golden model with `table`; returns the number of answers.
pub(crate) fn check(table: &'static Kernels, arena: &mut [u8]) -> Result<usize, GoldenError> {
    let all: [(&'static str, &'static [u8], &'static str); 2] =
        [golden!("writers/t5-int8-v1.2"), golden!("writers/trocr-f16-v1.2")];
    let mut answers = 0;
    for (model, package, text) in all {
        let problem = |problem| GoldenError { table: table.name, model, problem };
        answers += check_one(table, package, text, arena).map_err(problem)?;
    }
    Ok(answers)
}

/// Compares the logits of the first hypothesis with those expected.
struct Logits<E> {
    expected: E,
    same: bool,
}

impl<E: Iterator<Item = Option<u32>>> StepObserver for Logits<E> {
    fn logits(&mut self, row: usize, _: usize, values: &[f32]) {
        for value in values.iter().filter(|_| row == 0) {
            self.same &= self.expected.next() == Some(Some(value.to_bits()));
        }
    }
}

fn check_one(
    table: &'static Kernels,
    bytes: &'static [u8],
    text: &'static str,
    arena: &mut [u8],
) -> Result<usize, &'static str> {
    let package = Package::parse(bytes).map_err(|_| "the package does not parse")?;
    let model = Model::from_package(&package).map_err(|_| "the package does not bind")?;
    let (mut ids, mut patches) = ([0u32; LONGEST], [0f32; LONGEST]);
    let ids = read_list(text, "\"ids\"", &mut ids).ok_or("no token ids")?;
    let mut values = 0;
    for (slot, bits) in patches.iter_mut().zip(words(text, "\"patches\":").flatten()) {
        (*slot, values) = (f32::from_bits(bits), values + 1);
    }
    let input =
        if ids.is_empty() { Input::Patches(&patches[..values]) } else { Input::tokens(ids) };
    let tokens = if ids.is_empty() { model.max_tokens() } else { Some(ids.len()) };
    let capacity = Capacity::any_budget(tokens.ok_or("no length")?);
    let encoder = Plan::new(&model.dimensions(), capacity).map_err(|_| "no plan")?;
    let decoder = model.decoder().ok_or("no decoder")?.dimensions();
    let mut answers = 0;
    for answer in text.split("\"reduction\":").skip(1) {
        let number =
            |name: &str| answer.split_once(name)?.1.split([',', '\n']).next()?.trim().parse().ok();
        let reduction = answer.split(',').next().and_then(|r| r.trim().parse().ok());
        let budget = Budget::Reduction(reduction.ok_or("no reduction")?);
        let beams = number("\"beams\":").ok_or("no beams")?;
        let longest = number("\"longest\":").ok_or("no length")?;
        let capacity = AnswerCapacity { positions: longest + 1, beams };
        let plan = GenerationPlan::new(encoder, &decoder, capacity).map_err(|_| "no plan")?;
        let mut generator =
            Generator::new(&model, table, plan, arena).map_err(|_| "the arena does not fit")?;
        let search = Search { longest, beams, ..Search::OF_PACKAGE };
        let found = generator.generate(input, budget, &search).map_err(|_| "it is refused")?;
        let mut found = found;
        let mut logits = Logits { expected: words(answer, "\"logits\":"), same: true };
        while found.step_observed(&mut logits).map_err(|_| "it is not finite")? {}
        let tokens = found.tokens().iter().map(|id| Some(*id));
        let score = quoted(answer, "\"score\":").ok_or("no score")?;
        let score = u32::from_str_radix(score, 16).ok();
        if !logits.same || !tokens.eq(words(answer, "\"tokens\":")) {
            return Err("other logits or tokens");
        }
        if found.score().map(f32::to_bits) != score {
            return Err("another score");
        }
        answers += 1;
    }
    if answers == 0 { Err("no answers") } else { Ok(answers) }
}
