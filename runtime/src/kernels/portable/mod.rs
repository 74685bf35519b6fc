//! The scalar kernels in the shape a compiler turns into vector code: eight lanes, panels, tiles of
//! rows. No intrinsics, so every instruction set's table can be these bodies, compiled for it.

mod gemm;
mod rows;

pub(super) use gemm::*;
pub use rows::*;

use super::Kernels;
use half::f16;

/// The table.
pub static KERNELS: Kernels = Kernels {
    name: "portable",
    gemm_f32_f32_f32w: gemm_float::<4, f32, PortableSums>,
    gemm_f32_f32_f16w: gemm_float::<4, f16, PortableSums>,
    gemm_f32_qd8_qc8w: gemm_int8_by_floats,
    gemm_f32_qd8_qc4w: gemm_int4::<4, PortableSums>,
    quantize_row,
    layer_norm,
    layer_norm_rows: None,
    rms_norm,
    softmax,
    softmax_int8,
    pack_rows,
    pack_columns,
    add_f16,
    add_int8,
    dot,
};
