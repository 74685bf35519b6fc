//! Portable bodies compiled again inside an instruction set's table, at its vector width.

/// Whether this CPU has every feature: asked at run time with `std`, else what the build enables.
macro_rules! cpu_has {
    ($($feature:tt),+) => { $(cpu_has!(@one $feature))&&+ };
    (@one $feature:tt) => {{
        #[cfg(all(feature = "std", target_arch = "x86_64"))]
        let found = std::arch::is_x86_feature_detected!($feature);
        #[cfg(all(feature = "std", target_arch = "aarch64"))]
        let found = std::arch::is_aarch64_feature_detected!($feature);
        #[cfg(not(all(feature = "std", any(target_arch = "x86_64", target_arch = "aarch64"))))]
        let found = cfg!(target_feature = $feature);
        found
    }};
}

/// A safe function that runs a portable body with `$features` enabled.
macro_rules! recompiled {
    ($features:literal; $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $output:ty)? = $body:expr;)*) => {$(
        #[cfg_attr(target_arch = "wasm32", allow(unused_unsafe, reason = "wasm has no such check"))]
        fn $name($($argument: $type),*) $(-> $output)? {
            #[target_feature(enable = $features)]
            #[inline]
            fn compiled($($argument: $type),*) $(-> $output)? {
                $body($($argument),*)
            }
            // SAFETY: the table that holds this function is handed out only by this file's `detect`,
            // after it found these features.
            unsafe { compiled($($argument),*) }
        }
    )*};
}

/// What an instruction set brings to the integer GEMMs, by the unsafe function `$sums` of its file.
macro_rules! block_sums {
    ($name:ident, $sums:expr) => {
        struct $name;

        impl BlockSums for $name {
            #[inline(always)]
            fn sums<const ROWS: usize>(
                rows: [&[[i8; PANEL]]; ROWS],
                panel: &[Block],
            ) -> Sums<ROWS> {
                if !same_length(&rows, &[panel]) {
                    return [[0; PANEL]; ROWS];
                }
                // SAFETY: the rows are as long as the panel. Only functions of this file's table come
                // here; its `detect` found what they need.
                unsafe { $sums(rows, panel) }
            }
        }
    };
}

/// The static `KERNELS` of an instruction set: its GEMMs, and the passes over rows of the module
/// `$rows`, all compiled for its features.
macro_rules! recompiled_table {
    (
        $name:literal, $features:literal, rows: $rows:ident,
        f32: $f32:expr, f16: $f16:expr, int8: $int8:expr, int4: $int4:expr $(,)?
    ) => {
        use crate::kernels::{
            Epilogue, Kernels, NormWeights, Panels, PanelsInt4, PanelsInt8, RowsInt8, WeightScale,
        };
        use crate::tensor::{Matrix, MatrixMut};

        pub(super) const NAME: &str = $name;

        static KERNELS: Kernels = Kernels {
            name: NAME,
            gemm_f32_f32_f32w,
            gemm_f32_f32_f16w,
            gemm_f32_qd8_qc8w,
            gemm_f32_qd8_qc4w,
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

        recompiled! {
            $features;
            fn gemm_f32_f32_f32w(out: &mut MatrixMut<'_>, lhs: Matrix<'_>, rhs: Panels<'_, f32>, epilogue: &Epilogue<'_>) = $f32;
            fn gemm_f32_f32_f16w(out: &mut MatrixMut<'_>, lhs: Matrix<'_>, rhs: Panels<'_, half::f16>, epilogue: &Epilogue<'_>) = $f16;
            fn gemm_f32_qd8_qc8w(out: &mut MatrixMut<'_>, lhs: RowsInt8<'_>, rhs: PanelsInt8<'_>, epilogue: &Epilogue<'_>) = $int8;
            fn gemm_f32_qd8_qc4w(out: &mut MatrixMut<'_>, lhs: RowsInt8<'_>, rhs: PanelsInt4<'_>, epilogue: &Epilogue<'_>) = $int4;
            fn quantize_row(out: &mut [i8], row: &[f32], factors: &[f32]) -> f32 = $rows::quantize_row;
            fn layer_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) = $rows::layer_norm;
            fn rms_norm(out: &mut [f32], row: &[f32], weights: NormWeights<'_>) = $rows::rms_norm;
            fn softmax(row: &mut [f32]) = $rows::softmax;
            fn softmax_int8(out: &mut [i8], row: &[f32]) -> WeightScale = $rows::softmax_int8;
            fn pack_rows(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) = $rows::pack_rows;
            fn pack_columns(out: &mut [i8], scales: &mut [f32], rows: Matrix<'_>) = $rows::pack_columns;
            fn add_f16(out: &mut [f32], row: &[half::f16]) = $rows::add_f16;
            fn add_int8(out: &mut [f32], row: &[i8], scale: f32) = $rows::add_int8;
            fn dot(left: &[f32], right: &[f32]) -> f32 = $rows::dot;
        }
    };
}
