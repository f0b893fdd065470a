//! [`StoreError`]: why a call fails.

use capstan_engine::data::DataError;
use wasmtime::Result;
use wasmtime::component::ResourceTableError;

/// Why a call fails: the guest gets an error, or the run ends.
#[derive(Debug)]
pub enum StoreError {
    /// There is no store.
    NoStore,
    Data(DataError),
    /// The guest has too many handles.
    Handles,
    /// The guest used a cursor that it did not get.
    Cursor,
    Trap(wasmtime::Error),
}

impl StoreError {
    /// Returns what the guest is told. What happened to the store itself is for the operator, in the log.
    ///
    /// # Errors
    /// The trap.
    pub(super) fn into_message(self) -> Result<String> {
        match self {
            Self::NoStore => Ok("there is no store of data".to_owned()),
            Self::Data(DataError::Full) => Ok("the store of data is full".to_owned()),
            Self::Data(error) if error.is_of_store() => {
                tracing::error!("{error}");
                Ok("the store of data failed".to_owned())
            }
            Self::Data(error) => Ok(error.to_string()),
            Self::Handles => Ok("the run has too many open handles (limit `handles`)".to_owned()),
            Self::Cursor => Ok("this is not a cursor that `list-keys` has returned".to_owned()),
            Self::Trap(error) => Err(error),
        }
    }
}

impl From<DataError> for StoreError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<ResourceTableError> for StoreError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl From<wasmtime::Error> for StoreError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}
