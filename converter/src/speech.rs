//! Speech to text: what a model of speech is asked, and sounds of any length, window by window.

use crate::answer::{Answer, Writer, text_of};
use crate::sound::features;
use anyhow::{Context as _, Result, bail, ensure};
use coda_runtime::audio::{Context, POSITION, SAMPLE_RATE};
use coda_runtime::config::Embedding;
use coda_runtime::decoder::{Ending, Search};
use coda_runtime::executor::{Input, Observer};
use coda_runtime::format::SpeechRules;
use coda_runtime::model::Model;
use coda_runtime::routing::Budget;
use serde::Serialize;

/// Nobody speaks if this is likelier, and the words are less likely than [`LEAST_SCORE`] (as Whisper has both), or
/// the same again and again (ours).
const NO_SPEECH: f32 = 0.6;
/// Nobody speaks if this is likelier, whatever the words would be (ours: the words of silence are likely ones).
const SURELY_NO_SPEECH: f32 = 0.9;
/// The mean log-probability of words that count although nobody seems to speak.
const LEAST_SCORE: f32 = -1.0;
/// Most new tokens of a second of sound, and of any sound: a loop of nonsense ends here at the latest (ours).
const TOKENS_A_SECOND: f64 = 12.0;
const TOKENS: f64 = 16.0;
/// Seconds of a step of time.
const STEP: f64 = 0.02;

/// The language that is spoken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Spoken {
    /// What the package says.
    #[default]
    OfPackage,
    /// The likeliest, of a model of several.
    Found,
    /// This one: `en`.
    Code(String),
}

/// How a sound is heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// The language that is spoken.
    pub spoken: Spoken,
    /// English is written, whatever is spoken.
    pub translate: bool,
    /// Words with the times at which they are said.
    pub times: bool,
    /// How much of the window the encoder reads.
    pub context: Context,
    /// Most new tokens of a window; 0 for the package's, or as many as its seconds may hold if that is less.
    pub longest: usize,
}

/// What was heard in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// New tokens, times among them; none where nobody speaks, and what is repeated again and again once.
    pub answer: Answer,
    /// The probability that nobody speaks.
    pub no_speech: f32,
    /// The code of the language, of a model of several.
    pub language: Option<String>,
    /// What was said again and again was cut.
    pub looped: bool,
}

/// Words and when they are said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    /// Seconds from the begin of the sound.
    pub start: f64,
    /// Seconds from the begin of the sound.
    pub end: f64,
    /// The words.
    pub text: String,
    /// Their ids, without times.
    pub ids: Vec<u32>,
}

/// A window of a sound and what was heard in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Seconds from the begin of the sound.
    pub start: f64,
    /// Seconds of sound in it.
    pub seconds: f64,
    /// Positions that the encoder read.
    pub positions: usize,
    /// What was heard.
    pub heard: Heard,
}

/// A sound as words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// In order; no two overlap.
    pub segments: Vec<Segment>,
    /// One after the other; a window begins where the words of the one before it end.
    pub windows: Vec<Window>,
}

impl Transcript {
    /// All words.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.segments.iter().map(|segment| segment.text.trim());
        texts.collect::<Vec<_>>().join(" ")
    }
}

impl Hearing {
    /// The start ids that a package has, with the asked language, task and times in their places.
    fn start(
        &self,
        rules: &SpeechRules<'_>,
        own: &[u32],
        language: Option<u32>,
    ) -> Result<Vec<u32>> {
        let is_language = |id: &u32| rules.languages.iter().any(|(_, own)| own == *id);
        let is_task = |id: &u32| [rules.transcribe, rules.translate].contains(&Some(*id));
        let mut start = vec![rules.start];
        start.extend(language.or_else(|| own.iter().copied().find(is_language)));
        let task = match (self.translate, rules.translate) {
            (true, None) => bail!("the model does not translate: leave --translate out"),
            (true, task) => task,
            (false, _) => own.iter().copied().find(is_task),
        };
        start.extend(task);
        start.extend((!self.times).then_some(rules.without_times));
        Ok(start)
    }

    /// The most new tokens of a sound.
    fn longest(&self, seconds: f64, room: usize) -> usize {
        let of_sound = (TOKENS + TOKENS_A_SECOND * seconds).ceil() as usize;
        if self.longest > 0 { self.longest } else { of_sound.min(room) }
    }
}

impl Writer<'_> {
    /// Hears the features of one window, of `seconds` of sound; `grown` sees the new tokens while somebody
    /// speaks.
    ///
    /// # Errors
    /// As [`Writer::run`]; a package that does not say what its ids stand for, a language that it does not know.
    pub fn hear(
        &mut self,
        input: Input<'_>,
        seconds: f64,
        how: &Hearing,
        budget: Budget<'_>,
        observer: &mut (impl Observer + Send),
        mut grown: impl FnMut(&[u32]) -> Result<()> + Send,
    ) -> Result<Heard> {
        let decoder = self.model().decoder().context("the model does not write")?;
        let rules = *decoder.speech().context(
            "the package does not say which ids are times or languages: pack the model again",
        )?;
        let own = decoder.rules().start.iter().collect::<Vec<_>>();
        let asked = match &how.spoken {
            Spoken::Code(code) => Some(language(&rules, code)?),
            Spoken::Found if rules.languages.is_empty() => {
                bail!("the model has one language: leave --language out")
            }
            _ => None,
        };
        let room = self.plan().answer().positions.saturating_sub(own.len());
        let longest = how.longest(seconds, room);
        let first = Search { start: &[rules.start], longest, ..Search::GREEDY };
        let ids = [rules.no_speech].into_iter().chain(rules.languages.iter().map(|(_, id)| id));
        let ids = ids.collect::<Vec<_>>();
        self.work(|generator, clock| {
            let begun = generator.generate_observed(input, budget, &first, observer)?;
            let (choice, reserved) = (begun.choice(), begun.reserved());
            let mut found = vec![0.0; ids.len()];
            generator.probabilities(&[rules.start], &ids, &mut found)?;
            let (no_speech, found) = (found[0], &found[1..]);
            let likeliest = (0..found.len()).max_by(|a, b| found[*a].total_cmp(&found[*b]));
            let likeliest = likeliest.filter(|_| how.spoken == Spoken::Found);
            let language = asked.or_else(|| likeliest.map(|index| ids[index + 1]));
            let start = how.start(&rules, &own, language)?;
            let spoken = |id: &u32| rules.languages.iter().find(|(_, own)| own == id);
            let code = start.iter().find_map(spoken).map(|(code, _)| code.to_owned());
            if no_speech > SURELY_NO_SPEECH {
                let answer = Answer { choice, reserved, ..clock.nothing() };
                return Ok(Heard { answer, no_speech, language: code, looped: false });
            }
            let perhaps_silent = no_speech > NO_SPEECH;
            let search = Search {
                start: &start,
                longest,
                times: how.times,
                ends_loops: true,
                scored: perhaps_silent,
                ..Search::GREEDY
            };
            let answer = generator.again(&search)?;
            let show = |tokens: &[u32]| if perhaps_silent { Ok(()) } else { grown(tokens) };
            let (mut answer, ending) = clock.finish(answer, show)?;
            (answer.choice, answer.reserved) = (choice, reserved);
            let looped = match ending {
                Some(Ending::Loop { tokens }) => {
                    answer.tokens.truncate(tokens);
                    true
                }
                _ => false,
            };
            let unlikely = answer.score.is_none_or(|score| score < LEAST_SCORE);
            if perhaps_silent && (unlikely || looped) {
                answer.tokens.clear();
            }
            Ok(Heard { answer, no_speech, language: code, looped })
        })
    }
}

/// The id of a language, or which there are.
fn language(rules: &SpeechRules<'_>, code: &str) -> Result<u32> {
    if rules.languages.is_empty() {
        bail!("the model has one language: leave --language out");
    }
    rules.languages.id(code).with_context(|| {
        let known = rules.languages.iter().map(|(code, _)| code).collect::<Vec<_>>();
        format!("the model has no language {code:?}: give auto, or one of {}", known.join(" "))
    })
}

/// Words of a window, in seconds from its begin.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    begin: f64,
    end: f64,
    ids: Vec<u32>,
}

/// The words of a window of `samples` samples by the times among its tokens, and how many samples they cover (as
/// Whisper does it): each time behind words ends them, and the next words begin at the next time. What begins and
/// has no end is heard again in the next window, unless there is nothing else.
fn spans(
    rules: &SpeechRules<'_>,
    tokens: &[u32],
    samples: usize,
    is_last: bool,
) -> (Vec<Span>, usize) {
    let seconds = samples as f64 / SAMPLE_RATE as f64;
    let time = |id: u32| rules.time(id).map(|step| (f64::from(step) * STEP).min(seconds));
    let (mut spans, mut begin, mut ids) = (Vec::new(), 0.0, Vec::new());
    for id in tokens {
        match time(*id) {
            None => ids.push(*id),
            Some(time) => {
                if !ids.is_empty() {
                    let ids = core::mem::take(&mut ids);
                    spans.push(Span { begin, end: time.max(begin), ids });
                }
                begin = time;
            }
        }
    }
    // One time at the end: silence follows, to the end of the window. Two: somebody goes on.
    let is_time = |id: Option<&u32>| id.is_some_and(|id| time(*id).is_some());
    let mut last = tokens.iter().rev();
    let goes_on = !is_time(last.next()) || is_time(last.next());
    let covered = match spans.last() {
        Some(span) if goes_on && !is_last => (span.end / STEP).round() as usize * POSITION,
        _ => samples,
    };
    if !ids.is_empty() && covered == samples {
        spans.push(Span { begin, end: seconds, ids });
    }
    // However wrong the times are, the next window begins later.
    (spans, covered.clamp(POSITION.min(samples), samples))
}

/// Words as a segment of a sound whose window begins at `start` seconds; `None` if they are blank.
fn segment(model: &Model<'_>, start: f64, span: Span) -> Result<Option<Segment>> {
    let Span { begin, end, ids } = span;
    let text = text_of(model, &ids)?;
    let segment = Segment { start: start + begin, end: start + end, text, ids };
    Ok(Some(segment).filter(|segment| !segment.text.trim().is_empty()))
}

/// Hears a sound of any length: at once where it fits the model's window and no times are asked for, else window
/// by window, each beginning where the words of the one before it end. `budget` is that of a window of so many
/// positions; `grown` sees the tokens of a sound that is heard at once, `said` each segment as soon as it is there.
///
/// # Errors
/// As [`Writer::hear`].
pub fn transcribe(
    writer: &mut Writer<'_>,
    samples: &[f32],
    how: &Hearing,
    budget: impl Fn(usize) -> Result<Budget<'static>>,
    observer: &mut (impl Observer + Send),
    mut grown: impl FnMut(&[u32]) -> Result<()> + Send,
    mut said: impl FnMut(&Segment) -> Result<()>,
) -> Result<Transcript> {
    let model = *writer.model();
    let Embedding::Frames { bins, positions } = model.config().embedding else {
        bail!("the model does not read sound");
    };
    ensure!(!samples.is_empty(), "the sound has no samples");
    let rules = model.decoder().and_then(|decoder| decoder.speech().copied());
    let window = positions * POSITION;
    let how = Hearing { times: how.times || samples.len() > window, ..how.clone() };
    let (mut transcript, mut first) = (Transcript::default(), 0);
    while first < samples.len() {
        let rest = &samples[first..];
        let own = &rest[..rest.len().min(window)];
        let start = first as f64 / SAMPLE_RATE as f64;
        let seconds = own.len() as f64 / SAMPLE_RATE as f64;
        let values = features(own, bins, positions, how.context)?;
        let input = Input::Features(&values);
        let rows = values.len() / bins / coda_runtime::audio::FRAMES_A_POSITION;
        let budget = budget(rows)?;
        let heard = writer.hear(input, seconds, &how, budget, observer, &mut grown)?;
        let ids = &heard.answer.tokens;
        let (spans, covered) = match rules.filter(|_| how.times) {
            Some(rules) => spans(&rules, ids, own.len(), rest.len() <= window),
            None => (vec![Span { begin: 0.0, end: seconds, ids: ids.clone() }], own.len()),
        };
        for span in spans {
            if let Some(segment) = segment(&model, start, span)? {
                said(&segment)?;
                transcript.segments.push(segment);
            }
        }
        transcript.windows.push(Window { start, seconds, positions: rows, heard });
        first += covered;
    }
    Ok(transcript)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: SpeechRules<'static> = SpeechRules {
        first_time: 100,
        times: 1501,
        start: 90,
        no_speech: 98,
        without_times: 99,
        latest_start: 50,
        previous: None,
        transcribe: None,
        translate: None,
        languages: coda_runtime::format::Languages::NONE,
    };
    const SECOND: usize = SAMPLE_RATE;

    fn found(tokens: &[u32], is_last: bool) -> (Vec<(f64, f64, Vec<u32>)>, f64) {
        let (spans, covered) = spans(&RULES, tokens, 30 * SECOND, is_last);
        let spans = spans.into_iter().map(|span| (span.begin, span.end, span.ids));
        (spans.collect(), covered as f64 / SECOND as f64)
    }

    /// The id of a time.
    const fn at(seconds: u32) -> u32 {
        100 + 50 * seconds
    }

    #[test]
    fn the_next_window_begins_where_the_last_whole_words_end() {
        let said = [at(0), 1, 2, at(4), at(4), 3, at(20), at(20), 4, 5];
        let whole = vec![(0.0, 4.0, vec![1, 2]), (4.0, 20.0, vec![3])];
        assert_eq!(found(&said, false), (whole.clone(), 20.0));
        // The last window has no next one: what has no end ends with it.
        let all = [whole.clone(), vec![(20.0, 30.0, vec![4, 5])]].concat();
        assert_eq!(found(&said, true), (all, 30.0));
        // An end with nothing behind it: silence.
        assert_eq!(found(&said[..7], false), (whole.clone(), 30.0));
        // A begin behind the end: somebody goes on there.
        assert_eq!(found(&said[..8], false), (whole, 20.0));
    }

    #[test]
    fn words_without_an_end_are_kept_where_there_is_nothing_else() {
        assert_eq!(found(&[at(1), 1, 2], false), (vec![(1.0, 30.0, vec![1, 2])], 30.0));
        assert_eq!(found(&[], false), (vec![], 30.0));
        assert_eq!(found(&[at(3)], false), (vec![], 30.0));
    }

    #[test]
    fn a_window_is_never_heard_twice_whatever_its_times_are() {
        let (spans, covered) = found(&[at(0), 1, at(0), at(0), 2], false);
        assert_eq!(spans, vec![(0.0, 0.0, vec![1])]);
        assert!(covered > 0.0);
        // A time behind the end of the sound is its end.
        assert_eq!(found(&[at(0), 1, 100 + 1500], true).0, vec![(0.0, 30.0, vec![1])]);
    }
}
