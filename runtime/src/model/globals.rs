//! What belongs to no layer, as binding has viewed it: nothing here can fail in an inference.

use super::error::ModelError;
#[cfg(feature = "frames")]
use super::frames::FrameWeights;
#[cfg(feature = "grid")]
use super::grid::GridWeights;
use super::packages::Packages;
use super::probe::Probe;
use super::stage::Stage;
use super::view::{self, Linear, Shape, Table};
use crate::config::{Embedding, Head, HeadKind, Stages};
use crate::format::{GLOBAL_LAYER, Role};
use crate::image::PatchGrid;
use crate::kernels::NormWeights;

/// Dense stages that this build computes.
const STAGES: usize = if cfg!(feature = "heads") { Stages::MOST } else { 0 };

/// Poolings by attention, and norms of a pooled vector, that this build computes.
const PROBES: usize = if cfg!(feature = "heads") { 1 } else { 0 };

/// Everything beside the layers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Globals<'a> {
    /// How an input enters the encoder.
    pub(crate) embedding: EmbeddingWeights<'a>,
    /// Norm after the last layer.
    pub(crate) final_norm: Option<NormWeights<'a>>,
    /// Relative position bias by head and distance, `[heads, 2 D + 1]`; empty for none.
    pub(crate) relative_bias: &'a [f32],
    /// The pooling by attention of the head.
    pub(crate) probe: [Option<Probe<'a>>; PROBES],
    /// The norm of the pooled vector.
    pub(crate) pooled_norm: [Option<NormWeights<'a>>; PROBES],
    /// The dense stages of the head, one behind the other.
    pub(crate) stages: [Option<Stage<'a>>; STAGES],
    /// The map to one logit per label, of a classification head.
    pub(crate) classifier: Option<Linear<'a>>,
}

/// How an input enters the encoder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EmbeddingWeights<'a> {
    Tokens(TokenWeights<'a>),
    Patches(PatchWeights<'a>),
    #[cfg(feature = "frames")]
    Frames(FrameWeights<'a>),
    #[cfg(feature = "grid")]
    Grid(GridWeights<'a>),
}

/// Rows of tables, added up and normalised.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenWeights<'a> {
    pub(crate) words: Table<'a>,
    pub(crate) types: Option<Table<'a>>,
    pub(crate) positions: Option<Table<'a>>,
    pub(crate) norm: Option<NormWeights<'a>>,
    /// From the columns of the tables to the model dimension.
    pub(crate) projection: Option<Linear<'a>>,
}

/// Projected patches and their positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatchWeights<'a> {
    pub(crate) grid: PatchGrid,
    pub(crate) projection: Linear<'a>,
    pub(crate) positions: Table<'a>,
    /// `[prefix tokens, d]`; empty for none.
    pub(crate) prefix: &'a [f32],
    pub(crate) norm: Option<NormWeights<'a>>,
}

impl Default for EmbeddingWeights<'_> {
    fn default() -> Self {
        Self::Tokens(TokenWeights::default())
    }
}

impl<'a> Globals<'a> {
    /// Views the tensors of `packages` that belong to no layer.
    pub(super) fn view(packages: &Packages<'a>, head: Option<Head>) -> Result<Self, ModelError> {
        let config = &packages.config;
        let final_norm = |on: bool| {
            on.then(|| packages.norm(Role::FinalNormWeight, Role::FinalNormBias, GLOBAL_LAYER))
        };
        let mut globals = Self {
            embedding: EmbeddingWeights::view(packages)?,
            final_norm: final_norm(config.final_norm).transpose()?,
            relative_bias: relative_bias(packages)?,
            ..Self::default()
        };
        if let Some(head) = head {
            globals.view_head(packages, &head)?;
        }
        Ok(globals)
    }

    fn view_head(&mut self, packages: &Packages<'a>, head: &Head) -> Result<(), ModelError> {
        if !cfg!(feature = "heads") && !head.is_plain() {
            return Err(ModelError::LeftOut { feature: "heads" });
        }
        let mut columns = packages.config.hidden.saturating_mul(head.pooling.count());
        for (index, slot) in self.stages.iter_mut().enumerate() {
            *slot = Stage::view(packages, head.stages, index, columns)?;
            columns = slot.map_or(columns, |stage| stage.map.outputs);
        }
        if head.is_of_each_token() {
            columns = packages.config.hidden;
        }
        let normed = head.pooling.has_norm() || head.stages.has_norm();
        for slot in self.pooled_norm.iter_mut().filter(|_| normed) {
            let roles = (Role::PooledNormWeight, Role::PooledNormBias);
            *slot = Some(packages.norm(roles.0, roles.1, GLOBAL_LAYER)?);
        }
        if head.pooling.is_attention() {
            self.view_probe(packages, columns)?;
        }
        if let HeadKind::Classification { labels: rows }
        | HeadKind::TokenClassification { labels: rows } = head.kind
        {
            let shape = Shape { rows, columns };
            let map = packages.float_linear(Role::HeadWeight, Role::HeadBias, shape)?;
            self.classifier = Some(map);
        }
        Ok(())
    }
}

impl<'a> Globals<'a> {
    /// The stages behind a pooling by attention give `columns` values, to which d are added.
    fn view_probe(&mut self, packages: &Packages<'a>, columns: usize) -> Result<(), ModelError> {
        let d = packages.config.hidden;
        if columns != d {
            let (expected, found) = ((d, columns), (columns, columns));
            let (role, layer) = (Role::SecondStage, GLOBAL_LAYER);
            return Err(ModelError::Shape { role, layer, expected, found });
        }
        for slot in &mut self.probe {
            *slot = Some(Probe::view(packages)?);
        }
        Ok(())
    }
}

fn relative_bias<'a>(packages: &Packages<'a>) -> Result<&'a [f32], ModelError> {
    let config = &packages.config;
    if config.relative_distance == 0 || cfg!(feature = "more-families") && config.layer_bias {
        return Ok(&[]);
    }
    let shape = Shape { rows: config.heads, columns: config.bias_entries() };
    view::floats(&packages.required(Role::RelativeBias, GLOBAL_LAYER)?, shape)
}

impl<'a> EmbeddingWeights<'a> {
    fn view(packages: &Packages<'a>) -> Result<Self, ModelError> {
        match packages.config.embedding {
            Embedding::Tokens { .. } if cfg!(feature = "tokens") => {
                TokenWeights::view(packages).map(Self::Tokens)
            }
            Embedding::Patches { prefix_tokens, norm, .. } if cfg!(feature = "patches") => {
                PatchWeights::view(packages, prefix_tokens, norm).map(Self::Patches)
            }
            #[cfg(feature = "frames")]
            Embedding::Frames { bins, positions } => {
                FrameWeights::view(packages, bins, positions).map(Self::Frames)
            }
            #[cfg(feature = "grid")]
            Embedding::Grid { .. } => GridWeights::view(packages).map(Self::Grid),
            Embedding::Tokens { .. } => Err(ModelError::LeftOut { feature: "tokens" }),
            Embedding::Patches { .. } => Err(ModelError::LeftOut { feature: "patches" }),
        }
    }
}

/// The norm after the sum of an embedding, over so many columns.
fn embedding_norm<'a>(
    packages: &Packages<'a>,
    columns: usize,
) -> Result<NormWeights<'a>, ModelError> {
    let (weight, bias) = (Role::EmbeddingNormWeight, Role::EmbeddingNormBias);
    packages.norm_of(weight, bias, GLOBAL_LAYER, columns)
}

impl<'a> TokenWeights<'a> {
    fn view(packages: &Packages<'a>) -> Result<Self, ModelError> {
        let d = packages.config.hidden;
        let Embedding::Tokens { vocabulary, positions, token_types, norm, projected } =
            packages.config.embedding
        else {
            return Ok(Self::default());
        };
        let columns = if cfg!(feature = "more-families") && projected > 0 { projected } else { d };
        let table = |role, rows| packages.table_of(role, Shape { rows, columns });
        let some = |role, rows| (rows > 0).then(|| table(role, rows)).transpose();
        let (weight, bias) = (Role::ProjectionWeight, Role::ProjectionBias);
        let shape = Shape { rows: d, columns };
        let projection = (cfg!(feature = "more-families") && projected > 0)
            .then(|| packages.float_linear(weight, bias, shape));
        Ok(Self {
            words: table(Role::TokenEmbedding, vocabulary)?,
            positions: some(Role::PositionEmbedding, positions)?,
            types: some(Role::TokenTypeEmbedding, token_types)?,
            norm: norm.then(|| embedding_norm(packages, columns)).transpose()?,
            projection: projection.transpose()?,
        })
    }
}

impl<'a> PatchWeights<'a> {
    fn view(packages: &Packages<'a>, tokens: usize, norm: bool) -> Result<Self, ModelError> {
        let config = &packages.config;
        let (d, grid) = (config.hidden, PatchGrid::of(&config.embedding).unwrap_or_default());
        let shape = Shape { rows: d, columns: grid.inputs() };
        let positions = config.max_tokens().unwrap_or(0);
        Ok(Self {
            grid,
            projection: packages.float_linear(Role::PatchWeight, Role::PatchBias, shape)?,
            positions: match cfg!(feature = "more-families") && config.rotary.columns > 0 {
                true => Table::default(),
                false => packages.table(Role::PositionEmbedding, positions)?,
            },
            prefix: match tokens {
                0 => &[],
                rows => {
                    let tensor = packages.required(Role::ClassToken, GLOBAL_LAYER)?;
                    view::floats(&tensor, Shape { rows, columns: d })?
                }
            },
            norm: (cfg!(feature = "more-families") && norm)
                .then(|| embedding_norm(packages, d))
                .transpose()?,
        })
    }
}
