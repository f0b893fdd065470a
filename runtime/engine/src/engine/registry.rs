//! The registry: names and what they resolve to.
//!
//! Readers take a snapshot and never wait; writers build the next snapshot behind a lock of their own. A job keeps what it was
//! bound to, so replacing or removing a handler leaves running jobs on the old code.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::totals::{Totals, TotalsReport};
use crate::handler::{Handler, HandlerInfo, Role};

/// Bytes of the longest name.
pub const MAX_NAME: usize = 128;

/// A checked name of a handler: letters, digits, `.`, `_` and `-`, with a letter or digit first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// What a name resolves to at one moment.
#[derive(Debug)]
pub struct ResolvedHandler {
    name: Name,
    handler: Arc<dyn Handler>,
    about: Arc<HandlerInfo>,
    source: Source,
    created: Timestamp,
    totals: Arc<Totals>,
}

/// Where a handler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It is part of the daemon, and is neither replaced nor removed.
    Builtin,
    /// Somebody put it there.
    Pushed,
    /// Nobody has the name, and what answers to any name does.
    CatchAll,
}

/// What must hold for a handler to be put under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    #[default]
    None,
    /// Nothing has the name yet.
    Absent,
    /// Something has the name.
    Present,
    /// What has the name has one of these digests.
    Digest(Vec<String>),
}

/// Why the registry was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error(
        "{0:?} is not a handler name: 1 to {MAX_NAME} letters, digits, `.`, `_`, `-`, starting with a letter or digit"
    )]
    BadName(String),
    #[error("handler {0} is already registered")]
    Duplicate(Name),
    #[error("a catch-all handler is already registered")]
    DuplicateCatchAll,
    #[error("handler {0} is built in")]
    Builtin(Name),
    #[error("no handler {0}")]
    Unknown(String),
    #[error("handler {0} is not as the request expects it")]
    Precondition(Name),
}

/// What [`Registry::put`] did.
#[derive(Clone, Debug)]
pub struct Put {
    pub resolved: Arc<ResolvedHandler>,
    /// Whether it took the place of another.
    pub replaced: bool,
}

#[derive(Clone, Debug, Default)]
struct Snapshot {
    named: BTreeMap<Name, Arc<ResolvedHandler>>,
    /// What answers to valid names that nobody has. It has no name itself, and so is in no list.
    catch_all: Option<CatchAll>,
}

#[derive(Clone, Debug)]
struct CatchAll {
    handler: Arc<dyn Handler>,
    about: Arc<HandlerInfo>,
    created: Timestamp,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<()>,
}

impl Registry {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<ResolvedHandler>> {
        let snapshot = self.snapshot.load();
        let named = snapshot.named.get(name).cloned();
        named.or_else(|| Some(Arc::new(snapshot.catch_all.as_ref()?.resolved(Name::new(name).ok()?))))
    }

    pub(crate) fn list(&self) -> Vec<Arc<ResolvedHandler>> {
        self.snapshot.load().named.values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.snapshot.load().named.len()
    }

    /// Registers all of `bundle` under names that are free, or nothing.
    pub(crate) fn install(&self, bundle: Vec<(Name, Arc<dyn Handler>)>, source: Source) -> Result<(), RegistryError> {
        let created = Timestamp::now();
        self.add(bundle.into_iter().map(|(name, handler)| ResolvedHandler::new(name, handler, source, created)))
    }

    /// Registers what answers to names that nobody has; the first stays.
    pub(crate) fn install_catch_all(&self, handler: Arc<dyn Handler>) -> Result<(), RegistryError> {
        let (about, created) = (Arc::new(handler.info()), Timestamp::now());
        let catch_all = CatchAll { about, handler, created, totals: Arc::default() };
        self.change(|next| match next.catch_all {
            Some(_) => Err(RegistryError::DuplicateCatchAll),
            None => {
                next.catch_all = Some(catch_all);
                Ok(())
            }
        })
    }

    /// Registers all of `handlers` with the times they were first registered, or nothing.
    pub(crate) fn restore(&self, handlers: Vec<(Name, Arc<dyn Handler>, Timestamp)>) -> Result<(), RegistryError> {
        let handlers = handlers.into_iter();
        self.add(handlers.map(|(name, handler, created)| ResolvedHandler::new(name, handler, Source::Pushed, created)))
    }

    fn add(&self, all: impl Iterator<Item = ResolvedHandler>) -> Result<(), RegistryError> {
        self.change(|next| {
            for resolved in all {
                let name = resolved.name.clone();
                if next.named.insert(name.clone(), Arc::new(resolved)).is_some() {
                    return Err(RegistryError::Duplicate(name));
                }
            }
            Ok(())
        })
    }

    /// Puts `handler` under `name`, in the place of what is there.
    pub(crate) fn put(
        &self,
        name: Name,
        handler: Arc<dyn Handler>,
        created: Timestamp,
        precondition: &Precondition,
    ) -> Result<Put, RegistryError> {
        self.change(|next| {
            let old = next.named.get(&name);
            precondition.check(&name, old)?;
            let replaced = old.is_some();
            let totals = old.map(|old| old.totals.clone()).unwrap_or_default();
            let resolved =
                ResolvedHandler { totals, ..ResolvedHandler::new(name.clone(), handler, Source::Pushed, created) };
            let resolved = Arc::new(resolved);
            next.named.insert(name, resolved.clone());
            Ok(Put { resolved, replaced })
        })
    }

    /// Whether `put` would be refused now.
    pub(crate) fn check_put(&self, name: &Name, precondition: &Precondition) -> Result<(), RegistryError> {
        precondition.check(name, self.snapshot.load().named.get(name))
    }

    pub(crate) fn remove(
        &self,
        name: &str,
        precondition: &Precondition,
    ) -> Result<Arc<ResolvedHandler>, RegistryError> {
        self.change(|next| {
            let old = next.named.get(name).cloned().ok_or_else(|| RegistryError::Unknown(name.to_owned()))?;
            precondition.check(&old.name, Some(&old))?;
            next.named.remove(name);
            Ok(old)
        })
    }

    fn change<T>(&self, edit: impl FnOnce(&mut Snapshot) -> Result<T, RegistryError>) -> Result<T, RegistryError> {
        let _one_writer = self.writer.lock().expect("no panic while the lock is held");
        let mut next = Snapshot::clone(&self.snapshot.load());
        let done = edit(&mut next)?;
        self.snapshot.store(Arc::new(next));
        Ok(done)
    }
}

impl Precondition {
    fn check(&self, name: &Name, old: Option<&Arc<ResolvedHandler>>) -> Result<(), RegistryError> {
        if old.is_some_and(|old| old.source == Source::Builtin) {
            return Err(RegistryError::Builtin(name.clone()));
        }
        let holds = match self {
            Self::None => true,
            Self::Absent => old.is_none(),
            Self::Present => old.is_some(),
            Self::Digest(digests) => {
                old.and_then(|old| old.handler.info().digest).is_some_and(|digest| digests.contains(&digest))
            }
        };
        if holds { Ok(()) } else { Err(RegistryError::Precondition(name.clone())) }
    }
}

impl CatchAll {
    fn resolved(&self, name: Name) -> ResolvedHandler {
        let (handler, about, totals) = (self.handler.clone(), self.about.clone(), self.totals.clone());
        ResolvedHandler { name, handler, about, source: Source::CatchAll, created: self.created, totals }
    }
}

impl ResolvedHandler {
    fn new(name: Name, handler: Arc<dyn Handler>, source: Source, created: Timestamp) -> Self {
        let about = Arc::new(handler.info());
        Self { name, handler, about, source, created, totals: Arc::default() }
    }

    /// The name it was registered under.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What runs.
    pub fn handler(&self) -> &Arc<dyn Handler> {
        &self.handler
    }

    /// What it is.
    pub fn info(&self) -> &Arc<HandlerInfo> {
        &self.about
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What its jobs have used.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// When it was registered.
    pub fn created(&self) -> Timestamp {
        self.created
    }
}

/// As lists have it, whoever asks for them.
impl Serialize for ResolvedHandler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Listed<'a> {
            name: &'a str,
            source: Source,
            #[serde(flatten)]
            about: &'a HandlerInfo,
            created: String,
            service: bool,
            totals: TotalsReport,
        }
        let listed = Listed {
            name: self.name.as_str(),
            source: self.source,
            about: &self.about,
            created: format!("{:.9}", self.created),
            service: self.handler.role() == Role::Service,
            totals: self.totals.report(),
        };
        listed.serialize(serializer)
    }
}

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`RegistryError::BadName`].
    pub fn new(name: &str) -> Result<Self, RegistryError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let first_is_plain = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if first_is_plain && name.len() <= MAX_NAME && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(RegistryError::BadName(name.chars().take(MAX_NAME).collect()))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}
