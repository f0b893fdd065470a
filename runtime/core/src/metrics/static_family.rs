//! [`StaticFamily`]: one metric for each of a fixed set of labels. The library's `Family` takes a lock to find a metric.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// `N` labels, each a name and a value.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Metrics by their labels. Clones share the metrics.
#[derive(Debug)]
pub struct StaticFamily<const N: usize, M>(Arc<[(Labels<N>, M)]>);

impl<const N: usize, M> Clone for StaticFamily<N, M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<const N: usize, M: Default> StaticFamily<N, M> {
    /// Creates a metric with its default value for each of these labels.
    pub fn new(labels: impl IntoIterator<Item = Labels<N>>) -> Self {
        Self(labels.into_iter().map(|labels| (labels, M::default())).collect())
    }
}

impl<const N: usize, M> StaticFamily<N, M> {
    /// Creates a family of existing metrics.
    pub fn from_metrics(metrics: impl IntoIterator<Item = (Labels<N>, M)>) -> Self {
        Self(metrics.into_iter().collect())
    }

    /// Returns the number of metrics.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the family has no metrics.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the metric at `index`, in the order of the labels given at creation.
    ///
    /// # Panics
    /// If `index` is out of bounds.
    pub fn at(&self, index: usize) -> &M {
        &self.0[index].1
    }

    /// Returns the metric with these labels.
    ///
    /// # Panics
    /// If the family has no such labels.
    pub fn get(&self, labels: &[(&str, &str); N]) -> &M {
        let found = self.0.iter().find(|(known, _)| known == labels);
        &found.unwrap_or_else(|| panic!("the family has no labels {labels:?}")).1
    }
}

impl<const N: usize, M: EncodeMetric> EncodeMetric for StaticFamily<N, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        self.0.first().map_or(MetricType::Unknown, |(_, metric)| metric.metric_type())
    }
}
