//! [`OutputTarget`]: the sinks of one output stream of a job, collected before the job starts.

use super::fanout::FanOut;
use super::pipe::Sink;

/// No sink, one sink, or several sinks behind a fan-out. A stream with one sink does not pay for a fan-out.
#[derive(Debug, Default)]
pub enum OutputTarget {
    #[default]
    Discard,
    One(Sink),
    Many(FanOut, Sink),
}

impl OutputTarget {
    /// Returns this target with one more sink.
    #[must_use]
    pub fn with_sink(self, sink: Sink) -> Self {
        match self {
            Self::Discard => Self::One(sink),
            Self::One(first) => {
                let (fan_out, all) = FanOut::new();
                fan_out.add(first);
                fan_out.add(sink);
                Self::Many(fan_out, all)
            }
            Self::Many(fan_out, all) => {
                fan_out.add(sink);
                Self::Many(fan_out, all)
            }
        }
    }

    /// Returns the fan-out if there are several sinks.
    pub fn fan_out(&self) -> Option<FanOut> {
        match self {
            Self::Many(fan_out, _) => Some(fan_out.clone()),
            Self::Discard | Self::One(_) => None,
        }
    }

    /// Returns the sink to which the job writes.
    pub fn into_sink(self) -> Sink {
        match self {
            Self::Discard => Sink::discard(),
            Self::One(sink) | Self::Many(_, sink) => sink,
        }
    }
}
