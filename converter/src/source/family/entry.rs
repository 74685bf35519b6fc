//! One tensor of an encoder, and what a file holds in place of it.

use crate::source::error::SourceError;
use crate::source::positions::{self, Grid};
use crate::source::probe;
use crate::source::relative::{self, Buckets};
use crate::source::rotary::Angles;
use crate::source::tensors::{FloatTensor, Place, TensorFile};

/// One tensor of a model, and where files have it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it belongs.
    pub place: Place,
    /// Its name in the file.
    pub(in crate::source) name: String,
    /// Rows and columns, as the encoder reads it.
    pub(in crate::source) shape: [usize; 2],
    /// The file may lack it.
    pub(in crate::source) optional: bool,
    pub(super) stored: Stored,
}

/// What a file holds in place of what the encoder reads.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// The same.
    Same,
    /// So many rows that the encoder never reads, then the same.
    After(usize),
    /// Positions of a grid of patches after those of prefix tokens, of which the last `without` have none.
    Positions { from: Grid, to: Grid, without: usize },
    /// One of the parts, of as many rows, of a tensor.
    Part { index: usize, of: usize },
    /// Nothing: every value is zero.
    Zeros,
    /// Nothing: the fields say what the angles are.
    Angles(Angles),
    /// Its rows are those of several tensors, so many of each.
    Joined(Vec<(String, usize)>),
    /// The same, behind so many rows of each that the encoder never reads.
    JoinedAfter(usize, Vec<(String, usize)>),
    /// A relative bias by bucket, so many.
    Buckets(usize),
    /// The same of a decoder, for the tokens before a token alone.
    CausalBuckets(usize),
    /// A relative bias over a grid of patches, of the distances from key to query.
    GridBias,
    /// The three weights of each channel of a convolution together, not the channels of each place.
    Convolution,
    /// A learned query and the keys of a pooling by attention, whose names begin so.
    ProbeKeys(String),
    /// The bias of its output, with that of its values.
    ProbeBias(String),
}

/// Names of a pooling by attention.
const PROBE: &str = "probe";
const PROBE_MAPS: [&str; 4] = [
    "attention.in_proj_weight",
    "attention.in_proj_bias",
    "attention.out_proj.weight",
    "attention.out_proj.bias",
];

impl Entry {
    /// The tensors of the file that it is read from.
    pub(in crate::source) fn sources(&self) -> Vec<String> {
        match &self.stored {
            Stored::Joined(parts) | Stored::JoinedAfter(_, parts) => {
                parts.iter().map(|(name, _)| name.clone()).collect()
            }
            Stored::ProbeKeys(prefix) | Stored::ProbeBias(prefix) => {
                let names = PROBE_MAPS.iter().chain([&PROBE]);
                names.map(|name| format!("{prefix}{name}")).collect()
            }
            Stored::Zeros | Stored::Angles(_) => Vec::new(),
            _ => vec![self.name.clone()],
        }
    }

    /// The file holds it as the encoder reads it.
    pub(in crate::source) fn is_same(&self) -> bool {
        match &self.stored {
            Stored::Same | Stored::After(0) => true,
            Stored::Positions { from, to, without } => from == to && *without == 0,
            _ => false,
        }
    }

    /// The buckets of a relative bias, which is read by distance.
    #[must_use]
    pub fn buckets(&self) -> Option<Buckets> {
        let most = self.shape[1] / 2;
        match self.stored {
            Stored::Buckets(count) => Some(Buckets { count, most, causal: false }),
            Stored::CausalBuckets(count) => Some(Buckets { count, most, causal: true }),
            _ => None,
        }
    }

    /// The tensor without a file: zeros, unless it follows from the fields.
    pub(in crate::source) fn blank(&self) -> FloatTensor {
        let values = match &self.stored {
            Stored::Angles(angles) => angles.table(),
            _ => vec![0.0; self.shape.iter().product()],
        };
        FloatTensor { shape: self.shape.to_vec(), values }
    }

    /// Reads the tensor.
    pub(in crate::source) fn read(&self, file: &TensorFile) -> Result<FloatTensor, SourceError> {
        let [rows, columns] = self.shape;
        let own = |shape| file.matrix(&self.name, shape).map(|tensor| tensor.values);
        let values = match &self.stored {
            Stored::Same => own(self.shape)?,
            Stored::After(skipped) => own([skipped + rows, columns])?.split_off(skipped * columns),
            &Stored::Positions { from, to, without } => {
                let prefix = rows - to.patches() - without;
                let table = own([prefix + from.patches(), columns])?;
                let mut table =
                    if from == to { table } else { positions::resize(&table, from, to, columns) };
                let at = prefix * columns;
                table.splice(at..at, vec![0.0; without * columns]);
                table
            }
            &Stored::Part { index, of } => {
                let values = own(if rows == 1 { [1, of * columns] } else { [of * rows, columns] })?;
                values.chunks(rows * columns).nth(index).unwrap_or_default().to_vec()
            }
            Stored::Zeros | Stored::Angles(_) => return Ok(self.blank()),
            Stored::Joined(parts) => joined(file, 0, parts, columns)?,
            Stored::JoinedAfter(skipped, parts) => joined(file, *skipped, parts, columns)?,
            &Stored::Buckets(count) | &Stored::CausalBuckets(count) => {
                let table = own([count, rows])?;
                self.buckets().map_or_else(Vec::new, |buckets| buckets.by_distance(&table, rows))
            }
            Stored::GridBias => relative::bias_of_grid(&own([columns, rows])?, rows),
            Stored::Convolution => {
                let rows = own(self.shape)?;
                let rows = rows.chunks(columns.max(1)).flat_map(|row| {
                    (0..3).flat_map(|place| row.iter().copied().skip(place).step_by(3))
                });
                rows.collect()
            }
            Stored::ProbeKeys(prefix) => {
                let [weight, bias, ..] = PROBE_MAPS.map(|name| format!("{prefix}{name}"));
                let query = file.matrix(&format!("{prefix}{PROBE}"), [1, columns])?.values;
                let weight = file.matrix(&weight, [3 * columns, columns])?.values;
                let bias = file.matrix(&bias, [1, 3 * columns])?.values;
                probe::keys(&query, &weight, &bias, rows)
            }
            Stored::ProbeBias(prefix) => {
                let [_, of_values, weight, bias] = PROBE_MAPS.map(|name| format!("{prefix}{name}"));
                let of_values = file.matrix(&of_values, [1, 3 * columns])?.values;
                let weight = file.matrix(&weight, [columns, columns])?.values;
                let bias = file.matrix(&bias, [1, columns])?.values;
                probe::output_bias(&weight, &bias, &of_values[2 * columns..])
            }
        };
        Ok(FloatTensor { shape: self.shape.to_vec(), values })
    }
}

/// The rows of several tensors, without the first `skipped` of each.
fn joined(
    file: &TensorFile,
    skipped: usize,
    parts: &[(String, usize)],
    columns: usize,
) -> Result<Vec<f32>, SourceError> {
    let mut values = Vec::new();
    for (name, rows) in parts {
        let own = file.matrix(name, [skipped + rows, columns])?.values;
        values.extend_from_slice(&own[skipped * columns..]);
    }
    Ok(values)
}
