//! ELECTRA: a BERT, whose small form has token tables of a width of their own.

use super::bert;
use super::definition::Family;

pub(super) const FAMILY: Family = Family {
    model_types: &["electra"],
    prefixes: &["electra.", ""],
    config: |checkpoint| {
        // Tables of the model's dimension have no map behind them.
        let sizes = ["embedding_size", "hidden_size"].map(|field| checkpoint.need::<usize>(field));
        let [embedding, hidden] = sizes;
        match embedding? == hidden? {
            true => bert::config(checkpoint, 0),
            false => bert::projected(checkpoint, "embedding_size"),
        }
    },
    tensors: |_, entries| {
        bert::tensors(entries, 0);
        entries.projection("embeddings_project");
        Ok(())
    },
    ..bert::FAMILY
};
