//! What crosses the border by value. Enumerations come from C as plain numbers and are checked.

use crate::status::Status;
use coda_runtime::config::{Embedding, HeadKind};
use coda_runtime::executor::Output as Answer;
use coda_runtime::model::Model;
use coda_runtime::routing::{Budget as Tokens, CostModel};
use core::time::Duration;

/// Words of a context.
#[cfg(target_pointer_width = "64")]
pub const CODA_CONTEXT_WORDS: usize = 304;
/// Words of a context.
#[cfg(not(target_pointer_width = "64"))]
pub const CODA_CONTEXT_WORDS: usize = 192;

/// Memory of a model, a plan and the last error. It holds no pointer to itself: it may be copied or
/// moved between calls.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Context {
    /// Not to be touched.
    pub opaque: [u64; CODA_CONTEXT_WORDS],
}

/// What a model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum InputKind {
    /// Token ids: `coda_run_tokens`.
    Tokens = 0,
    /// An image: `coda_run_pixels`.
    Pixels = 1,
}

/// What a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum HeadType {
    /// Hidden states only.
    None = 0,
    /// A logit for each label.
    Classification = 1,
    /// One vector of the hidden width.
    Embedding = 2,
    /// A logit for each label, for each token: `[tokens, outputs]`, row by row.
    TokenClassification = 3,
}

impl HeadType {
    const fn of(head: Option<HeadKind>) -> Self {
        match head {
            None => Self::None,
            Some(HeadKind::Classification { .. }) => Self::Classification,
            Some(HeadKind::Embedding { .. }) => Self::Embedding,
            Some(HeadKind::TokenClassification { .. }) => Self::TokenClassification,
        }
    }
}

/// What is known of a model once it is bound.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Info {
    /// `sizeof` of this structure, set before the call.
    pub bytes: usize,
    /// What it reads.
    pub input: InputKind,
    /// What it answers.
    pub head: HeadType,
    /// Longest input in tokens, those of an image and its class token included; 0 if nothing bounds
    /// it.
    pub max_tokens: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Width of a hidden state.
    pub hidden: usize,
    /// Values of an answer, or of that of each token: labels, or the width of the embedding; 0
    /// without a head.
    pub outputs: usize,
    /// Labels that have a name; 0 if the package names none.
    pub labels: usize,
    /// Every token id is below it; 0 for a model of pixels.
    pub vocabulary: usize,
    /// Nonzero if `coda_tokenize` works: the base carries its words.
    pub tokenizer: i32,
    /// Rows of an image; 0 for a model of tokens, as the next three.
    pub image_height: usize,
    /// Columns of an image.
    pub image_width: usize,
    /// Values of a pixel, interleaved.
    pub image_channels: usize,
    /// Bytes of an image: height, width and channels multiplied.
    pub image_bytes: usize,
    /// The task's own reduction; 0 if the base runs alone.
    pub reduction: f32,
    /// Content id of the base: a task names the base it was made for by it.
    pub base_id: [u8; 16],
}

impl Info {
    pub(crate) fn of(model: &Model<'_>) -> Self {
        let config = model.config();
        let grid = model.patch_grid();
        let head = model.head().map(|head| head.kind);
        Self {
            bytes: size_of::<Self>(),
            input: if grid.is_some() { InputKind::Pixels } else { InputKind::Tokens },
            head: HeadType::of(head),
            max_tokens: model.max_tokens().unwrap_or(0),
            layers: config.layers,
            hidden: config.hidden,
            outputs: model.dimensions().outputs,
            labels: model.labels().map_or(0, |labels| labels.len()),
            vocabulary: match config.embedding {
                Embedding::Tokens { vocabulary, .. } => vocabulary,
                _ => 0,
            },
            tokenizer: i32::from(model.tokenizer().is_some()),
            image_height: grid.map_or(0, |grid| grid.rows * grid.side),
            image_width: grid.map_or(0, |grid| grid.columns * grid.side),
            image_channels: grid.map_or(0, |grid| grid.channels),
            image_bytes: grid.map_or(0, |grid| grid.image_bytes()),
            reduction: model.task_config().map_or(0.0, |task| task.reduction),
            base_id: model.base_id(),
        }
    }
}

/// How a `coda_budget` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum BudgetKind {
    /// As the task says.
    Task = 0,
    /// `k = max(1, ceil(n / reduction))`.
    Reduction = 1,
    /// `k = tokens`, at most all.
    Tokens = 2,
    /// `k = max(1, ceil(n * fraction))`.
    Fraction = 3,
    /// A reduction for each layer.
    PerLayer = 4,
    /// As many as are done in time.
    Deadline = 5,
    /// k for each layer.
    TokensPerLayer = 6,
}

/// How many of n tokens pass each routed layer. All zero is the task's own budget; `coda_reduction`
/// and the other functions at the end of the header make one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Budget {
    /// `sizeof` of this structure, as `coda_reduction` and the others set it; 0 in one that is all zero.
    pub bytes: usize,
    /// A `coda_budget_kind`.
    pub kind: i32,
    /// The reduction (at least 1) or the fraction (above 0, at most 1).
    pub value: f32,
    /// The tokens.
    pub tokens: usize,
    /// A reduction for each layer, dense ones included (and ignored).
    pub per_layer: *const f32,
    /// k for each layer, dense ones included (and ignored).
    pub tokens_per_layer: *const usize,
    /// How many of either there are: as many as the model has layers.
    pub layers: usize,
    /// The deadline in microseconds.
    pub deadline_us: u64,
}

impl Budget {
    /// The runtime's budget; the slices are the values the pointers lead to.
    pub(crate) fn checked<'b>(
        &self,
        per_layer: &'b [f32],
        tokens_per_layer: &'b [usize],
    ) -> Result<Tokens<'b>, Status> {
        const TASK: i32 = BudgetKind::Task as i32;
        const REDUCTION: i32 = BudgetKind::Reduction as i32;
        const TOKENS: i32 = BudgetKind::Tokens as i32;
        const FRACTION: i32 = BudgetKind::Fraction as i32;
        const PER_LAYER: i32 = BudgetKind::PerLayer as i32;
        const DEADLINE: i32 = BudgetKind::Deadline as i32;
        const TOKENS_PER_LAYER: i32 = BudgetKind::TokensPerLayer as i32;
        if self.bytes != size_of::<Self>() && (self.bytes, self.kind) != (0, TASK) {
            return Err(Status::StructureSize);
        }
        Ok(match self.kind {
            TASK => Tokens::Task,
            REDUCTION => Tokens::Reduction(self.value),
            TOKENS => Tokens::Selected(self.tokens),
            FRACTION => Tokens::Fraction(self.value),
            PER_LAYER => Tokens::PerLayer(per_layer),
            TOKENS_PER_LAYER => Tokens::SelectedPerLayer(tokens_per_layer),
            DEADLINE => Tokens::Deadline(Duration::from_micros(self.deadline_us)),
            _ => return Err(Status::BadArgument),
        })
    }
}

/// What an inference costs on this machine, in nanoseconds, as `coda bench --calibrate` measures
/// it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Costs {
    /// `sizeof` of this structure.
    pub bytes: usize,
    /// One inference.
    pub fixed: f32,
    /// One token of the input.
    pub token: f32,
    /// One multiply-accumulate of a frozen linear map.
    pub frozen: f32,
    /// One multiply-accumulate of attention scores and context.
    pub attention: f32,
    /// One multiply-accumulate of an adapter, a router or low-rank keys.
    pub task: f32,
    /// What a deadline sets aside for noise, as a share of the prediction.
    pub margin: f32,
}

impl Costs {
    pub(crate) fn checked(&self) -> Result<CostModel, Status> {
        let Self { bytes, fixed, token, frozen, attention, task, margin } = *self;
        if bytes != size_of::<Self>() {
            return Err(Status::StructureSize);
        }
        let all = [fixed, token, frozen, attention, task, margin];
        if all.iter().any(|value| !value.is_finite() || *value < 0.0) {
            return Err(Status::BadArgument);
        }
        Ok(CostModel { fixed, token, frozen, attention, task, margin })
    }
}

/// The answer of one inference. The pointers lead into the arena: they hold until the next call
/// with the same context that runs, starts or swaps.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Output {
    /// `sizeof` of this structure, set before the call.
    pub bytes: usize,
    /// Logits or the embedding, `[count]`; logits of each token `[tokens, count / tokens]`, row by row.
    pub values: *const f32,
    /// How many; 0 without a head.
    pub count: usize,
    /// Index of the largest logit, the first of equals; `SIZE_MAX` unless the head classifies
    /// the whole input: the label of a token is the largest of its row.
    pub label: usize,
    /// Hidden states after the last layer, `[tokens, width]`, row by row.
    pub hidden: *const f32,
    /// Tokens of the input.
    pub tokens: usize,
    /// Width of a hidden state.
    pub width: usize,
    /// k of the routed layers under a deadline, at least; 0 under another budget.
    pub deadline_tokens: usize,
}

impl Output {
    pub(crate) fn of(answer: &Answer<'_>, classifies: bool) -> Self {
        Self {
            bytes: size_of::<Self>(),
            values: answer.values.as_ptr(),
            count: answer.values.len(),
            label: answer.label().filter(|_| classifies).unwrap_or(usize::MAX),
            hidden: answer.hidden.row(0).as_ptr(),
            tokens: answer.hidden.rows(),
            width: answer.hidden.columns(),
            deadline_tokens: answer.choice.map_or(0, |choice| choice.tokens),
        }
    }
}
