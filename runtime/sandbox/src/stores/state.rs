//! [`Stores`]: what the calls of these interfaces use.

use std::collections::BTreeMap;
use std::sync::Arc;

use capstan_engine::data::HandlerData;

/// What the calls of these interfaces use.
#[derive(Debug)]
pub(crate) struct Stores {
    /// `None` where nothing keeps data.
    pub(crate) data: Option<HandlerData>,
    pub(crate) config: Arc<BTreeMap<String, String>>,
}
