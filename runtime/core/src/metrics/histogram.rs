//! [`Histogram`]: durations in buckets with fixed bounds. The library's histogram takes a lock for each observation.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000 * MICROSECOND;
const SECOND: u64 = 1_000 * MILLISECOND;

/// Upper bounds in nanoseconds, from the duration of an empty run to the duration of a long batch job.
const BOUNDS: [u64; 25] = [
    5 * MICROSECOND,
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    2_500 * MILLISECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    300 * SECOND,
    900 * SECOND,
    3_600 * SECOND,
];

/// Counts durations in buckets from 5 µs to 1 h.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One bucket for each bound, and one for durations above the last bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Sum of all durations in nanoseconds.
    sum: AtomicU64,
}

impl Histogram {
    /// Counts `duration`. Takes no lock and allocates nothing.
    pub fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Returns the number of counted durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64()).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        // Sums the buckets just read, so that the count always agrees with them.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(duration: Duration) -> Option<usize> {
        let histogram = Histogram::default();
        histogram.observe(duration);
        histogram.buckets.iter().position(|bucket| bucket.load(Ordering::Relaxed) == 1)
    }

    #[test]
    fn observe_duration_counts_it_in_the_first_bucket_that_includes_it() {
        assert!(BOUNDS.is_sorted());
        assert_eq!(bucket_of(Duration::ZERO), Some(0));
        assert_eq!(bucket_of(Duration::from_micros(5)), Some(0));
        assert_eq!(bucket_of(Duration::from_nanos(5001)), Some(1));
        assert_eq!(bucket_of(Duration::from_secs(1)), Some(16));
        assert_eq!(bucket_of(Duration::from_secs(3600)), Some(24));
        assert_eq!(bucket_of(Duration::MAX), Some(25));
    }
}
