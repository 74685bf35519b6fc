//! T5's relative position buckets, unrolled to a table by distance.

/// The bias of each head at each distance from `-limit` to `limit` (key position minus query
/// position), where `limit` is `max_distance`: every larger distance falls in the same bucket.
///
/// **Shapes**: `table` `[buckets, heads]` as T5 stores it; result `[heads, 2 limit + 1]`.
/// Source: the bucket formula of the reference vectors' conventions, in f64.
#[must_use]
pub fn bias_by_distance(
    table: &[f32],
    buckets: usize,
    heads: usize,
    max_distance: usize,
) -> Vec<f32> {
    let limit = max_distance as i64;
    let distances = -limit..=limit;
    (0..heads)
        .flat_map(|head| distances.clone().map(move |distance| (head, distance)))
        .map(|(head, distance)| table[bucket(distance, buckets, max_distance) * heads + head])
        .collect()
}

/// The same of a decoder: buckets for the tokens before a token, of distances 0 to `-limit`; what lies behind it
/// is never asked for, and 0.
pub(super) fn causal_bias_by_distance(
    table: &[f32],
    buckets: usize,
    heads: usize,
    max_distance: usize,
) -> Vec<f32> {
    let value = |head: usize, back: usize| {
        table[one_sided(back, buckets, buckets / 2, max_distance) * heads + head]
    };
    let before = move |head| (0..=max_distance).rev().map(move |back| value(head, back));
    (0..heads).flat_map(|head| before(head).chain(vec![0.0; max_distance])).collect()
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

/// The bucket of a distance, encoder (bidirectional) form.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let magnitude = distance.unsigned_abs() as usize;
    let side = if distance > 0 { half } else { 0 };
    side + one_sided(magnitude, half, half / 2, max_distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_distances_have_their_own_bucket_and_far_ones_share_the_last() {
        assert_eq!(bucket(0, 32, 128), 0);
        assert_eq!(bucket(-7, 32, 128), 7);
        assert_eq!(bucket(7, 32, 128), 23);
        assert_eq!(bucket(-127, 32, 128), 15);
        assert_eq!(bucket(-128, 32, 128), 15);
        assert_eq!(bucket(-5000, 32, 128), 15);
        assert_eq!(bucket(16, 32, 128), 26);
    }
}
