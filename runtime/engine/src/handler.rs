//! [`Handler`]: the trait of everything that a name resolves to, native code and wasm programs alike.

mod call;
mod files;
mod info;
mod name;
mod native;
mod terminals;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use capstan_core::env::Env;
use capstan_core::manifest::{HistoryMode, ManifestRoute, ManifestSchedule};
use capstan_core::mount::Mount;
use capstan_core::outcome::Outcome;
use capstan_core::policy::PolicyRequest;
use capstan_core::rate::Rate;
use capstan_core::retry::RetryPolicy;
use capstan_core::snapshot::Snapshot;

pub use self::call::Call;
pub use self::files::{BaseInfo, FilesInfo};
pub use self::info::{HandlerInfo, Kind, Role};
pub use self::name::{HandlerName, InvalidName, MAX_NAME};
pub use self::native::Native;
pub use self::terminals::Terminals;

/// The future of one run, which returns how the run ended.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Something that answers to a name.
///
/// The engine calls [`Handler::run`] once for each run. The future must end soon after
/// [`Stop::requested`](crate::job::Stop::requested) returns, because nothing else ends it. Dropping the streams of the [`Call`] closes them,
/// so a handler must not keep them longer than its work.
pub trait Handler: fmt::Debug + Send + Sync + 'static {
    /// Returns what the handler is, as lists show it.
    fn info(&self) -> HandlerInfo;

    /// Returns how the engine treats its jobs. The default is [`Role::Work`].
    fn role(&self) -> Role {
        Role::Work
    }

    /// Returns what its manifest requests within the operator's ceiling. The default is nothing.
    fn policy_request(&self) -> &PolicyRequest {
        static NOTHING: PolicyRequest = PolicyRequest::EMPTY;
        &NOTHING
    }

    /// Returns the variables that its manifest sets. A caller may override them.
    fn env(&self) -> Env {
        Env::new()
    }

    /// Returns the program name that its manifest sets.
    fn argv0(&self) -> Option<&str> {
        None
    }

    /// Returns how its manifest asks for a snapshot of its program.
    fn snapshot(&self) -> Option<&Snapshot> {
        None
    }

    /// Returns the retry policy that its manifest sets for durable jobs. A request may set another.
    fn retry(&self) -> Option<&RetryPolicy> {
        None
    }

    /// Returns how many of its durable jobs may start within a time, if its manifest limits them.
    fn rate(&self) -> Option<Rate> {
        None
    }

    /// Returns where its synchronous runs are recorded.
    fn history(&self) -> HistoryMode {
        HistoryMode::Memory
    }

    /// Returns the schedules of its manifest.
    fn schedules(&self) -> &[ManifestSchedule] {
        &[]
    }

    /// Returns the routes of its manifest.
    fn routes(&self) -> &[ManifestRoute] {
        &[]
    }

    /// Returns its own files, which routes can serve, if it has any.
    fn files(&self) -> Option<Mount> {
        None
    }

    /// Returns whether its runs find files of its own at [`APP`](capstan_core::mount::APP). No mount of a job may overlap it then.
    fn has_files(&self) -> bool {
        false
    }

    /// Returns whether only the daemon itself may start its jobs. The default is true for [`Role::Service`].
    fn is_reserved(&self) -> bool {
        self.role() == Role::Service
    }

    /// Starts one run.
    fn run(self: Arc<Self>, call: Call) -> HandlerFuture;
}
