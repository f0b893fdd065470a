//! `Labelled`: one metric for each of a set of labels that is known from the start. The library's own family takes a lock to find one.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// `N` labels, each a name and a value.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Metrics by their labels; clones are the same.
#[derive(Debug)]
pub struct Labelled<const N: usize, M>(Arc<[(Labels<N>, M)]>);

impl<const N: usize, M> Clone for Labelled<N, M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<const N: usize, M: Default> Labelled<N, M> {
    /// A metric at its start for each of these labels.
    pub fn new(labels: impl IntoIterator<Item = Labels<N>>) -> Self {
        Self(labels.into_iter().map(|labels| (labels, M::default())).collect())
    }
}

impl<const N: usize, M> Labelled<N, M> {
    /// These metrics.
    pub fn with(metrics: impl IntoIterator<Item = (Labels<N>, M)>) -> Self {
        Self(metrics.into_iter().collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The metric of the labels at this place.
    pub fn at(&self, place: usize) -> &M {
        &self.0[place].1
    }

    /// The metric of these labels, which must be there.
    pub fn of(&self, labels: &[(&str, &str); N]) -> &M {
        let found = self.0.iter().find(|(known, _)| known == labels);
        &found.unwrap_or_else(|| panic!("there is no {labels:?}")).1
    }
}

impl<const N: usize, M: EncodeMetric> EncodeMetric for Labelled<N, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        self.0.first().map_or(MetricType::Unknown, |(_, metric)| metric.metric_type())
    }
}
