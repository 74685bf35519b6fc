//! Products of strided matrices, by oneDNN where it multiplies in bf16, else by candle.

use super::Real;
use super::matrices::Matrices;
use candle_core::Result;
use candle_core::backend::BackendStorage;

impl Matrices<'_> {
    /// The product of each pair of matrices, packed.
    pub(crate) fn times<T: Real>(&self, other: &Self) -> Result<Vec<T>> {
        let mut out = Vec::new();
        self.append(other, &mut out)?;
        Ok(out)
    }

    /// Appends the product of each pair of matrices.
    pub(crate) fn append<T: Real>(&self, other: &Self, out: &mut Vec<T>) -> Result<()> {
        let ([b, m, k], [_, _, n]) = (self.sizes, other.sizes);
        let size = b * m * n;
        if size * k == 0 {
            out.resize(out.len() + size, T::zero());
            return Ok(());
        }
        if in_bf16(self, other, out)? {
            return Ok(());
        }
        let (left, right) = (self.layout(), other.layout());
        let found = self.storage.matmul(other.storage, (b, m, n, k), &left, &right)?;
        out.extend_from_slice(&T::cpu_storage_data(found)?);
        Ok(())
    }
}

/// Appends the product of each pair of f32 matrices if bf16 is faster; whether it did.
#[cfg(feature = "onednn")]
fn in_bf16<T: Real>(left: &Matrices<'_>, right: &Matrices<'_>, out: &mut Vec<T>) -> Result<bool> {
    let out: &mut dyn std::any::Any = out;
    out.downcast_mut().map_or(Ok(false), |out| super::bf16::products(left, right, out))
}

#[cfg(not(feature = "onednn"))]
fn in_bf16<T: Real>(_: &Matrices<'_>, _: &Matrices<'_>, _: &mut Vec<T>) -> Result<bool> {
    Ok(false)
}

/// Values as they are multiplied, if that is in bf16.
pub(super) fn rounded(values: &[f32]) -> Option<Vec<u16>> {
    #[cfg(feature = "onednn")]
    {
        let mut out = vec![0; values.len()];
        super::bf16::round(values, &mut out);
        Some(out)
    }
    #[cfg(not(feature = "onednn"))]
    {
        let _ = values;
        None
    }
}
