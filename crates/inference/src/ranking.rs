//! The highest of many values.

use std::cmp::Ordering;

/// The indexes of the `most` highest of the values that are wanted, highest first: equal ones in the order of their
/// indexes, those that are no numbers (NaN) last.
pub fn highest<T: PartialOrd>(values: &[T], most: usize, is_wanted: impl Fn(usize) -> bool) -> Vec<usize> {
    let order =
        |left: &usize, right: &usize| downwards(&values[*left], &values[*right]).then(left.cmp(right));
    let mut indexes: Vec<usize> = (0..values.len()).filter(|&index| is_wanted(index)).collect();
    // A few of many thousand: no more than these are put in order.
    if most < indexes.len() {
        indexes.select_nth_unstable_by(most, order);
        indexes.truncate(most);
    }
    indexes.sort_unstable_by(order);
    indexes
}

fn downwards<T: PartialOrd>(left: &T, right: &T) -> Ordering {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    right.partial_cmp(left).unwrap_or_else(|| is_nan(left).cmp(&is_nan(right)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_are_those_that_sorting_everything_gives(
            values in proptest::collection::vec(-5..5_i64, 1..50), most in 1..60_usize, least in -5..5_i64,
        ) {
            let mut sorted: Vec<usize> = (0..values.len()).filter(|&index| values[index] >= least).collect();
            sorted.sort_by_key(|&index| -values[index]);
            sorted.truncate(most);
            prop_assert_eq!(highest(&values, most, |index| values[index] >= least), sorted);
        }
    }
}
