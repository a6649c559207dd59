//! Measured numbers in ascending order, and their statistics. Owns the arithmetic, and how many digits a number is
//! worth; never knows what was measured.

use std::iter::FromIterator;
use std::time::Duration;

/// Numbers in ascending order.
#[derive(Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Median, or the mean of the middle two. `None` if there are no numbers.
    pub(crate) fn median(&self) -> Option<f64> {
        let (low, high) = (self.0.get(self.0.len().checked_sub(1)? / 2)?, self.0.get(self.0.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// Smallest number that `share` of them are not above.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }

    /// Smallest and largest number, if there are two.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        match self.0[..] {
            [lowest, .., highest] => Some((lowest, highest)),
            _ => None,
        }
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Sample {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        Sample(numbers)
    }
}

/// Durations in microseconds.
impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Sample {
        times.into_iter().map(|time| time.as_secs_f64() * 1e6).collect()
    }
}

/// Formats a number with three significant digits, or more if it is large.
pub(crate) fn rounded(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        0.0 => "0".to_string(),
        _ => format!("{number:.2}"),
    }
}
