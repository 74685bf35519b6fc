//! What the answer of a model of speech begins with: start, language, what to do, and that no times follow.

use super::answer_fields::Fields;
use super::error::SourceError;
use super::opening::{Language, Speech};
use std::collections::BTreeMap;
use std::ops::Range;

/// Times that Whisper writes: 0 to 30 s in steps of 0.02 s. Their ids end its vocabulary.
const TIMES: u32 = 1501;

/// The fields of a model of speech; all empty of another.
pub(super) struct SpeechFields {
    /// Ids behind the first, of which the directory or the caller says what they are.
    forced: Vec<u32>,
    /// The id behind which no times follow.
    without_times: Option<u32>,
}

impl SpeechFields {
    /// # Errors
    /// A language or a task that the model does not have, or one that is asked for where it has none.
    pub(super) fn read(fields: &Fields<'_>, asked: Speech) -> Result<Self, SourceError> {
        let without_times: Option<u32> = fields.get("no_timestamps_token_id")?;
        let forced = forced(fields)?;
        let languages: BTreeMap<String, u32> = fields.get("lang_to_id")?.unwrap_or_default();
        let several = fields.get("is_multilingual")?.unwrap_or(!languages.is_empty());
        if !several || languages.is_empty() {
            if asked != Speech::default() {
                let problem = "the model has one language, or does not say which (lang_to_id in \
                               generation_config.json): leave --language and --translate out";
                return Err(fields.problem(0, problem.to_owned()));
            }
            let known = forced.into_iter().map_while(|id| id).collect::<Vec<_>>();
            let forced = if known.is_empty() { without_times.into_iter().collect() } else { known };
            return Ok(Self { forced, without_times });
        }
        let first = |place: usize| forced.get(place).copied().flatten();
        let language = language(fields, &languages, asked.language, first(0))?;
        let task = task(fields, asked.translate, first(1))?;
        let forced = [language, task].into_iter().chain(without_times).collect();
        Ok(Self { forced, without_times })
    }

    /// Ids behind the one that an answer begins with.
    pub(super) fn behind_start(&self) -> &[u32] {
        &self.forced
    }

    /// The ids of times, where the answer begins with the one that says that there are none.
    pub(super) fn timestamps(&self, start: &[u32], vocabulary: u32) -> Range<u32> {
        let behind = |id: u32| id.checked_add(TIMES + 1) == Some(vocabulary);
        let last =
            start.last().copied().filter(|id| Some(*id) == self.without_times || behind(*id));
        last.map_or(0..0, |id| id + 1..vocabulary)
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
fn task(fields: &Fields<'_>, translate: bool, forced: Option<u32>) -> Result<u32, SourceError> {
    let tasks: BTreeMap<String, u32> = fields.get("task_to_id")?.unwrap_or_default();
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
