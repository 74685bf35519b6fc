//! Names of tensors through the generations of checkpoints.

use std::collections::BTreeSet;

/// How norms end today and as the first BERT wrote them.
const GENERATIONS: [(&str, &str); 2] = [(".weight", ".gamma"), (".bias", ".beta")];
/// One table under two names: a file holds it under either, or twice.
const TIED: (&str, &str) = ("shared.weight", "encoder.embed_tokens.weight");

/// Every name that tensor `name` may have in a file, its own first.
pub(super) fn spellings(name: &str) -> Vec<String> {
    let respelled = GENERATIONS.iter().chain([&TIED]).filter_map(|(today, other)| {
        name.strip_suffix(today).map(|start| format!("{start}{other}"))
    });
    std::iter::once(name.to_owned()).chain(respelled).collect()
}

/// A file may hold tensor `name` under two names.
pub(super) fn is_tied(name: &str) -> bool {
    name.ends_with(TIED.0)
}

/// What stands before tensor `probe`, under any of its names, in the names of a file.
pub(super) fn prefixes<'n>(names: &'n [String], probe: &str) -> BTreeSet<&'n str> {
    let spellings = spellings(probe);
    let starts = spellings
        .iter()
        .flat_map(|probe| names.iter().filter_map(|name| name.strip_suffix(probe.as_str())));
    starts.filter(|start| start.is_empty() || start.ends_with('.')).collect()
}
