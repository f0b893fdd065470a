//! The data of handlers.

use std::sync::Arc;

use capstan_core::limits::Limits;
use capstan_core::policy::PolicyRequest;

use super::Engine;
use crate::data::{DataQuota, DataStore, HandlerData};
use crate::handler::HandlerName;

impl Engine {
    /// Sets what keeps buckets and containers of handlers. Until then handlers have none. Only the first call has an effect.
    pub fn set_data_store(&self, store: Arc<dyn DataStore>) {
        let _ = self.0.data_store.set(store);
    }

    /// Returns the data of the handler `name`, which need not be registered any more, with the quota that its policy has now. `None` if nothing
    /// keeps data.
    pub fn data_of(&self, name: &HandlerName) -> Option<HandlerData> {
        let limits = match self.policy_of(name.as_str(), &PolicyRequest::EMPTY) {
            Some(policy) => policy.limits,
            None => self.ceiling().limits,
        };
        self.data_with(name, &limits)
    }

    /// Returns the data of the handler `name` for a run with `limits`.
    pub(super) fn data_with(&self, name: &HandlerName, limits: &Limits) -> Option<HandlerData> {
        let quota = DataQuota { bytes: limits.keyvalue, keys: limits.keys };
        self.0.data_store.get().map(|store| HandlerData::new(store.clone(), name.to_shared(), quota))
    }
}
