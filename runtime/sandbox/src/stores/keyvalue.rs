//! `wasi:keyvalue` in both of its drafts: that of wasmtime and wasmCloud, and `draft2` of Spin.

use capstan_engine::data::{Change, DataError, MAX_PAGE, Place};
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};

use super::access::HasHost;
use super::error::StoreError;
use crate::host::Host;

/// A bucket that the guest has opened.
pub type Bucket = Place;

/// The value of a key as the guest saw it, for a swap.
#[derive(Debug)]
pub struct Cas {
    bucket: Place,
    key: String,
    revision: Option<u64>,
}

#[allow(clippy::error_impl_error, reason = "the name is that of the interface")]
mod draft {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": super::Bucket },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::StoreError },
    });
}

#[allow(clippy::error_impl_error, reason = "the name is that of the interface")]
mod draft2 {
    wasmtime::component::bindgen!({
        path: "wit/keyvalue-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": super::Bucket, "wasi:keyvalue/atomics.cas": super::Cas },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::StoreError },
    });
}

pub(super) use self::draft::wasi::keyvalue as first;
pub(super) use self::draft2::wasi::keyvalue as second;

/// Adds both drafts to `linker`.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    let host: fn(&mut Host) -> &mut Host = |host| host;
    first::store::add_to_linker::<_, HasHost>(linker, host)?;
    first::atomics::add_to_linker::<_, HasHost>(linker, host)?;
    first::batch::add_to_linker::<_, HasHost>(linker, host)?;
    second::store::add_to_linker::<_, HasHost>(linker, host)?;
    second::atomics::add_to_linker::<_, HasHost>(linker, host)?;
    second::batch::add_to_linker::<_, HasHost>(linker, host)
}

type Found = Option<(String, Vec<u8>)>;

/// The calls, in the terms of both drafts.
impl Host {
    fn open_bucket(&mut self, name: &str) -> Result<Resource<Bucket>, StoreError> {
        let bucket = self.data()?.bucket(name)?;
        self.check_handles()?;
        Ok(self.table().push(bucket)?)
    }

    fn bucket(&mut self, bucket: &Resource<Bucket>) -> Result<Bucket, StoreError> {
        Ok(self.table().get(bucket)?.clone())
    }

    async fn get_value(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, StoreError> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.data()?.get(&bucket, key).await?.map(|entry| entry.value.into()))
    }

    async fn get_values(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<Vec<Found>, StoreError> {
        let bucket = self.bucket(&bucket)?;
        let entries = self.data()?.get_many(&bucket, keys.clone()).await?;
        let found = keys.into_iter().zip(entries);
        Ok(found.map(|(key, entry)| entry.map(|entry| (key, entry.value.into()))).collect())
    }

    pub(super) async fn make_changes(
        &mut self,
        bucket: &Resource<Bucket>,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        let bucket = self.bucket(bucket)?;
        Ok(self.data()?.change(&bucket, changes).await?)
    }

    async fn key_exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, StoreError> {
        let bucket = self.bucket(&bucket)?;
        Ok(self.data()?.exists(&bucket, key).await?)
    }

    async fn page(&mut self, bucket: Resource<Bucket>, cursor: u64) -> Result<(Vec<String>, Option<u64>), StoreError> {
        let bucket = self.bucket(&bucket)?;
        let page = self.data()?.list_keys(&bucket, cursor, MAX_PAGE).await?;
        Ok((page.keys, page.next))
    }

    async fn new_cas(&mut self, bucket: Place, key: String) -> Result<Resource<Cas>, StoreError> {
        let revision = self.data()?.get(&bucket, key.clone()).await?.map(|entry| entry.revision);
        self.check_handles()?;
        Ok(self.table().push(Cas { bucket, key, revision })?)
    }
}

fn sets(pairs: Vec<(String, Vec<u8>)>) -> Vec<Change> {
    pairs.into_iter().map(|(key, value)| Change::Set { key, value: value.into() }).collect()
}

fn deletes(keys: Vec<String>) -> Vec<Change> {
    keys.into_iter().map(|key| Change::Delete { key }).collect()
}

/// Implements what both drafts have.
macro_rules! implement_draft {
    ($draft:ident, $Cursor:ty, $read:expr, $write:expr) => {
        impl $draft::store::Host for Host {
            async fn open(&mut self, name: String) -> Result<Resource<Bucket>, StoreError> {
                self.open_bucket(&name)
            }

            fn convert_error(&mut self, error: StoreError) -> Result<$draft::store::Error> {
                use $draft::store::Error;
                Ok(match error {
                    StoreError::NoStore => Error::NoSuchStore,
                    StoreError::Data(DataError::Denied) => Error::AccessDenied,
                    error => Error::Other(error.into_message()?),
                })
            }
        }

        impl $draft::store::HostBucket for Host {
            async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Option<Vec<u8>>, StoreError> {
                self.get_value(bucket, key).await
            }

            async fn set(&mut self, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Result<(), StoreError> {
                self.make_changes(&bucket, sets(vec![(key, value)])).await
            }

            async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), StoreError> {
                self.make_changes(&bucket, deletes(vec![key])).await
            }

            async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, StoreError> {
                self.key_exists(bucket, key).await
            }

            async fn list_keys(
                &mut self,
                bucket: Resource<Bucket>,
                cursor: Option<$Cursor>,
            ) -> Result<$draft::store::KeyResponse, StoreError> {
                let cursor = cursor.map_or(Some(0), $read).ok_or(StoreError::Cursor)?;
                let (keys, next) = self.page(bucket, cursor).await?;
                Ok($draft::store::KeyResponse { keys, cursor: next.map($write) })
            }

            async fn drop(&mut self, bucket: Resource<Bucket>) -> Result<()> {
                self.table().delete(bucket)?;
                Ok(())
            }
        }

        impl $draft::batch::Host for Host {
            async fn get_many(
                &mut self,
                bucket: Resource<Bucket>,
                keys: Vec<String>,
            ) -> Result<Vec<Found>, StoreError> {
                self.get_values(bucket, keys).await
            }

            async fn set_many(
                &mut self,
                bucket: Resource<Bucket>,
                pairs: Vec<(String, Vec<u8>)>,
            ) -> Result<(), StoreError> {
                self.make_changes(&bucket, sets(pairs)).await
            }

            async fn delete_many(&mut self, bucket: Resource<Bucket>, keys: Vec<String>) -> Result<(), StoreError> {
                self.make_changes(&bucket, deletes(keys)).await
            }
        }
    };
}

implement_draft!(first, u64, Some, |next: u64| next);
implement_draft!(second, String, |text: String| text.parse().ok(), |next: u64| next.to_string());

impl first::atomics::Host for Host {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: u64) -> Result<u64, StoreError> {
        let bucket = self.bucket(&bucket)?;
        let sum = self.data()?.increment(&bucket, key, delta.into(), 0..=u64::MAX.into()).await?;
        Ok(u64::try_from(sum).map_err(|_| DataError::Overflow)?)
    }
}

impl second::atomics::Host for Host {
    async fn increment(&mut self, bucket: Resource<Bucket>, key: String, delta: i64) -> Result<i64, StoreError> {
        let bucket = self.bucket(&bucket)?;
        let sum = self.data()?.increment(&bucket, key, delta.into(), i64::MIN.into()..=i64::MAX.into()).await?;
        Ok(i64::try_from(sum).map_err(|_| DataError::Overflow)?)
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Result<std::result::Result<(), second::atomics::CasError>> {
        use second::atomics::CasError;
        use second::store::Host as _;
        let Cas { bucket, key, revision } = self.table().delete(cas)?;
        let swapped = async {
            let set = self.data()?.swap(&bucket, key.clone(), revision, value.into()).await?;
            // The new handle has the present value, so that the guest can try again.
            Ok::<_, StoreError>(if set { None } else { Some(self.new_cas(bucket, key).await?) })
        };
        match swapped.await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(cas)) => Ok(Err(CasError::CasFailed(cas))),
            Err(error) => Ok(Err(CasError::StoreError(self.convert_error(error)?))),
        }
    }
}

impl second::atomics::HostCas for Host {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, StoreError> {
        let bucket = self.bucket(&bucket)?;
        self.new_cas(bucket, key).await
    }

    /// Returns the present value, which a swap then replaces.
    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, StoreError> {
        let Cas { bucket, key, .. } = self.table().get(&cas)?;
        let (bucket, key) = (bucket.clone(), key.clone());
        let entry = self.data()?.get(&bucket, key).await?;
        self.table().get_mut(&cas)?.revision = entry.as_ref().map(|entry| entry.revision);
        Ok(entry.map(|entry| entry.value.into()))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> Result<()> {
        self.table().delete(cas)?;
        Ok(())
    }
}
