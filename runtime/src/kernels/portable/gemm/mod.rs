//! Matrix products: rows times panels of eight output channels.
//!
//! ```text
//! for each chunk of at most ROW_TILE rows:
//!     make the rows ready, as an instruction set likes them        (TileSums)
//!     for each panel:
//!         load the panel's part of the epilogue                    (LoadedEpilogue)
//!         for each tile of 8, 4, 2 or 1 rows of the chunk:         (for_row_tiles)
//!             sums    = the rows times the panel, in registers     (BlockSums, FloatSums)
//!             values  = sums * (row scale * channel scale)
//!             out     = epilogue(values)
//! ```
//!
//! An instruction set brings the sums of a tile. Where it does more (packed rows, two panels
//! together), its file has a driver of its own, made of the same parts.

mod by_floats;
mod epilogue;
mod float;
mod int4;
mod int8;
mod tile;

pub(super) use by_floats::gemm_int8_by_floats;
pub(in crate::kernels) use {epilogue::*, float::*, int4::*, int8::*, tile::*};

use crate::panel::PANEL;

/// Values of the eight output channels of a panel.
pub(in crate::kernels) type Lanes = [f32; PANEL];
/// One block of `Panel8x8`: 8 output channels by 8 consecutive inputs.
pub(in crate::kernels) type Block = [[i8; PANEL]; PANEL];
/// Sums of rows with the 8 channels of a panel.
pub(in crate::kernels) type Sums<const ROWS: usize> = [[i32; PANEL]; ROWS];

/// Sums by plain loops.
pub(in crate::kernels) struct PortableSums;
