//! x86-64 with AVX-512 and its VNNI (Intel since Ice Lake, AMD since Zen 4).
//!
//! Products of two panels at a time are in `gemm`, what becomes of their sums in `epilogue`, and the
//! passes over rows in `rows`: by hand, as compilers make little of rows as short as a head.

pub(super) mod epilogue;
mod gemm;
mod registers;
mod rows;

recompiled_table! {
    "avx512_vnni", "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", rows: rows,
    f32: gemm::gemm_float::<f32>,
    f16: gemm::gemm_float::<half::f16>,
    int8: gemm::gemm_int8,
    int4: gemm::gemm_int4,
}

/// The table, if this CPU and its operating system have AVX-512 with VNNI.
pub(super) fn detect() -> Option<&'static Kernels> {
    cpu_has!("avx2", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni")
        .then_some(&TABLE)
}

/// The table, with its pass over several rows.
pub(super) static TABLE: Kernels = Kernels { layer_norm_rows: Some(layer_norm_rows), ..KERNELS };

recompiled! {
    "avx2,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni";
    fn layer_norm_rows(rows: &mut MatrixMut<'_>, weights: NormWeights<'_>) = rows::layer_norm_rows;
}
