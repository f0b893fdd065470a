//! Metric types that take no lock: histograms with fixed buckets, and metric families with a fixed set of labels.
//!
//! An update is a few atomic additions. It allocates nothing.

mod histogram;
mod static_family;

pub use self::histogram::Histogram;
pub use self::static_family::{Labels, StaticFamily};
