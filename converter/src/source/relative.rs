//! T5's relative position buckets, unrolled to a table by distance.

/// Buckets of the distance from a query to a key, each with a bias of its own.
///
/// Source: the bucket formula of the reference vectors' conventions, in f64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buckets {
    /// How many.
    pub count: usize,
    /// Every distance from here on falls in the last one.
    pub most: usize,
    /// All are of keys before a query (a decoder's), not one half of each side.
    pub causal: bool,
}

impl Buckets {
    /// The bucket of a distance, key position minus query position; none for a key behind a query that sees
    /// those before it alone.
    #[must_use]
    pub fn of(self, distance: i64) -> Option<usize> {
        let magnitude = distance.unsigned_abs() as usize;
        if self.causal {
            let exact = self.count / 2;
            return (distance <= 0).then(|| one_sided(magnitude, self.count, exact, self.most));
        }
        let half = self.count / 2;
        let side = if distance > 0 { half } else { 0 };
        Some(side + one_sided(magnitude, half, half / 2, self.most))
    }

    /// The bias of each head at each distance from `-most` to `most`; 0 where there is none.
    ///
    /// **Shapes**: `table` `[buckets, heads]` as T5 stores it; result `[heads, 2 most + 1]`.
    #[must_use]
    pub fn by_distance(self, table: &[f32], heads: usize) -> Vec<f32> {
        let buckets: Vec<Option<usize>> = self.distances().map(|at| self.of(at)).collect();
        let value = |head: usize, bucket: &Option<usize>| {
            bucket.map_or(0.0, |bucket| table[bucket * heads + head])
        };
        let of_head = |head| buckets.iter().map(move |bucket| value(head, bucket));
        (0..heads).flat_map(of_head).collect()
    }

    /// What [`by_distance`](Self::by_distance) was made of; 0 in a bucket of no distance. `None` if two
    /// distances of a bucket have different values.
    ///
    /// **Shapes**: as there.
    #[must_use]
    pub fn by_bucket(self, table: &[f32], heads: usize) -> Option<Vec<f32>> {
        let mut out = vec![0.0; self.count * heads];
        for (head, row) in table.chunks(2 * self.most + 1).enumerate() {
            let pairs = self.distances().map(|at| self.of(at)).zip(row);
            for (bucket, value) in pairs.filter_map(|(bucket, value)| bucket.zip(Some(value))) {
                out[bucket * heads + head] = *value;
            }
        }
        (self.by_distance(&out, heads) == table).then_some(out)
    }

    fn distances(self) -> std::ops::RangeInclusive<i64> {
        -(self.most as i64)..=self.most as i64
    }
}

/// The bucket of a distance among `buckets`, of which the first `exact` are of one distance each.
fn one_sided(distance: usize, buckets: usize, exact: usize, max_distance: usize) -> usize {
    if distance < exact {
        return distance;
    }
    let ratio = (distance as f64 / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    (buckets - 1).min(exact + (ratio * (buckets - exact) as f64).floor() as usize)
}

/// The bias of each head at each distance in a grid of patches, from key to query in the file and from
/// query to key here, then the three entries of the class token.
///
/// **Shapes**: `table` `[entries, heads]`; result `[heads, entries]`.
pub(super) fn bias_of_grid(table: &[f32], heads: usize) -> Vec<f32> {
    let rows: Vec<&[f32]> = table.chunks(heads.max(1)).collect();
    let (patches, class) = rows.split_at(rows.len().saturating_sub(3));
    let of_head = |head: usize| patches.iter().rev().chain(class).map(move |row| row[head]);
    (0..heads).flat_map(of_head).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_their_own_bucket_and_far_ones_share_the_last() {
        let bucket = |distance| Buckets { count: 32, most: 128, causal: false }.of(distance);
        let expected = [(0, 0), (-7, 7), (7, 23), (-127, 15), (-128, 15), (-5000, 15), (16, 26)];
        for (distance, expected) in expected {
            assert_eq!(bucket(distance), Some(expected), "{distance}");
        }
    }

    #[test]
    fn a_decoder_has_no_bucket_for_what_comes_later() {
        let bucket = |distance| Buckets { count: 32, most: 128, causal: true }.of(distance);
        let expected = [(0, 0), (-15, 15), (-16, 16), (-128, 31), (-5000, 31)];
        for (distance, expected) in expected {
            assert_eq!(bucket(distance), Some(expected), "{distance}");
        }
        assert_eq!(bucket(1), None);
    }

    #[test]
    fn a_table_by_distance_goes_back_to_its_buckets_unless_one_has_two_values() {
        for causal in [false, true] {
            let buckets = Buckets { count: 8, most: 20, causal };
            let table: Vec<f32> = (0..8 * 2).map(|index| index as f32 + 1.0).collect();
            let mut unrolled = buckets.by_distance(&table, 2);
            let back = buckets.by_bucket(&unrolled, 2).unwrap();
            assert_eq!(buckets.by_distance(&back, 2), unrolled);
            let lost = back.iter().zip(&table).filter(|(back, own)| back != own).count();
            // Two sides: distance 0 is none of those after a token, whose first bucket is of none.
            assert_eq!(lost, if causal { 0 } else { 2 });
            unrolled[0] += 1.0;
            assert_eq!(buckets.by_bucket(&unrolled, 2), None);
        }
    }
}
