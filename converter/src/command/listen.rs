//! `coda listen`: what is said, phrase by phrase.

use super::shared::{Compute, PackageFiles, check_reduction, print_notes, reads, reads_sound};
use super::transcribe::{clock, spoken};
use super::write::WriteArguments;
use anyhow::{Context as _, Result, bail, ensure};
use coda_converter::answer::Writer;
use coda_converter::listen::{FRAME, Listening, Phrase, listen};
use coda_converter::speech::Hearing;
use coda_converter::{say, sound};
use coda_runtime::audio::Context;
use coda_runtime::memory::Capacity;
use coda_runtime::routing::Budget;
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Write what is said into a microphone, phrase by phrase
///
/// A phrase ends with a pause, and is written then; its features are made while it is spoken. A build without the
/// feature `microphone` listens to samples that another program records:
/// `arecord -q -t raw -f S16_LE -r 16000 -c 1 | coda listen model.coda --from -`
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    #[command(flatten)]
    files: PackageFiles,
    /// Listen to this sound file in place of the microphone; `-` is raw samples on standard input: 16 kHz, one
    /// channel, 16 bits
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// The silence that ends a phrase
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pause_ms: u16,
    /// The language that is spoken, as `en`; `auto` finds that of each phrase. What the package says if not given
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// Write English, whatever is spoken
    #[arg(long)]
    translate: bool,
    /// Read only as many positions as a phrase fills, for models that were trained so
    #[arg(long)]
    unpadded: bool,
    /// Reduction factor r of every routed layer; the task's own budget if not given
    #[arg(long, value_name = "R")]
    reduction: Option<f32>,
    /// Print one JSON object for each phrase, a line each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

/// Frames of samples, until there are no more.
type Next = Box<dyn FnMut(&mut [f32; FRAME]) -> Result<bool>>;

impl Listen {
    pub(super) fn run(&self) -> Result<()> {
        let files = self.files.read()?;
        let model = self.files.bind(&files)?;
        ensure!(reads_sound(&model), "the model does not listen: {}", reads(&model));
        let decoder = model.decoder().context("the model has no decoder: it does not write")?;
        let most = model.max_tokens().unwrap_or(0);
        let answer = WriteArguments { longest: None, beams: Some(1) }.capacity(&decoder)?;
        let (kernels, threads) = (self.compute.kernels()?, self.compute.threads());
        let capacity = Capacity::any_budget(most);
        let mut writer = Writer::new(&model, kernels, capacity, answer, threads)?;
        let context = if self.unpadded { Context::Exact } else { Context::Padded };
        let how = Hearing {
            context,
            spoken: spoken(self.language.as_deref()),
            translate: self.translate,
            ..Hearing::default()
        };
        let pause = Duration::from_millis(self.pause_ms.into());
        let next = self.source()?;
        if !self.json {
            print_notes(&self.compute.note().into_iter().collect::<Vec<_>>());
        }
        let listening = Listening { pause, how };
        listen(
            &mut writer,
            &listening,
            |rows| self.budget(rows),
            next,
            |phrase| {
                self.print(phrase);
                Ok(())
            },
        )
    }

    fn budget(&self, rows: usize) -> Result<Budget<'static>> {
        let Some(reduction) = self.reduction else { return Ok(Budget::Task) };
        check_reduction(reduction, rows)?;
        Ok(Budget::Reduction(reduction))
    }

    fn print(&self, phrase: &Phrase) {
        let milliseconds = 1000.0 * phrase.latency.as_secs_f64();
        if self.json {
            say!(
                "{}",
                json!({
                    "start": phrase.start,
                    "end": phrase.end,
                    "text": phrase.text,
                    "ids": phrase.heard.answer.tokens,
                    "no_speech": phrase.heard.no_speech,
                    "language": phrase.heard.language,
                    "looped": phrase.heard.looped,
                    "latency_ms": milliseconds,
                })
            );
        } else if !phrase.text.is_empty() {
            let [start, end] = [phrase.start, phrase.end].map(clock);
            let text = say::escaped(&phrase.text);
            say!("[{start} - {end}] {text}  ({milliseconds:.0} ms behind the pause)");
        }
    }

    fn source(&self) -> Result<Next> {
        match self.from.as_deref() {
            Some(path) if path == Path::new("-") => Ok(Box::new(samples_of_input())),
            Some(path) => {
                let sound = sound::read(path, super::transcribe::LONGEST)?;
                let mut rest = sound.samples.into_iter();
                Ok(Box::new(move |frame| Ok(fill(frame, &mut rest))))
            }
            None => microphone(),
        }
    }
}

/// Fills a frame, the last with silence; false if there is no sample.
fn fill(frame: &mut [f32; FRAME], samples: &mut impl Iterator<Item = f32>) -> bool {
    let Some(first) = samples.next() else { return false };
    let rest = std::iter::once(first).chain(samples).chain(std::iter::repeat(0.0));
    frame.iter_mut().zip(rest).for_each(|(slot, sample)| *slot = sample);
    true
}

/// Raw samples of standard input.
fn samples_of_input() -> impl FnMut(&mut [f32; FRAME]) -> Result<bool> {
    let mut input = std::io::stdin().lock();
    move |frame| {
        let (mut bytes, mut found) = ([0_u8; 2 * FRAME], 0);
        while found < bytes.len() {
            match input.read(&mut bytes[found..]) {
                Ok(0) => break,
                Ok(count) => found += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => bail!("cannot read standard input: {error}"),
            }
        }
        ensure!(found % 2 == 0, "standard input ends within a sample of 16 bits");
        let (samples, _) = bytes[..found].as_chunks::<2>();
        let samples = samples.iter().map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 32768.0);
        Ok(fill(frame, &mut samples.into_iter()))
    }
}

#[cfg(not(feature = "microphone"))]
fn microphone() -> Result<Next> {
    bail!(
        "this build has no microphone: build it with `--features microphone` (on Linux that needs ALSA's headers), \
         give --from FILE, or pipe: arecord -q -t raw -f S16_LE -r 16000 -c 1 | coda listen PACKAGE --from -"
    )
}

#[cfg(feature = "microphone")]
fn microphone() -> Result<Next> {
    let mut microphone = sound::Microphone::open()?;
    Ok(Box::new(move |frame| microphone.next(frame)))
}
