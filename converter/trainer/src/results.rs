//! Records of many trainings: a JSON line for each training and for each evaluation, by name
//! (`TASK/METHOD-sSEED`; a name without a task is of a trial, which stands in no table of its own).
//!
//! The first line of `trainings.jsonl` states the defaults of all settings; a training's own line has
//! those that differ. Which samples were right is kept as the counts in which two trainings differ.

use crate::record::{AtReduction, Origin, Record, TestRecord, Versions};
use crate::settings::Settings;
use anyhow::{Context, Result, bail, ensure};
use coda_converter::output::write_whole;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::de::StrRead;
use serde_json::{Deserializer, Map, Value};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// The trainings, below a directory of results.
const TRAININGS: &str = "trainings.jsonl";
/// The evaluations in the runtime.
const EVALUATIONS: &str = "evaluations.jsonl";
/// What the tasks are called on the page.
const TITLES: &str = "titles.json";

/// Trainings with a router, and what stands before the ways to select that each is compared with.
pub(crate) const LEARNED: [(&str, &str); 3] =
    [("coda", ""), ("short", "short-"), ("short-fitted", "short-")];
/// The ways to select without a router.
pub(crate) const UNLEARNED: [&str; 3] = ["random", "first", "every"];

/// What all trainings have in common.
#[derive(Deserialize, Serialize)]
struct Defaults {
    defaults: Map<String, Value>,
}

/// Samples of the test that one of two trainings alone had right.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Pair {
    /// Reduction factor.
    pub reduction: f32,
    /// Right in this training alone.
    pub own: u32,
    /// Right in the other alone.
    pub other: u32,
}

/// A training.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Training {
    /// `TASK/METHOD-sSEED`, or the name of a trial.
    pub name: String,
    /// What was trained: the settings that differ from the defaults, data without names of classes.
    #[serde(flatten)]
    pub origin: Origin,
    /// Steps done.
    pub steps: u64,
    /// The step of the best validation.
    pub best_step: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// The best validation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validation: Vec<AtReduction>,
    /// Test data, looked at once after the training.
    pub test: Option<TestRecord>,
    /// Versions.
    pub versions: Versions,
    /// Other trainings of the same task and seed, compared with this one sample by sample.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pairs: BTreeMap<String, Vec<Pair>>,
}

/// What `coda eval --json` printed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Evaluated {
    /// `TASK/METHOD-sSEED`; absent from what is printed.
    #[serde(default)]
    pub name: String,
    /// The CPU.
    pub cpu: String,
    /// The kernels.
    pub kernels: String,
    /// Test samples.
    pub samples: usize,
    /// Tokens of the longest one.
    pub tokens: usize,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// Factors on the reduction of each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layer_factors: Vec<f32>,
    /// One entry for each reduction.
    pub reductions: Vec<Measured>,
}

/// The figures of an evaluation at one reduction.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Measured {
    /// Reduction factor; absent for a task's own schedule.
    pub reduction: Option<f32>,
    /// Right answers, per cent.
    pub accuracy: f64,
    /// Median time from tokens or pixels to a label, milliseconds.
    pub median_ms: f64,
    /// To the first reduction.
    pub speed_up: f64,
    /// From text to label; not in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end_ms: Option<f64>,
    /// The same to the first reduction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_to_end_speed_up: Option<f64>,
}

/// All records of a directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    /// What a setting is unless a training says otherwise.
    pub defaults: Map<String, Value>,
    /// Trainings by name.
    pub trainings: BTreeMap<String, Training>,
    /// Evaluations by name.
    pub evaluations: BTreeMap<String, Evaluated>,
    /// Titles of tasks.
    pub titles: BTreeMap<String, String>,
}

impl Results {
    /// Reads the records of a directory; what is not there is empty.
    ///
    /// # Errors
    /// A line is damaged, or a name is there twice.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(TRAININGS);
        let text = read_text(&path)?.unwrap_or_default();
        let mut lines = Deserializer::from_str(&text);
        let defaults = match text.is_empty() {
            true => Ok(Defaults { defaults: Settings::defaults()? }),
            false => Defaults::deserialize(&mut lines),
        };
        let Defaults { defaults } = defaults.with_context(|| path.display().to_string())?;
        let trainings = by_name(lines, |training: &Training| &training.name)
            .with_context(|| path.display().to_string())?;
        let path = directory.join(EVALUATIONS);
        let text = read_text(&path)?.unwrap_or_default();
        let lines = Deserializer::from_str(&text);
        let evaluations = by_name(lines, |evaluated: &Evaluated| &evaluated.name)
            .with_context(|| path.display().to_string())?;
        let titles = read_json(&directory.join(TITLES))?.unwrap_or_default();
        Ok(Self { defaults, trainings, evaluations, titles })
    }

    /// Writes trainings and evaluations.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut text = line(&Defaults { defaults: self.defaults.clone() })?;
        for training in self.trainings.values() {
            text += &line(training)?;
        }
        let evaluations = self.evaluations.values().map(line).collect::<Result<String>>()?;
        let files = [(TRAININGS, text), (EVALUATIONS, evaluations)];
        for (name, text) in files.into_iter().filter(|(_, text)| !text.is_empty()) {
            let path = directory.join(name);
            write_whole(&path, text.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Every setting of a training.
    #[must_use]
    pub fn settings(&self, training: &Training) -> Map<String, Value> {
        let mut all = self.defaults.clone();
        all.extend(training.origin.settings.clone());
        all
    }

    /// Takes over the `training.json` and the `eval.json` of `TASK/METHOD-sSEED`, in place of earlier
    /// ones of this name, and compares it with its siblings sample by sample.
    ///
    /// # Errors
    /// A file cannot be read, or the directory has another name or none of the two.
    pub fn collect(&mut self, run: &Path) -> Result<()> {
        let name = Name::of(run)?;
        let record: Option<Record> = read_json(&run.join("training.json"))?;
        let evaluated: Option<Evaluated> = read_json(&run.join("eval.json"))?;
        ensure!(
            record.is_some() || evaluated.is_some(),
            "{} has neither training.json nor eval.json",
            run.display()
        );
        let whole = name.to_string();
        if let Some(record) = record {
            self.trainings.insert(whole.clone(), self.training(&whole, record));
            self.compare(run, &name)?;
        }
        if let Some(evaluated) = evaluated {
            self.evaluations.insert(whole.clone(), Evaluated { name: whole, ..evaluated });
        }
        Ok(())
    }

    /// Takes over the `training.json` of a directory as a trial of the directory's name.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn collect_trial(&mut self, run: &Path) -> Result<()> {
        let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record: Option<Record> = read_json(&run.join("training.json"))?;
        let record = record.with_context(|| format!("{} has no training.json", run.display()))?;
        self.trainings.insert(name.clone(), self.training(&name, record));
        Ok(())
    }

    fn training(&self, name: &str, record: Record) -> Training {
        let Record { mut origin, progress, test, versions } = record;
        origin.settings.retain(|key, value| self.defaults.get(key) != Some(value));
        origin.data.labels.clear();
        let best = progress.evaluations.into_iter().find(|own| own.step == progress.best_step);
        let without_bits = |mut test: TestRecord| {
            test.reductions.iter_mut().for_each(|at| at.right = None);
            test
        };
        Training {
            name: name.to_owned(),
            origin,
            steps: progress.step,
            best_step: progress.best_step,
            seconds: progress.seconds,
            validation: best.map(|own| own.reductions).unwrap_or_default(),
            test: test.map(without_bits),
            versions,
            pairs: BTreeMap::new(),
        }
    }

    /// Counts anew the pairs that a training is one of; pairs of a sibling that is gone are no longer
    /// true.
    fn compare(&mut self, run: &Path, name: &Name<'_>) -> Result<()> {
        for (learned, prefix) in LEARNED {
            for other in UNLEARNED.map(|way| format!("{prefix}{way}")) {
                if name.method != learned && name.method != other {
                    continue;
                }
                let own = Name { method: learned, ..*name }.to_string();
                let Some(training) = self.trainings.get_mut(&own) else { continue };
                let read = |method: &str| -> Result<Option<Record>> {
                    let sibling = run.with_file_name(format!("{method}-s{}", name.seed));
                    read_json(&sibling.join("training.json"))
                };
                let pairs = match (read(learned)?, read(&other)?) {
                    (Some(own), Some(other)) => pairs(&own, &other),
                    _ => Vec::new(),
                };
                if pairs.is_empty() {
                    training.pairs.remove(&other);
                } else {
                    training.pairs.insert(other, pairs);
                }
            }
        }
        Ok(())
    }
}

/// The parts of `TASK/METHOD-sSEED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name<'n> {
    pub(crate) task: &'n str,
    pub(crate) method: &'n str,
    pub(crate) seed: u64,
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}-s{}", self.task, self.method, self.seed)
    }
}

impl<'n> Name<'n> {
    pub(crate) fn parse(name: &'n str) -> Option<Self> {
        let (task, run) = name.split_once('/')?;
        let (method, seed) = run.rsplit_once("-s")?;
        Some(Self { task, method, seed: seed.parse().ok()? })
    }

    /// From the last two parts of a path.
    fn of(run: &'n Path) -> Result<Self> {
        let task = run.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let own = run.file_name().and_then(|name| name.to_str()?.rsplit_once("-s"));
        let seed = own.and_then(|(_, seed)| seed.parse().ok());
        match (task, own, seed) {
            (Some(task), Some((method, _)), Some(seed)) => Ok(Self { task, method, seed }),
            _ => bail!("{} does not end with TASK/METHOD-sSEED", run.display()),
        }
    }
}

/// At each reduction of two trainings on the same data, the samples that only one had right.
fn pairs(own: &Record, other: &Record) -> Vec<Pair> {
    let (Some(test), Some(with)) = (&own.test, &other.test) else { return Vec::new() };
    if own.origin.data.sha256 != other.origin.data.sha256 || test.sha256 != with.sha256 {
        return Vec::new();
    }
    let pair = |at: &AtReduction| {
        let with = with.reductions.iter().find(|other| other.reduction == at.reduction)?;
        let (first, second) = (at.right.as_deref()?, with.right.as_deref()?);
        let (own, other) = (only(first, second), only(second, first));
        (first.len() == second.len()).then_some(Pair { reduction: at.reduction, own, other })
    };
    test.reductions.iter().filter_map(pair).collect()
}

/// How many samples the first had right and the second had not; a hexadecimal digit for each four.
fn only(first: &str, second: &str) -> u32 {
    let digit = |digit: char| digit.to_digit(16).unwrap_or(0);
    let digits = first.chars().map(digit).zip(second.chars().map(digit));
    digits.map(|(own, other)| (own & !other).count_ones()).sum()
}

fn line(record: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(record)? + "\n")
}

fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(Some(text.with_context(|| format!("cannot read {}", path.display()))?)),
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let parse = |text: String| serde_json::from_str(&text);
    read_text(path)?.map(parse).transpose().with_context(|| path.display().to_string())
}

/// Records that stand one after the other.
fn by_name<'t, T: Deserialize<'t>>(
    lines: Deserializer<StrRead<'t>>,
    name: fn(&T) -> &String,
) -> Result<BTreeMap<String, T>> {
    let mut all = BTreeMap::new();
    for record in lines.into_iter() {
        let record: T = record?;
        let name = name(&record).clone();
        ensure!(!all.contains_key(&name), "{name} is there twice");
        all.insert(name, record);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_two_trainings_are_compared_sample_by_sample() {
        assert_eq!((only("f0", "0f"), only("0f", "f0")), (4, 4));
        assert_eq!((only("8", "c"), only("c", "8")), (0, 1));
        assert_eq!(only("a5", "a5"), 0);
    }

    #[test]
    fn a_name_has_a_task_a_method_and_a_seed() {
        let name = Name::parse("r8/short-sigmoid-s12").unwrap();
        assert_eq!(name, Name { task: "r8", method: "short-sigmoid", seed: 12 });
        assert_eq!(Name::of(Path::new("runs/r8/short-sigmoid-s12")).unwrap(), name);
        assert_eq!(name.to_string(), "r8/short-sigmoid-s12");
        assert!(Name::parse("dev-soft-labels").is_none());
        assert!(Name::of(Path::new("runs/r8/short-sigmoid")).is_err());
    }
}
