//! Fixed-size sections: values to bytes and back. Decoding accepts exactly what encoding writes.

use super::error::FormatError;
use super::layout::{SectionKind, config, head, image, layer, limits, task};
use crate::config::{
    Activation, AttentionMode, Config, Embedding, Gate, Head, HeadKind, LayerPlan, LocalAttention,
    Named, Norm, NormPlacement, Poolings, Reading, Rotary, RouterInput, Routing, Stages,
    TaskConfig,
};
use crate::image::InputNormalization;
use core::ops::Range;

/// The little-endian u16 at `range`; 0 past the end.
pub(super) fn u16_at(bytes: &[u8], range: Range<usize>) -> u16 {
    let array = bytes.get(range).and_then(|b| b.try_into().ok()).unwrap_or([0; 2]);
    u16::from_le_bytes(array)
}

/// The little-endian u32 at `range`; 0 past the end.
pub(super) fn u32_at(bytes: &[u8], range: Range<usize>) -> u32 {
    let array = bytes.get(range).and_then(|b| b.try_into().ok()).unwrap_or([0; 4]);
    u32::from_le_bytes(array)
}

/// The little-endian u32 at `range` as a size.
pub(super) fn size_at(bytes: &[u8], range: Range<usize>) -> usize {
    u32_at(bytes, range) as usize
}

/// Reads the fields of one section; remembers which section for its errors.
pub(super) struct Fields<'a> {
    pub(super) kind: SectionKind,
    pub(super) bytes: &'a [u8],
}

impl Fields<'_> {
    fn invalid(&self, range: &Range<usize>) -> FormatError {
        FormatError::InvalidField { kind: self.kind, offset: range.start }
    }

    pub(super) fn size(
        &self,
        range: Range<usize>,
        allowed: Range<usize>,
    ) -> Result<usize, FormatError> {
        let value = size_at(self.bytes, range.clone());
        if allowed.contains(&value) { Ok(value) } else { Err(self.invalid(&range)) }
    }

    pub(super) fn float(
        &self,
        range: Range<usize>,
        valid: impl Fn(f32) -> bool,
    ) -> Result<f32, FormatError> {
        let value = f32::from_bits(u32_at(self.bytes, range.clone()));
        if value.is_finite() && valid(value) { Ok(value) } else { Err(self.invalid(&range)) }
    }

    /// The `code - 1`th of `choices`.
    fn choice<T: Copy>(&self, range: Range<usize>, choices: &[T]) -> Result<T, FormatError> {
        size_at(self.bytes, range.clone())
            .checked_sub(1)
            .and_then(|index| choices.get(index).copied())
            .ok_or(self.invalid(&range))
    }

    /// The bytes must be what encoding the decoded value gives: unused fields are zero.
    fn canonical(&self, encoded: &[u8]) -> Result<(), FormatError> {
        match self.bytes.iter().zip(encoded).position(|(a, b)| a != b) {
            Some(offset) => Err(FormatError::InvalidField { kind: self.kind, offset }),
            None => Ok(()),
        }
    }
}

fn fixed(kind: SectionKind, bytes: &[u8], length: usize) -> Result<Fields<'_>, FormatError> {
    if bytes.len() != length {
        return Err(FormatError::SectionLength { kind, found: bytes.len() });
    }
    Ok(Fields { kind, bytes })
}

fn put<const N: usize>(bytes: &mut [u8; N], range: Range<usize>, value: u32) {
    if let Some(slot) = bytes.get_mut(range) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
}

/// A build without it refuses what it brings like a reader of an earlier minor version.
const MORE: bool = cfg!(feature = "more-families");

/// A build without it refuses labels of tokens in the same way.
const HEADS: bool = cfg!(feature = "heads");

const ACTIVATIONS: &[Activation] = {
    use Activation::{GeluErf, GeluQuick, GeluTanh, Relu, Silu};
    if MORE { &[Relu, GeluErf, GeluTanh, Silu, GeluQuick] } else { &[Relu, GeluErf, GeluTanh] }
};

fn code_of<T: PartialEq>(choices: &[T], value: &T) -> u32 {
    choices.iter().position(|choice| choice == value).map_or(0, |index| index as u32 + 1)
}

/// Encodes the configuration section.
#[must_use]
pub fn encode_config(value: &Config) -> [u8; config::BYTES] {
    let mut bytes = [0; config::BYTES];
    encode_embedding(&value.embedding, &mut bytes);
    put(&mut bytes, config::HIDDEN, value.hidden as u32);
    put(&mut bytes, config::LAYERS, value.layers as u32);
    put(&mut bytes, config::HEADS, value.heads as u32);
    put(&mut bytes, config::HEAD_DIM, value.head_dim as u32);
    put(&mut bytes, config::FEED_FORWARD, value.feed_forward as u32);
    put(&mut bytes, config::NORM, code_of(&[Norm::LayerNorm, Norm::RmsNorm], &value.norm));
    put(&mut bytes, config::NORM_EPS, value.norm_eps.to_bits());
    let placements = [NormPlacement::Pre, NormPlacement::Post];
    put(&mut bytes, config::PLACEMENT, code_of(&placements, &value.placement));
    put(&mut bytes, config::ACTIVATION, code_of(ACTIVATIONS, &value.activation));
    let flags = [
        value.gated,
        value.final_norm,
        value.int8_attention,
        value.shared_layers,
        MORE && value.layer_bias,
        MORE && value.causal,
        MORE && value.grid_bias,
    ];
    let flags = flags.into_iter().rev().fold(0, |bits, flag| bits << 1 | u32::from(flag));
    put(&mut bytes, config::FLAGS, flags | position_flags(value));
    encode_positions(value, &mut bytes);
    put(&mut bytes, config::ATTENTION_SCALE, value.attention_scale.to_bits());
    put(&mut bytes, config::RELATIVE_DISTANCE, value.relative_distance as u32);
    bytes
}

/// Layer 0 has no norm before its attention.
const BARE_FIRST_LAYER: u32 = 1 << 16;
/// Local layers have a rotary table of their own.
const OWN_OF_LOCAL: u32 = 1 << 17;
/// Every flag that [`position_flags`] knows.
const POSITION_FLAGS: u32 = if MORE { BARE_FIRST_LAYER | OWN_OF_LOCAL } else { 0 };

fn position_flags(value: &Config) -> u32 {
    let flag = |is_set: bool, flag: u32| if is_set { flag & POSITION_FLAGS } else { 0 };
    flag(value.bare_first_layer, BARE_FIRST_LAYER) | flag(value.rotary.own_of_local, OWN_OF_LOCAL)
}

/// Rotary positions and local attention.
fn encode_positions(value: &Config, bytes: &mut [u8; config::BYTES]) {
    if MORE {
        put(bytes, config::ROTARY_COLUMNS, value.rotary.columns as u32);
        put(bytes, config::ROTARY_POSITIONS, value.rotary.positions as u32);
        put(bytes, config::LOCAL_DISTANCE, value.local.distance as u32);
        put(bytes, config::LOCAL_PERIOD, value.local.period as u32);
    }
}

/// Fills in what [`encode_positions`] and [`position_flags`] encode; the flags are those of the section.
fn decode_positions(
    fields: &Fields<'_>,
    flags: u32,
    value: &mut Config,
) -> Result<(), FormatError> {
    if !MORE {
        return Ok(());
    }
    let columns = fields.size(config::ROTARY_COLUMNS, 0..value.head_dim + 1)?;
    let rows = if columns > 0 { 1..limits::POSITIONS + 1 } else { 0..1 };
    let positions = fields.size(config::ROTARY_POSITIONS, rows)?;
    let distance = fields.size(config::LOCAL_DISTANCE, 0..limits::POSITIONS + 1)?;
    let periods = if distance > 0 { 2..limits::LAYERS + 1 } else { 0..1 };
    let period = fields.size(config::LOCAL_PERIOD, periods)?;
    let own_of_local = flags & OWN_OF_LOCAL != 0;
    let bare = flags & BARE_FIRST_LAYER != 0;
    // A row for each token of an image.
    let patches = matches!(value.embedding, Embedding::Patches { .. }) && columns > 0;
    if patches && value.max_tokens() != Some(positions) {
        return Err(fields.invalid(&config::ROTARY_POSITIONS));
    }
    if !columns.is_multiple_of(2) {
        return Err(fields.invalid(&config::ROTARY_COLUMNS));
    }
    if own_of_local && (columns == 0 || distance == 0)
        || bare && value.placement != NormPlacement::Pre
    {
        return Err(fields.invalid(&config::FLAGS));
    }
    value.rotary = Rotary { columns, positions, own_of_local };
    value.local = LocalAttention { distance, period };
    value.bare_first_layer = bare;
    Ok(())
}

fn encode_embedding(embedding: &Embedding, bytes: &mut [u8; config::BYTES]) {
    let (code, fields) = match *embedding {
        Embedding::Tokens { vocabulary, positions, token_types, norm, projected } => {
            (1, [vocabulary, positions, token_types, usize::from(norm), projected, 0])
        }
        Embedding::Patches { height, width, channels, patch, prefix_tokens, norm } => {
            (2, [height, width, channels, patch, prefix_tokens, usize::from(norm)])
        }
        #[cfg(feature = "frames")]
        Embedding::Frames { bins, positions } => (FRAMES, [bins, positions, 0, 0, 0, 0]),
        #[cfg(feature = "grid")]
        Embedding::Grid { rows, columns, channels, patch, patches } => {
            (4, [rows, columns, channels, patch, patches, 0])
        }
    };
    put(bytes, config::EMBEDDING, code);
    for (range, field) in config::EMBEDDING_FIELDS.into_iter().zip(fields) {
        put(bytes, range, field as u32);
    }
}

/// Decodes the configuration section.
///
/// # Errors
/// [`FormatError::SectionLength`] and [`FormatError::InvalidField`].
pub fn decode_config(bytes: &[u8]) -> Result<Config, FormatError> {
    let fields = fixed(SectionKind::Config, bytes, config::BYTES)?;
    let widths = 1..limits::WIDTH + 1;
    let flags = u32_at(bytes, config::FLAGS);
    let known = if MORE { 127 } else { 7 } | POSITION_FLAGS;
    if flags & !known != 0 {
        return Err(fields.invalid(&config::FLAGS));
    }
    let mut value = Config {
        embedding: decode_embedding(&fields)?,
        hidden: fields.size(config::HIDDEN, widths.clone())?,
        layers: fields.size(config::LAYERS, 1..limits::LAYERS + 1)?,
        heads: fields.size(config::HEADS, widths.clone())?,
        head_dim: fields.size(config::HEAD_DIM, widths.clone())?,
        feed_forward: fields.size(config::FEED_FORWARD, widths.clone())?,
        norm: fields.choice(config::NORM, &[Norm::LayerNorm, Norm::RmsNorm])?,
        norm_eps: fields.float(config::NORM_EPS, |eps| eps >= 0.0)?,
        placement: fields.choice(config::PLACEMENT, &[NormPlacement::Pre, NormPlacement::Post])?,
        activation: fields.choice(config::ACTIVATION, ACTIVATIONS)?,
        gated: flags & 1 != 0,
        attention_scale: fields.float(config::ATTENTION_SCALE, |scale| scale > 0.0)?,
        relative_distance: fields.size(config::RELATIVE_DISTANCE, 0..limits::POSITIONS + 1)?,
        final_norm: flags & 2 != 0,
        int8_attention: flags & 4 != 0,
        shared_layers: flags & 8 != 0,
        layer_bias: MORE && flags & 16 != 0,
        causal: MORE && flags & 32 != 0,
        grid_bias: MORE && flags & 64 != 0,
        rotary: Rotary::default(),
        local: LocalAttention::default(),
        bare_first_layer: false,
    };
    decode_positions(&fields, flags, &mut value)?;
    match value.heads.checked_mul(value.head_dim) {
        Some(width) if widths.contains(&width) => {}
        _ => return Err(fields.invalid(&config::HEAD_DIM)),
    }
    if MORE && contradicts_itself(&value) {
        return Err(fields.invalid(&config::FLAGS));
    }
    fields.canonical(&encode_config(&value))?;
    Ok(value)
}

/// What the flags of a bias or of causal attention say cannot be.
const fn contradicts_itself(value: &Config) -> bool {
    let no_bias = (value.layer_bias || value.grid_bias) && value.relative_distance == 0;
    let other_grid = value.grid_bias && value.relative_distance != value.grid_distance();
    // Rounded softmax weights are spread over all keys, also those that a token must not see.
    let seen_by_all = value.causal && value.int8_attention;
    no_bias || other_grid || seen_by_all
}

/// The code of an embedding of frames.
#[cfg(feature = "frames")]
const FRAMES: u32 = 3;

fn decode_embedding(fields: &Fields<'_>) -> Result<Embedding, FormatError> {
    #[cfg(feature = "frames")]
    if u32_at(fields.bytes, config::EMBEDDING) == FRAMES {
        return decode_frames(fields);
    }
    #[cfg(feature = "grid")]
    if size_at(fields.bytes, config::EMBEDDING) == 4 {
        return decode_grid(fields);
    }
    if !fields.choice(config::EMBEDDING, &[true, false])? {
        return decode_patches(fields);
    }
    let [first, second, third, fourth, fifth, _] = config::EMBEDDING_FIELDS;
    let positions = 0..limits::POSITIONS + 1;
    let widest = if MORE { size_at(fields.bytes, config::HIDDEN) } else { 0 };
    Ok(Embedding::Tokens {
        vocabulary: fields.size(first, 1..limits::VOCABULARY + 1)?,
        positions: fields.size(second, positions.clone())?,
        token_types: fields.size(third, positions)?,
        norm: fields.size(fourth, 0..2)? == 1,
        projected: fields.size(fifth, 0..widest.saturating_add(1))?,
    })
}

fn decode_patches(fields: &Fields<'_>) -> Result<Embedding, FormatError> {
    let [first, second, third, fourth, fifth, sixth] = config::EMBEDDING_FIELDS;
    let sides = 1..limits::POSITIONS + 1;
    let patch = fields.size(fourth.clone(), sides.clone())?;
    let side = |range: Range<usize>| {
        let side = fields.size(range.clone(), sides.clone())?;
        if side.is_multiple_of(patch) { Ok(side) } else { Err(fields.invalid(&range)) }
    };
    let (height, width) = (side(first)?, side(second.clone())?);
    let channels = fields.size(third, 1..5)?;
    let patches = (height / patch).checked_mul(width / patch);
    let inputs = patch.checked_mul(patch).and_then(|area| area.checked_mul(channels));
    let others = patches.map_or(0, |count| limits::POSITIONS.saturating_sub(count));
    if others == 0 {
        return Err(fields.invalid(&second));
    }
    if inputs.is_none_or(|count| count > limits::WIDTH) {
        return Err(fields.invalid(&fourth));
    }
    let prefix_tokens = fields.size(fifth, 0..others + 1)?;
    let norm = fields.size(sixth, 0..if MORE { 2 } else { 1 })? == 1;
    Ok(Embedding::Patches { height, width, channels, patch, prefix_tokens, norm })
}

/// Frames have positions of their own and are not turned. Three of them are as wide as a map may be.
#[cfg(feature = "frames")]
fn decode_frames(fields: &Fields<'_>) -> Result<Embedding, FormatError> {
    let [first, second, ..] = config::EMBEDDING_FIELDS;
    fields.size(config::ROTARY_COLUMNS, 0..1)?;
    fields.size(config::HIDDEN, 1..limits::WIDTH / 3 + 1)?;
    Ok(Embedding::Frames {
        bins: fields.size(first, 1..limits::WIDTH / 3 + 1)?,
        positions: fields.size(second, 1..limits::POSITIONS + 1)?,
    })
}

#[cfg(feature = "grid")]
fn decode_grid(fields: &Fields<'_>) -> Result<Embedding, FormatError> {
    let [first, second, third, fourth, fifth, _] = config::EMBEDDING_FIELDS;
    let places = 1..limits::POSITIONS + 1;
    let (rows, columns) = (fields.size(first, places.clone())?, fields.size(second, places)?);
    let channels = fields.size(third, 1..5)?;
    let patch = fields.size(fourth.clone(), 1..limits::POSITIONS + 1)?;
    let inputs = patch.checked_mul(patch).and_then(|area| area.checked_mul(channels));
    if inputs.is_none_or(|count| count > limits::WIDTH) {
        return Err(fields.invalid(&fourth));
    }
    let most = rows.saturating_mul(columns).min(limits::POSITIONS);
    let patches = fields.size(fifth, 1..most + 1)?;
    // Nothing turns by a place in a grid.
    if size_at(fields.bytes, config::ROTARY_COLUMNS) > 0 {
        return Err(fields.invalid(&config::ROTARY_COLUMNS));
    }
    Ok(Embedding::Grid { rows, columns, channels, patch, patches })
}

const ROUTER_INPUTS: &[RouterInput] = &[
    RouterInput::Norm,
    RouterInput::Raw,
    RouterInput::Rms,
    #[cfg(feature = "pruning")]
    RouterInput::Grid,
];

/// Encodes the task section.
#[must_use]
pub fn encode_task(value: &TaskConfig) -> [u8; task::BYTES] {
    let mut bytes = [0; task::BYTES];
    put(&mut bytes, task::ADAPTER_ACTIVATION, code_of(ACTIVATIONS, &value.adapter_activation));
    put(&mut bytes, task::ROUTER_INPUT, code_of(ROUTER_INPUTS, &value.router_input));
    let (code, eps, sweeps, eps_start, decay) = match value.gate {
        Gate::Exact { eps } => (1, eps, 0, 0.0, 0.0),
        Gate::Iterated { sweeps, eps, eps_start, decay } => (2, eps, sweeps, eps_start, decay),
        Gate::Sigmoid => (3, 0.0, 0, 0.0, 0.0),
        Gate::Ones => (4, 0.0, 0, 0.0, 0.0),
    };
    put(&mut bytes, task::GATE, code);
    put(&mut bytes, task::EPS, eps.to_bits());
    put(&mut bytes, task::SWEEPS, sweeps);
    put(&mut bytes, task::EPS_START, eps_start.to_bits());
    put(&mut bytes, task::DECAY, decay.to_bits());
    put(&mut bytes, task::REDUCTION, value.reduction.to_bits());
    put(&mut bytes, task::MAX_TOKENS, value.max_tokens as u32);
    bytes
}

/// Decodes the task section.
///
/// # Errors
/// [`FormatError::SectionLength`] and [`FormatError::InvalidField`].
pub fn decode_task(bytes: &[u8]) -> Result<TaskConfig, FormatError> {
    let fields = fixed(SectionKind::Task, bytes, task::BYTES)?;
    let eps = || fields.float(task::EPS, |eps| eps > 0.0);
    let gate = match fields.size(task::GATE, 1..5)? {
        1 => Gate::Exact { eps: eps()? },
        2 => {
            let eps = eps()?;
            Gate::Iterated {
                sweeps: fields.size(task::SWEEPS, 1..limits::SWEEPS as usize + 1)? as u32,
                eps,
                eps_start: fields.float(task::EPS_START, |start| start >= eps)?,
                decay: fields.float(task::DECAY, |decay| decay > 0.0 && decay <= 1.0)?,
            }
        }
        3 => Gate::Sigmoid,
        _ => Gate::Ones,
    };
    let router_input = fields.choice(task::ROUTER_INPUT, ROUTER_INPUTS)?;
    if cfg!(feature = "pruning") && router_input == RouterInput::Grid && gate != Gate::Ones {
        return Err(fields.invalid(&task::GATE));
    }
    let value = TaskConfig {
        adapter_activation: fields.choice(task::ADAPTER_ACTIVATION, ACTIVATIONS)?,
        router_input,
        gate,
        reduction: fields.float(task::REDUCTION, |reduction| reduction >= 1.0)?,
        max_tokens: fields.size(task::MAX_TOKENS, 0..limits::POSITIONS + 1)?,
    };
    fields.canonical(&encode_task(&value))?;
    Ok(value)
}

/// Encodes one entry of the layers section.
#[must_use]
pub fn encode_layer(value: &LayerPlan) -> [u8; layer::ENTRY_BYTES] {
    let mut bytes = [0; layer::ENTRY_BYTES];
    if let Some(routing) = value.routing {
        let mode = match routing.attention {
            AttentionMode::KToK => 1,
            AttentionMode::KToAll => 2,
            AttentionMode::KToLowRank => 3,
            AttentionMode::Prune => 4,
        };
        put(&mut bytes, layer::MODE, mode);
        put(&mut bytes, layer::REDUCTION, routing.reduction.unwrap_or(0.0).to_bits());
    }
    bytes
}

/// Decodes one entry of the layers section.
///
/// # Errors
/// [`FormatError::SectionLength`] and [`FormatError::InvalidField`].
pub fn decode_layer(bytes: &[u8]) -> Result<LayerPlan, FormatError> {
    let fields = fixed(SectionKind::Layers, bytes, layer::ENTRY_BYTES)?;
    let reduction = fields.float(layer::REDUCTION, |r| r == 0.0 || r >= 1.0)?;
    let modes = if cfg!(feature = "pruning") { 5 } else { 4 };
    let attention = match fields.size(layer::MODE, 0..modes)? {
        0 => None,
        1 => Some(AttentionMode::KToK),
        2 => Some(AttentionMode::KToAll),
        4 if cfg!(feature = "pruning") => Some(AttentionMode::Prune),
        _ => Some(AttentionMode::KToLowRank),
    };
    let own = (reduction >= 1.0).then_some(reduction);
    let routing = attention.map(|attention| Routing { attention, reduction: own });
    let value = LayerPlan { routing };
    fields.canonical(&encode_layer(&value))?;
    Ok(value)
}

/// Encodes the head section.
#[must_use]
pub fn encode_head(value: &Head) -> [u8; head::BYTES] {
    let mut bytes = [0; head::BYTES];
    put(&mut bytes, head::POOLING, value.pooling.code());
    let (kind, argument) = match value.kind {
        HeadKind::Classification { labels } => (1, labels as u32),
        HeadKind::Embedding { normalize } => (2, u32::from(normalize)),
        HeadKind::TokenClassification { labels } => (3, labels as u32),
    };
    let reading = if kind == 1 { value.reading as u32 } else { 0 };
    put(&mut bytes, head::KIND, kind);
    put(&mut bytes, head::ARGUMENT, argument);
    put(&mut bytes, head::STAGES, value.stages.code() | reading << head::READING_SHIFT);
    bytes
}

/// Decodes the head section.
///
/// # Errors
/// [`FormatError::SectionLength`] and [`FormatError::InvalidField`].
pub fn decode_head(bytes: &[u8]) -> Result<Head, FormatError> {
    let fields = fixed(SectionKind::Head, bytes, head::BYTES)?;
    let kinds = if HEADS { 4 } else { 3 };
    let kind = fields.size(head::KIND, 1..kinds)?;
    let labels = || fields.size(head::ARGUMENT, 1..limits::LABELS + 1);
    if HEADS && kind == 3 {
        let value = Head::of_each_token(labels()?);
        fields.canonical(&encode_head(&value))?;
        return Ok(value);
    }
    let pooling = Poolings::from_code(u32_at(bytes, head::POOLING));
    let pooling = pooling.ok_or(fields.invalid(&head::POOLING))?;
    // What is not a code becomes another value, which is not what the bytes say.
    let stages = u32_at(bytes, head::STAGES);
    let reading = Reading::ALL.get((stages >> head::READING_SHIFT) as usize);
    let stages = Stages::from_code(stages & ((1 << head::READING_SHIFT) - 1));
    let kind = match kind {
        1 => HeadKind::Classification { labels: labels()? },
        _ => HeadKind::Embedding { normalize: fields.size(head::ARGUMENT, 0..2)? == 1 },
    };
    let value = Head {
        pooling,
        stages: stages.unwrap_or_default(),
        kind,
        reading: reading.copied().unwrap_or_default(),
    };
    fields.canonical(&encode_head(&value))?;
    Ok(value)
}

/// Encodes the image section.
#[must_use]
pub fn encode_image(value: &InputNormalization) -> [u8; image::BYTES] {
    let mut bytes = [0; image::BYTES];
    put(&mut bytes, image::CHANNELS, value.channels as u32);
    put(&mut bytes, image::RESCALE, value.rescale.to_bits());
    let channels = value.mean.iter().zip(&value.std).enumerate();
    for (channel, (mean, std)) in channels.take(value.channels) {
        put(&mut bytes, image::mean(channel), mean.to_bits());
        put(&mut bytes, image::std(channel), std.to_bits());
    }
    bytes
}

/// Decodes the image section.
///
/// # Errors
/// [`FormatError::SectionLength`] and [`FormatError::InvalidField`].
pub fn decode_image(bytes: &[u8]) -> Result<InputNormalization, FormatError> {
    let fields = fixed(SectionKind::Image, bytes, image::BYTES)?;
    let channels = fields.size(image::CHANNELS, 1..5)?;
    let rescale = fields.float(image::RESCALE, |scale| scale > 0.0)?;
    let mut value = InputNormalization { channels, rescale, mean: [0.0; 4], std: [1.0; 4] };
    let slots = value.mean.iter_mut().zip(&mut value.std).enumerate();
    for (channel, (mean, std)) in slots.take(channels) {
        *mean = fields.float(image::mean(channel), |_| true)?;
        *std = fields.float(image::std(channel), |std| std > 0.0)?;
    }
    fields.canonical(&encode_image(&value))?;
    Ok(value)
}
