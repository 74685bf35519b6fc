//! What a base package says that only people and the command read: lines of its provenance.

use crate::similarity::Similarity;
use crate::source::Base;
use coda_runtime::format::Package;

/// Why texts cannot be read.
const IDS_ONLY: &str = "texts cannot be read: ";
/// How embeddings are compared, where that is not by the cosine.
const SIMILARITY: &str = "embeddings are compared by: ";

/// The provenance with the lines of `base`.
pub(super) fn with_notes(provenance: &str, base: &Base) -> String {
    let why = base.ids_only.as_deref();
    let why = why.map(|why| format!("{IDS_ONLY}{}", why.replace(['\n', '\r'], " ")));
    let similarity = base.texts.similarity;
    let similarity = Some(similarity).filter(|own| *own != Similarity::default());
    let similarity = similarity.map(|own| format!("{SIMILARITY}{}", own.name()));
    let parts = [Some(provenance.to_owned()).filter(|text| !text.is_empty()), why, similarity];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// What the provenance says of where the weights come from, on one line.
#[must_use]
pub fn provenance(package: &Package<'_>) -> String {
    let is_own = |line: &&str| !(line.starts_with(IDS_ONLY) || line.starts_with(SIMILARITY));
    package.provenance().lines().filter(is_own).collect::<Vec<_>>().join(" ")
}

/// Why a model takes token ids and no texts, if its source had a tokenizer that the device has not.
#[must_use]
pub fn ids_only<'a>(base: &Package<'a>) -> Option<&'a str> {
    if base.vocabulary().is_some() || base.pieces().is_some() {
        return None;
    }
    base.provenance().lines().find_map(|line| line.strip_prefix(IDS_ONLY))
}

/// How embeddings of a model are compared.
#[must_use]
pub fn similarity(base: &Package<'_>) -> Similarity {
    let name = base.provenance().lines().find_map(|line| line.strip_prefix(SIMILARITY));
    name.and_then(Similarity::from_name).unwrap_or_default()
}
