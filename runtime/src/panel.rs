//! Panels: how weights and rows lie in memory, in packages and for every kernel.

/// Output channels of a panel, and consecutive inputs of a channel in an int8 panel.
pub const PANEL: usize = 8;
/// Inputs of an int4 panel that share a scale.
pub const INT4_GROUP: usize = 32;
/// Bytes of such a group: 8 f16 scales and 8 by 32 int4 values.
pub const INT4_GROUP_BYTES: usize = PANEL * 2 + PANEL * INT4_GROUP / 2;
/// Panels of 8 output channels: for each input, the 8 channels' values are adjacent.
#[derive(Clone, Copy, Debug)]
pub struct Panels<'a, W> {
    /// `[ceil(outputs / 8), inputs, 8]`.
    pub values: &'a [W],
    /// Output channels.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
}

/// int8 panels: blocks of 8 output channels by 8 consecutive inputs (`Panel8x8`).
#[derive(Clone, Copy, Debug)]
pub struct PanelsInt8<'a> {
    /// `[ceil(outputs / 8), ceil(inputs / 8), 8 outputs, 8 inputs]`, zero padded.
    pub values: &'a [i8],
    /// A factor for each output channel, zero padded to a multiple of 8.
    pub scales: &'a [f32],
    /// Output channels.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
}

/// 32 inputs of 8 output channels in int4: 8 f16 scales, then two times 64 bytes. Byte `8 c + i` of
/// the first 64 holds input i of channel c in its low half and input 8 + i in its high half; those
/// of the last 64 hold inputs 16 + i and 24 + i. Values are from -8 to 7.
pub type Int4Group = [u8; INT4_GROUP_BYTES];

/// int4 panels: groups of 32 inputs of 8 output channels.
#[derive(Clone, Copy, Debug)]
pub struct PanelsInt4<'a> {
    /// `[ceil(outputs / 8), ceil(inputs / 32)]`, zero padded.
    pub groups: &'a [Int4Group],
    /// Output channels.
    pub outputs: usize,
    /// Inputs.
    pub inputs: usize,
}

/// Rows quantised to int8, each with its scale.
#[derive(Clone, Copy, Debug)]
pub struct RowsInt8<'a> {
    /// `[rows, stride]`, each from -127 to 127. What a row holds after its inputs is multiplied by the
    /// zeros of panels.
    pub values: &'a [i8],
    /// One scale a row.
    pub scales: &'a [f32],
    /// A multiple of 8, at least the inputs.
    pub stride: usize,
}
