//! [`Native`]: a handler that is a function of the daemon.

use std::fmt;
use std::sync::Arc;

use capstan_core::outcome::Outcome;
use capstan_core::stream::{LineCapture, Sink};

use super::{Call, Handler, HandlerFuture, HandlerInfo, Kind, Role};

/// A handler that is a function of the daemon.
pub struct Native {
    description: &'static str,
    usage: Option<&'static str>,
    role: Role,
    is_reserved: bool,
    run: Box<dyn Fn(Call) -> HandlerFuture + Send + Sync>,
}

impl Native {
    /// Returns a handler with [`Role::Work`].
    pub fn work<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Work, run)
    }

    /// Returns a handler with [`Role::Query`].
    pub fn query<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Query, run)
    }

    /// Returns a handler with [`Role::Service`].
    pub fn service<F, Fut>(description: &'static str, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self::new(description, Role::Service, run)
    }

    fn new<F, Fut>(description: &'static str, role: Role, run: F) -> Arc<Self>
    where
        F: Fn(Call) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let is_reserved = role == Role::Service;
        Arc::new(Self { description, usage: None, role, is_reserved, run: Box::new(move |call| Box::pin(run(call))) })
    }

    /// Sets the line that shows how the handler is called.
    ///
    /// # Panics
    /// Panics if the handler is shared already.
    #[must_use]
    pub fn with_usage(mut self: Arc<Self>, usage: &'static str) -> Arc<Self> {
        Arc::get_mut(&mut self).expect("the handler was just made and is not shared").usage = Some(usage);
        self
    }

    /// Makes it a handler whose jobs only the daemon itself may start.
    ///
    /// # Panics
    /// Panics if the handler is shared already.
    #[must_use]
    pub fn reserved(mut self: Arc<Self>) -> Arc<Self> {
        Arc::get_mut(&mut self).expect("the handler was just made and is not shared").is_reserved = true;
        self
    }
}

impl Handler for Native {
    fn info(&self) -> HandlerInfo {
        let (description, usage) = (Some(self.description.to_owned()), self.usage.map(str::to_owned));
        HandlerInfo {
            kind: Kind::Native,
            digest: None,
            size: 0,
            features: None,
            is_library: false,
            answers_http: false,
            description,
            usage,
            files: None,
            base: None,
            runtime: None,
        }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    fn run(self: Arc<Self>, mut call: Call) -> HandlerFuture {
        let stderr = std::mem::replace(&mut call.stderr, Sink::discard());
        call.stderr = Sink::new(LineCapture::new(stderr, call.usage.clone()));
        (self.run)(call)
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Native").field("description", &self.description).field("role", &self.role).finish()
    }
}
