//! The labels of a file against those of a model.

use anyhow::{Result, bail, ensure};
use coda_runtime::config::HeadKind;
use coda_runtime::model::Model;
use std::collections::HashMap;
use std::fmt::Display;

/// The labels that a model answers with.
#[derive(Debug)]
pub struct Classes<'n> {
    /// Index of each name; empty if the package names none.
    names: HashMap<&'n str, usize>,
    count: usize,
}

impl<'n> Classes<'n> {
    /// Those of `model`.
    ///
    /// # Errors
    /// It has no head, or one that gives no label.
    pub fn of(model: &Model<'n>) -> Result<Self> {
        match model.head().map(|head| head.kind) {
            Some(HeadKind::Classification { .. }) => {}
            Some(HeadKind::TokenClassification { .. }) => bail!(
                "the head of the package labels each token, not a whole text: a file of one label for \
                 each text cannot be compared with it; coda run prints the labels of a text"
            ),
            Some(HeadKind::Embedding { .. }) => {
                bail!("the head of the package gives no label: labels cannot be compared")
            }
            None => bail!("the package has no head: labels cannot be compared"),
        }
        let names = model.labels().into_iter().flat_map(|labels| labels.iter().enumerate());
        let names = names.map(|(index, name)| (name, index)).collect();
        Ok(Self { names, count: model.dimensions().outputs })
    }

    /// The indices of the labels of a file, each with where it stands. All are names of the model, or
    /// all are indices: never some of these and some of those.
    ///
    /// # Errors
    /// The first that is neither, or that is not of the kind of the others.
    pub fn indices<P: Display>(&self, found: &[(&str, P)]) -> Result<Vec<usize>> {
        let named: Option<Vec<usize>> =
            found.iter().map(|(label, _)| self.names.get(label).copied()).collect();
        if let Some(named) = named {
            return Ok(named);
        }
        let some = found.iter().any(|(label, _)| self.names.contains_key(label));
        // Where a name is a number, another number is no index: `0` beside classes 1, 2, 3.
        let numbers = self.names.keys().any(|name| name.parse::<i64>().is_ok());
        let index = |label: &str| label.parse().ok().filter(|index| *index < self.count);
        let mut indices = Vec::with_capacity(found.len());
        for (label, place) in found {
            let own = index(label).filter(|_| !some && !numbers);
            match own {
                Some(index) => indices.push(index),
                None if self.names.contains_key(label) => {}
                None => {
                    bail!("{place}: the model has no label \"{label}\"; it has {}", self.list())
                }
            }
        }
        ensure!(indices.len() == found.len(), "labels are neither all names nor all indices");
        Ok(indices)
    }

    /// The labels for a message.
    fn list(&self) -> String {
        const SHOWN: usize = 10;
        if self.names.is_empty() {
            return format!("no names, only the indices 0 to {}", self.count.saturating_sub(1));
        }
        let mut names: Vec<_> = self.names.iter().map(|(name, index)| (*index, *name)).collect();
        names.sort_unstable();
        let shown: Vec<&str> = names.iter().take(SHOWN).map(|(_, name)| *name).collect();
        let more = if names.len() > SHOWN { ", ..." } else { "" };
        format!("{}{more}", shown.join(", "))
    }
}
