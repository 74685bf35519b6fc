//! How an answer is generated, as `generation_config.json` and, where it says nothing, `config.json` have it.

use super::answer_fields::{Fields, JsonFile};
use super::error::SourceError;
use super::opening::Speech;
use super::speech::{SpeechFields, SpeechIds};
use coda_runtime::config::{Config, Embedding};
use coda_runtime::format::{GenerationRules, IdList, encode_generation, limits};
use serde_json::Value;

/// New tokens of an answer where no file says how many (ours).
const LONGEST: usize = 128;

/// How an answer is generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Ids that an answer begins with.
    pub start: Vec<u32>,
    /// The id that ends it.
    pub end: u32,
    /// Ids that never follow, ascending.
    pub suppressed: Vec<u32>,
    /// Ids that do not come first, ascending.
    pub suppressed_first: Vec<u32>,
    /// Most new tokens.
    pub longest: usize,
    /// Hypotheses.
    pub beams: usize,
    /// A hypothesis' log-probability is divided by its length to this power.
    pub length_penalty: f32,
    /// Factor on a row of the token table.
    pub embedding_scale: f32,
    /// Factor on the logits.
    pub logit_scale: f32,
    /// What the ids of a model of speech stand for.
    pub speech: Option<SpeechIds>,
}

impl Fields<'_> {
    /// A list of ids and others, ascending.
    fn ascending(
        &self,
        field: &str,
        others: impl Iterator<Item = u32>,
    ) -> Result<Vec<u32>, SourceError> {
        let mut ids = self.ids(field)?;
        ids.extend(others);
        ids.sort_unstable();
        ids.dedup();
        if ids.len() > limits::IDS {
            let index = self.find(field).map_or(0, |(index, _)| index);
            let most = limits::IDS;
            return Err(self.problem(index, format!("field \"{field}\": more than {most} ids")));
        }
        Ok(ids)
    }

    /// What an answer begins with.
    fn start(&self, speech: &SpeechFields) -> Result<Vec<u32>, SourceError> {
        let mut start = self.ids("decoder_start_token_id")?;
        if start.is_empty() {
            start = self.ids("bos_token_id")?;
        }
        start.extend(self.ids("forced_bos_token_id")?);
        if start.len() == 1 {
            start.extend(speech.behind_start());
        }
        if start.len() > limits::IDS {
            let most = limits::IDS;
            return Err(self.problem(1, format!("an answer begins with more than {most} ids")));
        }
        Ok(start)
    }

    /// Most new tokens; `max_length` counts those that an answer begins with.
    fn longest(&self, start: usize) -> Result<usize, SourceError> {
        if let Some(longest) = self.get("max_new_tokens")? {
            return Ok(longest);
        }
        let all = self.get::<usize>("max_length")?;
        Ok(all.map_or(LONGEST, |all| all.saturating_sub(start)))
    }

    fn beams(&self) -> Result<usize, SourceError> {
        let beams = self.get("num_beams")?.unwrap_or(1);
        if (1..=limits::BEAMS).contains(&beams) {
            return Ok(beams);
        }
        let index = self.find("num_beams").map_or(1, |(index, _)| index);
        let most = limits::BEAMS;
        Err(self.problem(index, format!("\"num_beams\" is {beams}, not 1 to {most}")))
    }

    fn length_penalty(&self) -> Result<f32, SourceError> {
        let penalty: f32 = self.get("length_penalty")?.unwrap_or(1.0);
        if penalty.is_finite() {
            return Ok(penalty);
        }
        let index = self.find("length_penalty").map_or(1, |(index, _)| index);
        Err(self.problem(index, "\"length_penalty\" is beyond 32 bits".to_owned()))
    }
}

impl Generation {
    /// What the two files say, of which the second is `config.json`.
    ///
    /// # Errors
    /// A field of another type, one that changes the answer and is not done, several ends, or none.
    pub(super) fn read(
        files: [JsonFile<'_>; 2],
        config: &Config,
        speech: Speech,
    ) -> Result<Self, SourceError> {
        let fields = Fields { files };
        fields.check()?;
        let speech = SpeechFields::read(&fields, speech)?;
        let start = fields.start(&speech)?;
        let ends = fields.ids("eos_token_id")?;
        let (&[_, ..], &[end]) = (&start[..], &ends[..]) else {
            let problem = format!(
                "an answer needs \"decoder_start_token_id\" and one \"eos_token_id\": found \
                 {start:?} and {ends:?}"
            );
            return Err(fields.problem(1, problem));
        };
        let vocabulary = match config.embedding {
            Embedding::Tokens { vocabulary, .. } => vocabulary,
            _ => 0,
        };
        let timestamps = speech.timestamps(&start, vocabulary as u32);
        let room = config.max_tokens().unwrap_or(limits::POSITIONS);
        let room = room.saturating_sub(start.len()).max(1);
        Ok(Self {
            end,
            suppressed: fields.ascending("suppress_tokens", timestamps)?,
            suppressed_first: fields.ascending("begin_suppress_tokens", 0..0)?,
            longest: fields.longest(start.len())?.clamp(1, room),
            beams: fields.beams()?,
            length_penalty: fields.length_penalty()?,
            embedding_scale: 1.0,
            logit_scale: 1.0,
            speech: speech.ids(&start, vocabulary as u32),
            start,
        })
    }

    /// A search with several hypotheses ends when as many have ended; a directory that says otherwise
    /// (`early_stopping`) means another one, which may find another answer.
    pub(super) fn note(&self, files: [JsonFile<'_>; 2]) -> Option<String> {
        let says = files.iter().find_map(|file| file.get("early_stopping"));
        (self.beams > 1 && says != Some(&Value::Bool(true))).then(|| {
            format!(
                "num_beams = {}: a search ends when as many hypotheses have ended (early_stopping)",
                self.beams
            )
        })
    }

    /// The bytes of the section.
    pub(crate) fn section(&self) -> Vec<u8> {
        let none = IdList::default();
        let rules = GenerationRules {
            embedding_scale: self.embedding_scale,
            logit_scale: self.logit_scale,
            end: self.end,
            longest: self.longest,
            beams: self.beams,
            length_penalty: self.length_penalty,
            start: none,
            suppressed: none,
            suppressed_first: none,
        };
        encode_generation(&rules, [&self.start, &self.suppressed, &self.suppressed_first]).collect()
    }
}
