//! What a base package says of a tokenizer that it does not carry: a line of its provenance.

use coda_runtime::format::Package;

const BEGIN: &str = "texts cannot be read: ";

/// The provenance with why texts cannot be read.
pub(super) fn with_note(provenance: &str, ids_only: Option<&str>) -> String {
    let note = ids_only.map(|why| format!("{BEGIN}{}", why.replace(['\n', '\r'], " ")));
    let parts = [Some(provenance.to_owned()).filter(|text| !text.is_empty()), note];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// What the provenance says of where the weights come from, on one line.
#[must_use]
pub fn provenance(package: &Package<'_>) -> String {
    let lines = package.provenance().lines().filter(|line| !line.starts_with(BEGIN));
    lines.collect::<Vec<_>>().join(" ")
}

/// Why a model takes token ids and no texts, if its source had a tokenizer that the device has not.
#[must_use]
pub fn ids_only<'a>(base: &Package<'a>) -> Option<&'a str> {
    if base.vocabulary().is_some() {
        return None;
    }
    base.provenance().lines().find_map(|line| line.strip_prefix(BEGIN))
}
