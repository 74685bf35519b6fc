//! Sound that arrives, phrase by phrase: where somebody begins and stops to speak, features while they speak.

use crate::answer::{Writer, text_of};
use crate::speech::{Heard, Hearing};
use anyhow::{Context as _, Result, bail};
use coda_runtime::audio::{FRAMES_A_POSITION, LogMel, Mel, POSITION, SAMPLE_RATE};
use coda_runtime::config::Embedding;
use coda_runtime::executor::Input;
use coda_runtime::routing::Budget;
use earshot::Detector;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples that are judged at once: 16 ms.
pub const FRAME: usize = 256;
/// Somebody speaks from the score on that the detector's authors name.
const SPEAKS: f32 = 0.5;
/// And goes on to speak above this (ours: a word may fade).
const GOES_ON: f32 = 0.35;
/// Frames in a row that begin a phrase (ours: a click is none).
const BEGINS: usize = 3;
/// Frames before these that belong to the phrase: 320 ms (ours: words begin softly).
const BEFORE: usize = 20;

/// What was said between two pauses.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// Seconds from the begin of the sound.
    pub start: f64,
    /// Seconds from the begin of the sound, the pause left out.
    pub end: f64,
    /// The words.
    pub text: String,
    /// From the last sample of the pause until the words.
    pub latency: Duration,
    /// What was heard.
    pub heard: Heard,
}

/// How phrases are told apart, and heard.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The silence behind a phrase.
    pub pause: Duration,
    /// How each phrase is heard; without times.
    pub how: Hearing,
}

/// Finds the frames of phrases.
struct Ear {
    detector: Box<Detector>,
    /// Frames in a row in which somebody speaks, or behind which nobody does.
    run: usize,
    /// Samples so far.
    samples: usize,
}

impl Ear {
    fn score(&mut self, frame: &[f32; FRAME]) -> f32 {
        self.samples += FRAME;
        self.detector.predict_f32(frame)
    }

    /// Waits until somebody speaks; the frames that the phrase begins with, or none at the end of the sound.
    fn wait(
        &mut self,
        next: &mut impl FnMut(&mut [f32; FRAME]) -> Result<bool>,
    ) -> Result<Option<VecDeque<[f32; FRAME]>>> {
        let (mut frames, mut frame) = (VecDeque::new(), [0.0; FRAME]);
        self.run = 0;
        while next(&mut frame)? {
            self.run = if self.score(&frame) >= SPEAKS { self.run + 1 } else { 0 };
            frames.push_back(frame);
            if frames.len() > BEFORE + BEGINS {
                frames.pop_front();
            }
            if self.run >= BEGINS {
                self.run = 0;
                return Ok(Some(frames));
            }
        }
        Ok(None)
    }

    /// Frames in a row, with this one, in which nobody speaks.
    fn silence(&mut self, frame: &[f32; FRAME]) -> usize {
        self.run = if self.score(frame) >= GOES_ON { 0 } else { self.run + 1 };
        self.run
    }
}

/// Listens to samples at 16 kHz until `next` has no more: it fills a frame, and says whether there was one. Each
/// phrase is given to `said` as soon as it is written. A phrase that is longer than the model's window is cut there.
///
/// # Errors
/// Those of `next` and `said`, and of [`Writer::hear`].
pub fn listen(
    writer: &mut Writer<'_>,
    listening: &Listening,
    budget: impl Fn(usize) -> Result<Budget<'static>>,
    mut next: impl FnMut(&mut [f32; FRAME]) -> Result<bool>,
    mut said: impl FnMut(&Phrase) -> Result<()>,
) -> Result<()> {
    let model = *writer.model();
    let Embedding::Frames { bins, positions } = model.config().embedding else {
        bail!("the model does not read sound");
    };
    let mel = Mel::of(bins).with_context(|| format!("{bins} mel bins; sound becomes 80 or 128"))?;
    let mut values = vec![0.0; mel.values(positions)];
    let window = positions * POSITION;
    let pause = (listening.pause.as_secs_f64() * SAMPLE_RATE as f64) as usize / FRAME;
    let mut ear = Ear { detector: Detector::default_boxed(), run: 0, samples: 0 };
    let seconds = |samples: usize| samples as f64 / SAMPLE_RATE as f64;
    while let Some(before) = ear.wait(&mut next)? {
        let mut features = LogMel::new(mel, &mut values);
        let mut length = 0;
        for frame in before.iter().skip(before.len().saturating_sub(window / FRAME)) {
            features.push(frame)?;
            length += FRAME;
        }
        let start = ear.samples - length;
        let (mut frame, mut silence) = ([0.0; FRAME], 0);
        while silence < pause.max(1) && length + FRAME <= window && next(&mut frame)? {
            features.push(&frame)?;
            length += FRAME;
            silence = ear.silence(&frame);
        }
        let end = Instant::now();
        let features = features.finish(listening.how.context)?.values;
        let rows = features.len() / bins / FRAMES_A_POSITION;
        let (input, budget) = (Input::Features(features), budget(rows)?);
        let how = Hearing { times: false, ..listening.how.clone() };
        let heard = writer.hear(input, seconds(length), &how, budget, &mut (), |_| Ok(()))?;
        let text = text_of(&model, &heard.answer.tokens)?.trim().to_owned();
        said(&Phrase {
            start: seconds(start),
            end: seconds(start + length - silence.min(pause) * FRAME),
            text,
            latency: end.elapsed(),
            heard,
        })?;
    }
    Ok(())
}
