//! Building blocks of metrics: histograms with fixed buckets, and metrics with a fixed set of labels.
//!
//! Updating one is a few atomic additions. It takes no lock and allocates nothing.

mod histogram;
mod labelled;

pub use self::histogram::Histogram;
pub use self::labelled::{Labelled, Labels};
