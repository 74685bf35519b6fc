//! What the tokens of an answer cost on this machine: measured and fitted.

use crate::answer::Writer;
use crate::bench::input;
use crate::calibrate::{
    TokenCosts, WARM_UP, check_error, lengths, margin_of, non_negative_least_squares,
};
use crate::dataset::SampleInput;
use crate::evaluate::median;
use crate::session::{Session, worse};
use anyhow::{Context, Result, ensure};
use coda_runtime::decoder::{AnswerCosts, Search};
use coda_runtime::model::{AnswerMacs, AnswerSize, Model};
use coda_runtime::routing::{Budget, TOKEN_GROUP};
use std::time::Instant;

/// Costs of steps that are fitted together: weights, rows, keys.
const COSTS: usize = 3;
/// Fewest steps of an answer that says what a step costs.
const FEWEST_STEPS: usize = 2;

/// One kind of answer, and the times that it took.
struct Point {
    input: SampleInput,
    longest: usize,
    beams: usize,
    macs: AnswerMacs,
    /// The encoder alone, nanoseconds.
    encoder: Vec<f64>,
    /// The encoder, and its states as keys and values.
    encoding: Vec<f64>,
    /// All steps.
    steps: Vec<f64>,
}

impl Point {
    fn columns(&self) -> [f64; COSTS] {
        let AnswerMacs { weights, rows, keys, .. } = self.macs;
        [weights as f64, rows as f64, keys as f64]
    }

    /// What the memory took, the rest of two medians.
    fn memory(&self) -> f64 {
        (median(self.encoding.clone()) - median(self.encoder.clone())).max(0.0)
    }
}

/// Answers of [`calibrate`], for a progress bar.
#[must_use]
pub fn steps(model: &Model<'_>, tokens: usize, rounds: usize) -> usize {
    (WARM_UP + rounds) * lengths(model, tokens).len() * 4
}

/// Measures answers of up to `longest` tokens to inputs of up to `tokens` tokens, with one hypothesis and with
/// as many as the writer's plan holds, and fits their costs. `progress` is called after each.
///
/// # Errors
/// The model has no such input; its answers end at once; the costs predict badly.
pub fn calibrate(
    writer: &mut Writer<'_>,
    session: &mut Session<'_>,
    tokens: usize,
    longest: usize,
    rounds: usize,
    mut progress: impl FnMut(),
) -> Result<TokenCosts> {
    let model = session.model();
    let mut points = Vec::new();
    for length in lengths(model, tokens) {
        let input = input(model, model.patch_grid().is_none().then_some(length))?;
        for longest in [longest.div_ceil(2), longest] {
            for beams in [1, writer.plan().answer().beams] {
                points.push(Point::new(input.clone(), longest, beams));
            }
        }
    }
    for round in 0..WARM_UP + rounds {
        for point in &mut points {
            point.measure(writer, session, round >= WARM_UP)?;
            progress();
        }
    }
    let costs = fit(&points);
    check_error(costs.worst_error).context("measure again on a quiet machine, with more --runs")?;
    Ok(costs)
}

impl Point {
    fn new(input: SampleInput, longest: usize, beams: usize) -> Self {
        let macs = AnswerMacs { memory: 0, weights: 0, rows: 0, keys: 0 };
        let (encoder, encoding, steps) = (Vec::new(), Vec::new(), Vec::new());
        Self { input, longest, beams, macs, encoder, encoding, steps }
    }

    /// One answer, and the encoder's inference beside it, of few tokens so that it hides nothing.
    fn measure(
        &mut self,
        writer: &mut Writer<'_>,
        session: &mut Session<'_>,
        counts: bool,
    ) -> Result<()> {
        let model = session.model();
        let decoder = model.decoder().context("the model has no decoder: it does not write")?;
        let budget = Budget::Selected(TOKEN_GROUP.min(self.input.tokens(model)));
        let search = Search { longest: self.longest, beams: self.beams, ..Search::OF_PACKAGE };
        let start = Instant::now();
        session.run(self.input.as_input(), budget, &mut (), |_| ())?;
        let encoder = start.elapsed();
        let answer = writer.run(self.input.as_input(), budget, &search, &mut (), |_| Ok(()))?;
        ensure!(
            answer.steps >= FEWEST_STEPS.min(self.longest),
            "the answer to the made-up input ends at once: its tokens cannot be timed"
        );
        self.macs = decoder.answer_macs(AnswerSize {
            tokens: self.input.tokens(model),
            start: decoder.rules().start.len(),
            longest: answer.steps,
            beams: self.beams,
        });
        if counts {
            self.encoder.push(encoder.as_nanos() as f64);
            self.encoding.push(answer.encoding.as_nanos() as f64);
            self.steps.push((answer.first + answer.rest).as_nanos() as f64);
        }
        Ok(())
    }
}

/// The costs that are closest to the medians, none of them negative, each point by its relative error.
fn fit(points: &[Point]) -> TokenCosts {
    let row = |point: &Point| {
        let time = median(point.steps.clone());
        point.columns().map(|column| column / time)
    };
    let rows: Vec<[f64; COSTS]> = points.iter().map(row).collect();
    let (costs, left) = non_negative_least_squares(&rows, &vec![1.0; points.len()]);
    let worst_error = left.iter().fold(0.0, |worst, left| worse(worst, left.abs())) as f32;
    let row = |point: &Point| [point.macs.memory as f64];
    let rows: Vec<[f64; 1]> = points.iter().map(row).collect();
    let times: Vec<f64> = points.iter().map(Point::memory).collect();
    let ([memory], _) = non_negative_least_squares(&rows, &times);
    let [weight, row, key] = costs.map(|cost| cost as f32);
    let model = AnswerCosts { memory: memory as f32, weight, row, key, margin: 0.0 };
    let excess = points.iter().flat_map(|point| {
        let steps = AnswerMacs { memory: 0, ..point.macs };
        let predicted = f64::from(model.predict(&steps));
        point.steps.iter().map(move |time| time / predicted - 1.0)
    });
    let margin = margin_of(excess.collect());
    let AnswerCosts { memory, weight, row, key, .. } = model;
    TokenCosts { memory, weight, row, key, margin, worst_error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_finds_the_costs_that_made_the_times() {
        let made = AnswerCosts { memory: 0.05, weight: 0.2, row: 0.03, key: 0.1, margin: 0.0 };
        let mut points = Vec::new();
        for (n, longest, beams) in
            [(64u64, 4u64, 1u64), (64, 8, 1), (64, 8, 4), (256, 4, 4), (256, 8, 1)]
        {
            let weights = longest * 50_000;
            let rows = (beams - 1) * weights;
            let keys = beams * longest * (n + longest) * 256;
            let macs = AnswerMacs { memory: n * 20_000, weights, rows, keys };
            let steps = f64::from(made.predict(&AnswerMacs { memory: 0, ..macs }));
            let encoding = 9e5 + f64::from(made.memory) * macs.memory as f64;
            let mut point = Point::new(SampleInput::Tokens(Vec::new()), 0, 1);
            point.macs = macs;
            (point.encoder, point.encoding, point.steps) = (vec![9e5], vec![encoding], vec![steps]);
            points.push(point);
        }
        let found = fit(&points);
        assert!(found.worst_error < 1e-3 && found.margin < 1e-3, "{found:?}");
        for (found, made) in [
            (found.memory, made.memory),
            (found.weight, made.weight),
            (found.row, made.row),
            (found.key, made.key),
        ] {
            assert!((found / made - 1.0).abs() < 0.02, "{found} instead of {made}");
        }
    }
}
