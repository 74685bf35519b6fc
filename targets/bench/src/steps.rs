//! What each part of one inference costs: an observer that reads the counter between layers.

use crate::report::{Console, Row};
use crate::{Bench, BenchError, Counter};
use coda_runtime::executor::{Executor, Input, Observer};
use coda_runtime::routing::Budget;
use coda_runtime::tensor::Matrix;

/// Embedding, layers and head; layers beyond are not told apart from the last.
const STEPS: usize = 34;

struct Steps<'c, C> {
    counter: &'c mut C,
    last: u64,
    counts: [u64; STEPS],
    found: usize,
}

impl<C: Counter> Steps<'_, C> {
    fn end(&mut self) {
        let now = self.counter.now();
        let slot = self.found.min(STEPS - 1);
        if let Some(count) = self.counts.get_mut(slot) {
            *count += now.saturating_sub(self.last);
        }
        self.found += 1;
        self.last = self.counter.now();
    }
}

impl<C: Counter> Observer for Steps<'_, C> {
    fn embedded(&mut self, _: Matrix<'_>) {
        self.end();
    }

    fn layer(&mut self, _: usize, _: Matrix<'_>) {
        self.end();
    }
}

impl<C: Counter, O: Console> Bench<'_, C, O> {
    /// A row for the embedding, each layer, and the head; the least of all runs, part by part.
    pub(crate) fn steps(
        &mut self,
        executor: &mut Executor<'_, '_>,
        input: Input<'_>,
        budget: Budget<'_>,
        row: Row<'_>,
    ) -> Result<(), BenchError> {
        let (mut least, mut found) = ([u64::MAX; STEPS], 0);
        for _ in 0..self.runs {
            let last = self.counter.now();
            let mut steps = Steps { counter: self.counter, last, counts: [0; STEPS], found: 0 };
            executor.run_observed(input, budget, &mut steps)?;
            steps.end();
            found = steps.found.min(STEPS);
            for (least, count) in least.iter_mut().zip(steps.counts) {
                *least = count.min(*least);
            }
        }
        for (step, count) in least.into_iter().enumerate().take(found) {
            let name = match step {
                0 => "embedding",
                _ if step + 1 == found => "head",
                _ => "layer",
            };
            let layer = (name == "layer").then(|| step - 1);
            let count = count.saturating_sub(self.overhead);
            self.report.row(&Row { group: "layer", name, layer, count, ..row })?;
        }
        Ok(())
    }
}
