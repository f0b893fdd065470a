//! Registering, replacing, removing and resolving handlers.

use std::sync::Arc;

use capstan_core::manifest::ManifestRoute;
use capstan_core::policy::{Policy, PolicyRequest};
use jiff::Timestamp;

use super::Engine;
use crate::events::EventKind;
use crate::handler::{Handler, HandlerName};
use crate::registry::{Precondition, PutResult, RegistryError, ResolvedHandler, Source};
use crate::routes::RouteTable;

impl Engine {
    /// Registers `handler` under a name that is free.
    ///
    /// # Errors
    /// - [`RegistryError::InvalidName`]
    /// - [`RegistryError::Duplicate`] if the name is registered. The registered handler stays.
    pub fn register(&self, name: &str, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        self.0.registry.install(vec![(HandlerName::new(name)?, handler)], Source::Pushed)
    }

    /// Registers all handlers of `bundle`, or none of them. They can be neither replaced nor removed.
    ///
    /// Each part of the daemon has such a bundle. Bundles that are joined are also registered together or not at all.
    ///
    /// # Errors
    /// Returns the errors of [`Engine::register`].
    pub fn install(&self, bundle: Vec<(&str, Arc<dyn Handler>)>) -> Result<(), RegistryError> {
        let named = bundle.into_iter().map(|(name, handler)| Ok((HandlerName::new(name)?, handler)));
        self.0.registry.install(named.collect::<Result<_, RegistryError>>()?, Source::Builtin)
    }

    /// Registers the handler that answers to every valid name that is not registered. A handler that is registered under a name, earlier or
    /// later, takes precedence. Lists do not contain the catch-all handler.
    ///
    /// # Errors
    /// Returns [`RegistryError::DuplicateCatchAll`] if there is one already. The first one stays.
    pub fn register_catch_all(&self, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        self.0.registry.install_catch_all(handler)
    }

    /// Registers `handler`, created at `created`, as `name`, and replaces the handler that has the name. Running jobs finish on the old one.
    ///
    /// # Errors
    /// [`RegistryError::Builtin`], [`RegistryError::Precondition`], [`RegistryError::Routes`].
    pub fn put(
        &self,
        name: HandlerName,
        handler: Arc<dyn Handler>,
        created: Timestamp,
        precondition: &Precondition,
    ) -> Result<PutResult, RegistryError> {
        let put = self.0.registry.put(name, handler, created, precondition)?;
        let handler = put.resolved.name().to_shared();
        let digest = put.resolved.handler().info().digest;
        self.0.events.publish(EventKind::HandlerPut { handler, digest, replaced: put.replaced });
        // It may have other limits.
        self.0.admission.concurrency().notify_released();
        Ok(put)
    }

    /// Returns the error that [`Engine::put`] would return now, so that a program can be rejected before it is sent and compiled.
    ///
    /// # Errors
    /// Returns the errors of [`Engine::put`].
    pub fn check_put(&self, name: &HandlerName, precondition: &Precondition) -> Result<(), RegistryError> {
        self.0.registry.check_put(name, precondition)
    }

    /// Returns the error that [`Engine::put`] would return now for a handler with these routes.
    ///
    /// # Errors
    /// [`RegistryError::Routes`].
    pub fn check_routes(&self, name: &HandlerName, routes: &[ManifestRoute]) -> Result<(), RegistryError> {
        self.0.registry.check_routes(name, routes)
    }

    /// Returns the routes of all handlers now. They never change: a handler that is put, replaced or removed makes a new table.
    pub fn routes(&self) -> Arc<RouteTable> {
        self.0.registry.routes()
    }

    /// Registers stored handlers under the names and with the creation times that they had.
    ///
    /// # Errors
    /// Returns [`RegistryError::Duplicate`] if a name is registered. Nothing is changed then.
    pub fn restore(&self, handlers: Vec<(HandlerName, Arc<dyn Handler>, Timestamp)>) -> Result<(), RegistryError> {
        self.0.registry.restore(handlers)
    }

    /// Removes the handler `name`. Running jobs finish.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`], [`RegistryError::Builtin`], [`RegistryError::Precondition`].
    pub fn remove(&self, name: &str, precondition: &Precondition) -> Result<Arc<ResolvedHandler>, RegistryError> {
        let removed = self.0.registry.remove(name, precondition)?;
        self.0.events.publish(EventKind::HandlerRemove { handler: removed.name().to_shared() });
        Ok(removed)
    }

    /// Returns what `name` resolves to now. Never waits for a program to load.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn resolve(&self, name: &str) -> Result<Arc<ResolvedHandler>, RegistryError> {
        self.0.registry.get(name).ok_or_else(|| RegistryError::Unknown(name.to_owned()))
    }

    /// Returns what a job of the handler `name` that requests `requested` may use and touch now. `None` if it could not run.
    pub fn policy_of(&self, name: &str, requested: &PolicyRequest) -> Option<Arc<Policy>> {
        self.resolve(name).ok()?.policy(&self.ceiling(), requested).ok()
    }

    /// Returns all handlers in the order of their names.
    pub fn handlers(&self) -> Vec<Arc<ResolvedHandler>> {
        self.0.registry.list()
    }
}
