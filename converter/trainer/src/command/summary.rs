//! What was read, for the terminal's error stream.

use coda_converter::dataset::SampleInput;
use coda_converter::warn;
use coda_trainer::data::{Dataset, Reader, Sample};
use std::path::Path;

/// Classes that are listed with their counts.
const LISTED: usize = 20;
/// How many times larger than the smallest class the largest may be before it is told.
const UNEVEN: usize = 50;

/// Says what a set has, and what of it may be a mistake.
pub(super) fn print_read(path: &Path, data: &Dataset, reader: &Reader<'_>) {
    match reader.writing() {
        None => print_classes(path, data),
        Some(writing) => {
            let lengths = data.samples.iter().map(|sample| sample.answer.len()).collect();
            let (median, most) = median_and_most(lengths);
            let (count, longest) = (data.samples.len(), writing.longest());
            warn!("read {}: {count} answers and what is asked", path.display());
            warn!(
                "tokens of answers: median {median}, longest {most}; {} cut at {longest} tokens",
                data.cut_answers
            );
        }
    }
    if reader.reads_texts() {
        print_lengths(&data.samples, data.cut, reader.longest());
    }
    data.notes.iter().for_each(|note| warn!("warning: {note}"));
    print_uneven(data);
}

fn print_classes(path: &Path, data: &Dataset) {
    let counts = counts(data);
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
}

/// Says so if some classes have far more samples than others.
fn print_uneven(data: &Dataset) {
    let counts = counts(data);
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    if *least > 0 && most / least >= UNEVEN {
        warn!("warning: the smallest class has {least} samples, the largest {most}");
    }
}

/// Samples of each class.
fn counts(data: &Dataset) -> Vec<usize> {
    let mut counts = vec![0usize; data.labels.len()];
    for sample in &data.samples {
        if let Some(count) = counts.get_mut(sample.label) {
            *count += 1;
        }
    }
    counts
}

/// The median and the largest of some lengths.
fn median_and_most(mut lengths: Vec<usize>) -> (usize, usize) {
    lengths.sort_unstable();
    let at = |index: usize| lengths.get(index).copied().unwrap_or(0);
    (at(lengths.len() / 2), at(lengths.len().saturating_sub(1)))
}

fn print_lengths(samples: &[Sample], cut: usize, longest: usize) {
    let length = |sample: &Sample| match &sample.input {
        SampleInput::Tokens(ids) | SampleInput::Typed { ids, .. } => ids.len(),
        SampleInput::Pixels(_)
        | SampleInput::Patches(_)
        | SampleInput::Features(_)
        | SampleInput::Grid(_) => 0,
    };
    let (median, most) = median_and_most(samples.iter().map(length).collect());
    warn!("tokens: median {median}, longest {most}; {cut} texts cut at {longest} tokens");
}

/// Says how a set is parted.
pub(super) fn print_parts(training: usize, held_out: usize) {
    warn!("{training} samples to train with, {held_out} held out for validation");
    if held_out == 0 {
        warn!("warning: nothing is held out: the last weights are taken, not the best");
    }
}
