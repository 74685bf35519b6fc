//! A sound as words, for `coda run`.

use super::write::{Shown, print_reserved};
use anyhow::{Result, ensure};
use coda_converter::answer::Writer;
use coda_converter::draw::Trace;
use coda_converter::say;
use coda_converter::sound::Sound;
use coda_converter::speech::{Hearing, Segment, Spoken, Transcript, Window, transcribe};
use coda_runtime::audio::{Context, SAMPLE_RATE};
use coda_runtime::routing::Budget;
use serde_json::{Value, json};
use std::time::Duration;

/// Samples of the longest sound that is read: two hours.
pub(super) const LONGEST: usize = 2 * 3600 * SAMPLE_RATE;
/// That the end of a sound was not read.
pub(super) const CUT: &str = "the sound is longer than two hours: its end was not read";

/// What is written of a sound.
#[derive(Debug, clap::Args)]
pub(super) struct HearingArguments {
    /// Print when the words are said; a sound that is longer than the model reads has its times anyway
    #[arg(long, requires = "audio")]
    times: bool,
    /// The language that is spoken, as `en`; `auto` finds it. What the package says if not given
    #[arg(long, value_name = "CODE", requires = "audio")]
    language: Option<String>,
    /// Write English, whatever is spoken
    #[arg(long, requires = "audio")]
    translate: bool,
}

impl HearingArguments {
    pub(super) fn how(&self, longest: Option<usize>, context: Context) -> Hearing {
        let spoken = spoken(self.language.as_deref());
        let Self { times, translate, .. } = *self;
        Hearing { spoken, translate, times, context, longest: longest.unwrap_or(0) }
    }

    /// They say nothing of a package without times and languages.
    pub(super) fn refuse(&self) -> Result<()> {
        ensure!(
            !self.times && !self.translate && self.language.is_none(),
            "--times, --language and --translate are for packages that say which ids are times and languages: \
             those of a Whisper that this version packed"
        );
        Ok(())
    }
}

/// The language that `--language` names.
pub(super) fn spoken(language: Option<&str>) -> Spoken {
    match language {
        None => Spoken::OfPackage,
        Some("auto") => Spoken::Found,
        Some(code) => Spoken::Code(code.to_owned()),
    }
}

/// A sound that is to be written.
pub(super) struct Asked {
    pub(super) how: Hearing,
    pub(super) json: bool,
}

impl Asked {
    /// Hears a sound, and shows its words as they come: token by token, or where they have times line by line.
    pub(super) fn run(
        &self,
        writer: &mut Writer<'_>,
        sound: &Sound,
        mut shown: Shown<'_>,
        budget: impl Fn(usize) -> Result<Budget<'static>>,
        trace: &mut Trace,
    ) -> Result<Transcript> {
        let window = writer.model().max_tokens().unwrap_or(0) * coda_runtime::audio::POSITION;
        let lines = self.how.times || sound.samples.len() > window;
        let grown = |tokens: &[u32]| if lines { Ok(()) } else { shown.grow(tokens) };
        let said = |segment: &Segment| {
            if lines && !self.json {
                say!("{}", line(segment));
            }
            Ok(())
        };
        let samples = &sound.samples;
        let found = transcribe(writer, samples, &self.how, budget, trace, grown, said)?;
        if let ([window], false) = (&found.windows[..], lines) {
            shown.finish(&window.heard.answer.tokens)?;
        }
        Ok(found)
    }
}

/// `[0:01.20 - 0:03.44] the words`
fn line(segment: &Segment) -> String {
    let [start, end] = [segment.start, segment.end].map(clock);
    format!("[{start} - {end}] {}", say::escaped(segment.text.trim()))
}

/// Minutes and seconds, hours before them where there are any.
pub(super) fn clock(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round() as u64;
    let (minutes, rest) = (hundredths / 6000, hundredths % 6000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    let rest = format!("{:02}.{:02}", rest / 100, rest % 100);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest}") } else { format!("{minutes}:{rest}") }
}

/// What a reader should know of what was heard.
pub(super) fn notes(found: &Transcript) -> Vec<String> {
    let all = &found.windows;
    let silent = |window: &&Window| window.heard.answer.tokens.is_empty();
    let mut notes = Vec::new();
    if all.iter().all(|window| silent(&window)) {
        let least = all.iter().map(|window| window.heard.no_speech).fold(1.0, f32::min);
        notes.push(format!("nobody speaks ({:.0} % sure)", 100.0 * least));
    }
    for Window { start, heard, .. } in all.iter().filter(|window| window.heard.looped) {
        let said = heard.answer.tokens.len();
        notes.push(format!(
            "from {} the answer says the same again and again: it was ended behind {said} tokens",
            clock(*start)
        ));
    }
    notes
}

fn total(found: &Transcript, part: impl Fn(&Window) -> Duration) -> f64 {
    1000.0 * found.windows.iter().map(part).sum::<Duration>().as_secs_f64()
}

/// How the words were made.
pub(super) fn print(found: &Transcript, kernels: &str) {
    let all = &found.windows;
    let Some(last) = all.last() else { return };
    let seconds = last.start + last.seconds;
    let encoder = total(found, |window| window.heard.answer.encoding);
    let rest = total(found, |window| window.heard.answer.first + window.heard.answer.rest);
    let tokens: usize = all.iter().map(|window| window.heard.answer.steps).sum();
    let windows =
        if all.len() == 1 { "1 window".to_owned() } else { format!("{} windows", all.len()) };
    let language = last.heard.language.as_ref();
    let language = language.map_or_else(String::new, |code| format!(", {}", say::escaped(code)));
    say!(
        "{seconds:.2} s of sound in {windows}{language}, {kernels} kernels; encoder and first look {encoder:.1} ms, \
         {tokens} tokens {rest:.1} ms (one run)"
    );
    if let [window] = &all[..] {
        print_reserved(&window.heard.answer);
    }
}

/// The fields of what was heard.
pub(super) fn to_json(found: &Transcript, notes: &[String], trace: Option<&Trace>) -> Value {
    let windows = found.windows.iter().map(|window| {
        let heard = &window.heard;
        json!({
            "start": window.start,
            "seconds": window.seconds,
            "positions": window.positions,
            "ids": heard.answer.tokens,
            "ended": heard.answer.ended,
            "looped": heard.looped,
            "no_speech": heard.no_speech,
            "language": heard.language,
            "score": heard.answer.score,
            "encoder_ms": 1000.0 * heard.answer.encoding.as_secs_f64(),
            "answer_ms": 1000.0 * (heard.answer.first + heard.answer.rest).as_secs_f64(),
        })
    });
    json!({
        "text": found.text(),
        "segments": found.segments,
        "windows": windows.collect::<Vec<_>>(),
        "notes": notes,
        "selected": trace.map(|trace| &trace.layers),
    })
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!([0.0, 61.239, 3725.5].map(clock), ["0:00.00", "1:01.24", "1:02:05.50"]);
    }
}
