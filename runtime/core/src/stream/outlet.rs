//! `Outlet`: where one stream of a job goes, while the job is described.

use super::{FanOut, Sink};

/// Nowhere, to one sink, or to several through a fan-out: who has one pays for no more.
#[derive(Debug, Default)]
pub enum Outlet {
    #[default]
    Nowhere,
    One(Sink),
    Many(FanOut, Sink),
}

impl Outlet {
    /// This outlet with one more sink.
    pub fn and(self, sink: Sink) -> Self {
        match self {
            Self::Nowhere => Self::One(sink),
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

    /// The fan-out of an outlet with several sinks.
    pub fn fan_out(&self) -> Option<FanOut> {
        match self {
            Self::Many(fan_out, _) => Some(fan_out.clone()),
            Self::Nowhere | Self::One(_) => None,
        }
    }

    /// What the job writes to.
    pub fn into_sink(self) -> Sink {
        match self {
            Self::Nowhere => Sink::discard(),
            Self::One(sink) | Self::Many(_, sink) => sink,
        }
    }
}
