//! The tokenizer section of a package.

use super::super::added::Standing;
use super::model::Model;
use super::rules::Rules;
use super::template::Template;
use coda_runtime::text::Pieces;
use coda_runtime::text::pieces::layout;
use std::ops::Range;

/// Byte pairs or Unigram, as a directory has it.
#[derive(Clone, Debug)]
pub struct PieceFiles {
    pub(super) model: Model,
    pub(super) rules: Rules,
    pub(super) template: Template,
    pub(super) standing: Vec<Standing>,
}

impl PieceFiles {
    /// What it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        if self.model.is_unigram { "Unigram" } else { "byte-level BPE" }
    }

    /// The tokenizer section.
    ///
    /// # Errors
    /// The runtime's reason as text.
    pub fn section(&self) -> Result<Vec<u8>, String> {
        let Self { model, rules, template, standing } = self;
        let looked_up = model.looked_up()?;
        let (map, map_text) = rules.map.split_at(rules.map_array);
        let pieces = model.pieces.concat();
        let standing_text: Vec<u8> = standing.iter().flat_map(|own| own.text.bytes()).collect();
        let lengths = [
            (layout::SORTED, looked_up.len()),
            (layout::MAP_WORDS, map.len() / 4),
            (layout::MAP_BYTES, map_text.len()),
            (layout::PIECE_BYTES, pieces.len()),
            (layout::STANDING_BYTES, standing_text.len()),
        ];
        let mut bytes = self.header(lengths)?;
        bytes.extend(model.offsets().chain(looked_up).flat_map(u32::to_le_bytes));
        bytes.extend(model.sorted_merges().into_iter().flatten().flat_map(u32::to_le_bytes));
        let scores = model.scores.iter();
        match self.has_wide_scores() {
            true => bytes.extend(scores.flat_map(|score| score.to_le_bytes())),
            false => bytes.extend(scores.flat_map(|score| (*score as f32).to_le_bytes())),
        }
        bytes.extend(map);
        let parts = template.single.iter().chain(&template.pair);
        bytes.extend(parts.flatten().flat_map(|word| word.to_le_bytes()));
        bytes.extend(entries(standing).flatten().flat_map(u32::to_le_bytes));
        bytes.extend(pieces.iter().chain(&standing_text).chain(map_text));
        Pieces::parse(&bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// A score is no f32.
    fn has_wide_scores(&self) -> bool {
        self.model.scores.iter().any(|score| f64::from(*score as f32) != *score)
    }

    fn header(&self, lengths: [(Range<usize>, usize); 5]) -> Result<Vec<u8>, String> {
        let Self { model, rules, template, standing } = self;
        let mut bytes = vec![0; layout::HEADER_BYTES];
        let kind = if model.is_unigram { layout::UNIGRAM } else { layout::BYTE_PAIRS };
        let wide = if self.has_wide_scores() { layout::WIDE_SCORES } else { 0 };
        let fields = [
            (layout::KIND, kind as usize),
            (layout::FLAGS, (model.flags | rules.flags | wide) as usize),
            (layout::COUNT, model.pieces.len()),
            (layout::MERGES, model.sorted_merges().len()),
            (layout::STANDING, standing.len()),
            (layout::UNKNOWN, model.unknown.unwrap_or(layout::NO_ID) as usize),
            (layout::SINGLE, template.single.len()),
            (layout::PAIR, template.pair.len()),
        ];
        for (range, value) in fields.into_iter().chain(lengths) {
            let value = u32::try_from(value).map_err(|_| "it is too large".to_owned())?;
            bytes[range].copy_from_slice(&value.to_le_bytes());
        }
        let lowest = model.scores.iter().copied().reduce(f64::min).unwrap_or(0.0);
        bytes[layout::LOWEST].copy_from_slice(&lowest.to_le_bytes());
        Ok(bytes)
    }
}

/// Id, flags, offset and length of each token.
fn entries(standing: &[Standing]) -> impl Iterator<Item = [u32; 4]> {
    let places = standing.iter().scan(0, |offset, own| {
        let start = *offset;
        *offset += own.text.len() as u32;
        Some(start)
    });
    standing
        .iter()
        .zip(places)
        .map(|(own, start)| [own.id, own.flags, start, own.text.len() as u32])
}
