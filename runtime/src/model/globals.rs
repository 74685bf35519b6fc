//! What belongs to no layer, as binding has viewed it: nothing here can fail in an inference.

use super::error::ModelError;
use super::packages::Packages;
use super::stage::Stage;
use super::view::{self, Linear, Shape, Table};
use crate::config::{Embedding, Head, HeadKind, Stages};
use crate::format::{GLOBAL_LAYER, Role};
use crate::image::PatchGrid;
use crate::kernels::NormWeights;

/// Dense stages that this build computes.
const STAGES: usize = if cfg!(feature = "heads") { Stages::MOST } else { 0 };

/// Everything beside the layers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Globals<'a> {
    /// How an input enters the encoder.
    pub(crate) embedding: EmbeddingWeights<'a>,
    /// Norm after the last layer.
    pub(crate) final_norm: Option<NormWeights<'a>>,
    /// Relative position bias by head and distance, `[heads, 2 D + 1]`; empty for none.
    pub(crate) relative_bias: &'a [f32],
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
}

/// Rows of tables, added up and normalised.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenWeights<'a> {
    pub(crate) words: Table<'a>,
    pub(crate) types: Option<Table<'a>>,
    pub(crate) positions: Option<Table<'a>>,
    pub(crate) norm: Option<NormWeights<'a>>,
}

/// Projected patches and their positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatchWeights<'a> {
    pub(crate) grid: PatchGrid,
    pub(crate) projection: Linear<'a>,
    pub(crate) positions: Table<'a>,
    /// `[d]`; empty for none.
    pub(crate) class_token: &'a [f32],
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
        if let HeadKind::Classification { labels: rows } = head.kind {
            let shape = Shape { rows, columns };
            let map = packages.float_linear(Role::HeadWeight, Role::HeadBias, shape)?;
            self.classifier = Some(map);
        }
        Ok(())
    }
}

fn relative_bias<'a>(packages: &Packages<'a>) -> Result<&'a [f32], ModelError> {
    let distance = packages.config.relative_distance;
    if distance == 0 {
        return Ok(&[]);
    }
    let shape = Shape { rows: packages.config.heads, columns: 2 * distance + 1 };
    view::floats(&packages.required(Role::RelativeBias, GLOBAL_LAYER)?, shape)
}

impl<'a> EmbeddingWeights<'a> {
    fn view(packages: &Packages<'a>) -> Result<Self, ModelError> {
        let some = |role, rows| (rows > 0).then(|| packages.table(role, rows)).transpose();
        match packages.config.embedding {
            Embedding::Tokens { vocabulary, positions, token_types, norm }
                if cfg!(feature = "tokens") =>
            {
                let (weight, bias) = (Role::EmbeddingNormWeight, Role::EmbeddingNormBias);
                let norm = norm.then(|| packages.norm(weight, bias, GLOBAL_LAYER));
                Ok(Self::Tokens(TokenWeights {
                    words: packages.table(Role::TokenEmbedding, vocabulary)?,
                    positions: some(Role::PositionEmbedding, positions)?,
                    types: some(Role::TokenTypeEmbedding, token_types)?,
                    norm: norm.transpose()?,
                }))
            }
            Embedding::Patches { class_token, .. } if cfg!(feature = "patches") => {
                PatchWeights::view(packages, class_token).map(Self::Patches)
            }
            Embedding::Tokens { .. } => Err(ModelError::LeftOut { feature: "tokens" }),
            Embedding::Patches { .. } => Err(ModelError::LeftOut { feature: "patches" }),
        }
    }
}

impl<'a> PatchWeights<'a> {
    fn view(packages: &Packages<'a>, class_token: bool) -> Result<Self, ModelError> {
        let config = &packages.config;
        let (d, grid) = (config.hidden, PatchGrid::of(&config.embedding).unwrap_or_default());
        let shape = Shape { rows: d, columns: grid.inputs() };
        let positions = config.max_tokens().unwrap_or(0);
        Ok(Self {
            grid,
            projection: packages.float_linear(Role::PatchWeight, Role::PatchBias, shape)?,
            positions: packages.table(Role::PositionEmbedding, positions)?,
            class_token: match class_token {
                true => packages.vector(Role::ClassToken, GLOBAL_LAYER, d)?,
                false => &[],
            },
        })
    }
}
