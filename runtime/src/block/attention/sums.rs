//! Sums of rows.

use crate::tensor::{Matrix, Part};

/// Columns whose sums stay in registers.
const SUM_COLUMNS: usize = 16;

/// The sum of all rows. Sums of many columns do not go through memory for each row, except on a
/// Cortex-M, where code is scarce.
pub(super) fn add_rows(sums: &mut [f32], rows: Matrix<'_>) {
    sums.fill(0.0);
    let columns = sums.len().min(rows.columns());
    let blocks = if cfg!(cortex_m) { 0 } else { columns / SUM_COLUMNS };
    for (index, sums) in sums.as_chunks_mut::<SUM_COLUMNS>().0.iter_mut().enumerate().take(blocks) {
        let mut all = [0.0; SUM_COLUMNS];
        for row in rows.column_range(index * SUM_COLUMNS, SUM_COLUMNS).iter() {
            let Some(row) = row.first_chunk::<SUM_COLUMNS>() else { return };
            all.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        *sums = all;
    }
    let first = blocks * SUM_COLUMNS;
    let sums = sums.part_mut(first..columns);
    if !sums.is_empty() {
        for row in rows.column_range(first, columns - first).iter() {
            sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_every_column_and_of_no_other() {
        let values: [f32; 3 * 50] = core::array::from_fn(|index| index as f32);
        for columns in [0, 1, 15, 16, 17, 32, 40] {
            let rows = Matrix::new(&values, 50).column_range(3, columns);
            let mut sums = [f32::NAN; 41];
            add_rows(&mut sums, rows);
            for (column, sum) in sums.iter().enumerate() {
                let expected = (0..3).map(|row| (50 * row + 3 + column) as f32).sum();
                assert_eq!(*sum, if column < columns { expected } else { 0.0 }, "{columns}");
            }
        }
    }
}
