//! What was read, for the terminal's error stream.

use coda_converter::dataset::{Sample, SampleInput};
use coda_converter::warn;
use coda_trainer::data::{Dataset, Reader};
use std::path::Path;

/// Classes that are listed with their counts.
const LISTED: usize = 20;
/// How many times larger than the smallest class the largest may be before it is told.
const UNEVEN: usize = 50;

/// Says what a set has, and what of it may be a mistake.
pub(super) fn print_read(path: &Path, data: &Dataset, reader: &Reader<'_>) {
    let mut counts = vec![0usize; data.labels.len()];
    for sample in &data.samples {
        counts[sample.label] += 1;
    }
    let pairs = data.labels.iter().zip(&counts).take(LISTED);
    let list: Vec<String> = pairs.map(|(label, count)| format!("{label} {count}")).collect();
    let more = if counts.len() > LISTED { ", ..." } else { "" };
    warn!(
        "read {}: {} samples, {} classes: {}{more}",
        path.display(),
        data.samples.len(),
        counts.len(),
        list.join(", ")
    );
    if reader.reads_texts() {
        print_lengths(&data.samples, data.cut, reader.longest());
    }
    data.notes.iter().for_each(|note| warn!("warning: {note}"));
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    if *least > 0 && most / least >= UNEVEN {
        warn!("warning: the smallest class has {least} samples, the largest {most}");
    }
}

fn print_lengths(samples: &[Sample], cut: usize, longest: usize) {
    let length = |sample: &Sample| match &sample.input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => ids.len(),
        SampleInput::Pixels(_)
        | SampleInput::Patches(_)
        | SampleInput::Features(_)
        | SampleInput::Grid(_) => 0,
    };
    let mut lengths: Vec<usize> = samples.iter().map(length).collect();
    lengths.sort_unstable();
    let at = |index: usize| lengths.get(index).copied().unwrap_or(0);
    let (median, most) = (at(lengths.len() / 2), at(lengths.len().saturating_sub(1)));
    warn!("tokens: median {median}, longest {most}; {cut} texts cut at {longest} tokens");
}

/// Says how a set is parted.
pub(super) fn print_parts(training: usize, held_out: usize) {
    warn!("{training} samples to train with, {held_out} held out for validation");
    if held_out == 0 {
        warn!("warning: nothing is held out: the last weights are taken, not the best");
    }
}
