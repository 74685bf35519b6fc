//! What the answer of a model of speech begins with: start, language, what to do, and that no times follow.

use super::answer_fields::Fields;
use super::error::SourceError;
use super::opening::{Language, Speech};
use coda_runtime::format::{SpeechRules, encode_speech, limits};
use std::collections::BTreeMap;
use std::ops::Range;

/// Times that Whisper writes: 0 to 30 s in steps of 0.02 s. Their ids end its vocabulary.
const TIMES: u32 = 1501;
/// The first time of an answer is at most so many steps, where no file says how many: 1 s, as Whisper has it.
const LATEST_START: u32 = 50;
/// Before the id behind which no times follow, in every vocabulary of Whisper: the one that says that nobody speaks,
/// and the one before a text that was said before.
const NO_SPEECH: u32 = 1;
const PREVIOUS: u32 = 2;

/// The fields of a model of speech; all empty of another.
pub(super) struct SpeechFields {
    /// Ids behind the first, of which the directory or the caller says what they are.
    forced: Vec<u32>,
    /// The id behind which no times follow.
    without_times: Option<u32>,
    /// Most steps before the first time.
    latest_start: Option<u32>,
    /// The id before a text that was said before.
    previous: Option<u32>,
    /// The ids of its languages, by their names: `<|en|>`; none of a model of one.
    languages: BTreeMap<String, u32>,
    /// The ids of what is done.
    tasks: BTreeMap<String, u32>,
}

/// What the ids of a model of speech stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeechIds {
    /// Of the first id of an answer.
    pub start: u32,
    /// The id behind which no times follow; that of time 0 is the next.
    pub without_times: u32,
    /// Number of times.
    pub times: u32,
    /// Most steps before the first time.
    pub latest_start: u32,
    /// The id before a text that was said before.
    pub previous: Option<u32>,
    /// The id that asks for what is said.
    pub transcribe: Option<u32>,
    /// The id that asks for English.
    pub translate: Option<u32>,
    /// Ids of languages by their codes, filled with zeros.
    pub languages: BTreeMap<[u8; 4], u32>,
}

impl SpeechIds {
    /// The bytes of the section.
    pub(crate) fn section(&self) -> Vec<u8> {
        let rules = SpeechRules {
            start: self.start,
            no_speech: self.without_times - NO_SPEECH,
            without_times: self.without_times,
            first_time: self.without_times + 1,
            times: self.times,
            latest_start: self.latest_start,
            previous: self.previous,
            transcribe: self.transcribe,
            translate: self.translate,
            ..SpeechRules::default()
        };
        encode_speech(&rules, self.languages.iter().map(|(code, id)| (*code, *id))).collect()
    }
}

/// The code of a language: `<|en|>` becomes `en`, filled with zeros.
fn code(name: &str) -> Option<[u8; 4]> {
    let letters = name.strip_prefix("<|")?.strip_suffix("|>")?.as_bytes();
    let is_code = (2..=4).contains(&letters.len()) && letters.iter().all(u8::is_ascii_lowercase);
    let mut code = [0; 4];
    let slots = code.get_mut(..letters.len()).filter(|_| is_code)?;
    slots.copy_from_slice(letters);
    Some(code)
}

impl SpeechFields {
    /// # Errors
    /// A language or a task that the model does not have, or one that is asked for where it has none.
    pub(super) fn read(fields: &Fields<'_>, asked: Speech) -> Result<Self, SourceError> {
        let without_times: Option<u32> = fields.get("no_timestamps_token_id")?;
        let forced = forced(fields)?;
        let languages: BTreeMap<String, u32> = fields.get("lang_to_id")?.unwrap_or_default();
        let several = fields.get("is_multilingual")?.unwrap_or(!languages.is_empty());
        let own = Self {
            forced: Vec::new(),
            without_times,
            latest_start: fields.get("max_initial_timestamp_index")?,
            previous: fields.get("prev_sot_token_id")?,
            languages: BTreeMap::new(),
            tasks: fields.get("task_to_id")?.unwrap_or_default(),
        };
        if !several || languages.is_empty() {
            if asked != Speech::default() {
                let problem = "the model has one language, or does not say which (lang_to_id in \
                               generation_config.json): leave --language and --translate out";
                return Err(fields.problem(0, problem.to_owned()));
            }
            let known = forced.into_iter().map_while(|id| id).collect::<Vec<_>>();
            let forced = if known.is_empty() { without_times.into_iter().collect() } else { known };
            return Ok(Self { forced, ..own });
        }
        let first = |place: usize| forced.get(place).copied().flatten();
        let language = language(fields, &languages, asked.language, first(0))?;
        let task = task(fields, &own.tasks, asked.translate, first(1))?;
        let forced = [language, task].into_iter().chain(without_times).collect();
        Ok(Self { forced, languages, ..own })
    }

    /// Ids behind the one that an answer begins with.
    pub(super) fn behind_start(&self) -> &[u32] {
        &self.forced
    }

    /// The ids of times, where the answer begins with the one that says that there are none.
    pub(super) fn timestamps(&self, start: &[u32], vocabulary: u32) -> Range<u32> {
        self.last_without_times(start, vocabulary).map_or(0..0, |id| id + 1..vocabulary)
    }

    /// The last start id, if no times follow it.
    fn last_without_times(&self, start: &[u32], vocabulary: u32) -> Option<u32> {
        let behind = |id: u32| id.checked_add(TIMES + 1) == Some(vocabulary);
        start.last().copied().filter(|id| Some(*id) == self.without_times || behind(*id))
    }

    /// What the ids stand for; `None` of a model without times.
    pub(super) fn ids(&self, start: &[u32], vocabulary: u32) -> Option<SpeechIds> {
        let last = self.last_without_times(start, vocabulary);
        let without_times = self.without_times.or(last).filter(|id| *id > PREVIOUS)?;
        let times = vocabulary.checked_sub(without_times)?.checked_sub(1)?;
        let is_whisper = times == TIMES;
        let task = |name: &str| self.tasks.get(name).copied();
        let languages = self.languages.iter().filter_map(|(name, id)| Some((code(name)?, *id)));
        let ids = SpeechIds {
            start: *start.first()?,
            without_times,
            times,
            latest_start: self.latest_start.unwrap_or(LATEST_START),
            previous: self.previous.or(is_whisper.then(|| without_times - PREVIOUS)),
            transcribe: task("transcribe"),
            translate: task("translate"),
            languages: languages.take(limits::LANGUAGES).collect(),
        };
        Some(ids).filter(|ids| (1..=TIMES).contains(&ids.times))
    }
}

/// `forced_decoder_ids`: the id of each place from 1 on, null where the caller says it.
fn forced(fields: &Fields<'_>) -> Result<Vec<Option<u32>>, SourceError> {
    let list: Vec<(usize, Option<u32>)> = fields.get("forced_decoder_ids")?.unwrap_or_default();
    let in_order = list.iter().enumerate().all(|(index, (place, _))| *place == index + 1);
    if !in_order {
        let problem = "\"forced_decoder_ids\": supported are the places 1, 2 and so on, in order";
        return Err(fields.problem(0, problem.to_owned()));
    }
    Ok(list.into_iter().map(|(_, id)| id).collect())
}

/// The id of a language: the one asked for, that of the directory, or English.
fn language(
    fields: &Fields<'_>,
    languages: &BTreeMap<String, u32>,
    asked: Option<Language>,
    forced: Option<u32>,
) -> Result<u32, SourceError> {
    let own: Option<String> = fields.get("language")?;
    let name = match (asked, own, forced) {
        (Some(language), _, _) => language.to_string(),
        (None, Some(own), _) => own.trim_matches(['<', '|', '>']).to_owned(),
        (None, None, Some(id)) => return Ok(id),
        (None, None, None) => Language::ENGLISH.to_string(),
    };
    languages
        .get(&format!("<|{name}|>"))
        .copied()
        .ok_or_else(|| fields.problem(0, format!("\"lang_to_id\" has no language {name:?}")))
}

/// The id of what is done: translated to English, or written as it is spoken.
fn task(
    fields: &Fields<'_>,
    tasks: &BTreeMap<String, u32>,
    translate: bool,
    forced: Option<u32>,
) -> Result<u32, SourceError> {
    let own: Option<String> = fields.get("task")?;
    let name = match (translate, own, forced) {
        (true, _, _) => "translate".to_owned(),
        (false, Some(own), _) => own,
        (false, None, Some(id)) => return Ok(id),
        (false, None, None) => "transcribe".to_owned(),
    };
    let unknown = || fields.problem(0, format!("\"task_to_id\" has no task {name:?}"));
    tasks.get(&name).copied().ok_or_else(unknown)
}
