//! From times to figures.

use std::time::Duration;

/// A share of the sorted times, in microseconds: 0.5 is the median.
pub fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}
