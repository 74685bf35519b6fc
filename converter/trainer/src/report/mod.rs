//! The results page: tables and a picture from the records of many trainings.

mod picture;
mod runs;
mod tables;

use crate::results::Results;
use anyhow::{Context, Result, ensure};
use runs::tasks;

/// What the page says and shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// A section of tables for each task.
    pub text: String,
    /// Accuracy against speed-up, as SVG.
    pub picture: String,
}

/// Fills the figures of trials into a text: `{NAME r=R}` is the accuracy of the best validation at R, and
/// `{NAME new}` the per cent of new parameters.
///
/// # Errors
/// There is no such figure.
pub fn fill(text: &str, results: &Results) -> Result<String> {
    let mut parts = text.split('{');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (what, rest) = part.split_once('}').context("a { without its }")?;
        let figure = figure(what, results);
        out += &figure.with_context(|| format!("{{{what}}} is no figure of a trial"))?;
        out += rest;
    }
    Ok(out)
}

fn figure(what: &str, results: &Results) -> Option<String> {
    let (name, which) = what.split_once(' ')?;
    let training = results.trainings.get(name)?;
    if which == "new" {
        return Some(format!("{:.2}", training.origin.new_parameters_percent));
    }
    let reduction: f32 = which.strip_prefix("r=")?.parse().ok()?;
    let at = training.validation.iter().find(|at| at.reduction == reduction)?;
    at.accuracy.map(|accuracy| format!("{accuracy:.1}"))
}

/// A page of every task, and its picture of accuracy against speed-up.
///
/// # Errors
/// There is no record, or one of another name.
pub fn report(results: &Results) -> Result<Page> {
    let tasks = tasks(results)?;
    ensure!(!tasks.is_empty(), "there are no records");
    let mut text = String::new();
    for (task, methods) in &tasks {
        let title = results.titles.get(*task).map_or(*task, String::as_str);
        tables::section(&mut text, title, methods)?;
    }
    Ok(Page { text, picture: picture::svg(&tasks)? })
}
