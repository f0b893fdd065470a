//! `wasi:blobstore`: containers of objects. All errors are texts, as the interface says.

use capstan_engine::data::{DataError, MAX_BATCH_BYTES, MAX_PAGE, Place};
use jiff::Timestamp;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::access::HasHost;
use super::error::StoreError;
use super::object_body::{BodyStream, ObjectBody};
use super::object_reader::{ObjectPart, ObjectStream};
use crate::host::Host;

/// Names that one object may get.
const MAX_NAMES: usize = 16;

/// An object that the guest writes.
#[derive(Debug)]
pub struct OutgoingValue {
    /// `None` where nothing keeps data.
    body: Option<ObjectBody>,
    has_stream: bool,
    names: Vec<(Place, String)>,
}

/// A list of the objects of a container.
#[derive(Debug)]
pub struct ObjectNames {
    container: Place,
    /// Where the next page begins. `None` after the last one.
    next: Option<u64>,
}

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit/blobstore",
        world: "wasi:blobstore/imports",
        imports: { default: async | trappable },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:blobstore/container.container": capstan_engine::data::Place,
            "wasi:blobstore/container.stream-object-names": super::ObjectNames,
            "wasi:blobstore/types.incoming-value": super::super::object_reader::ObjectPart,
            "wasi:blobstore/types.outgoing-value": super::OutgoingValue,
        },
    });
}

use bindings::wasi::blobstore as wit;
use wit::container::{ContainerMetadata, ObjectMetadata};
use wit::types::ObjectId;

/// What a call returns: a value, or an error for the guest.
type Answer<T> = std::result::Result<T, String>;

/// Adds the interfaces to `linker`.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    let host: fn(&mut Host) -> &mut Host = |host| host;
    wit::types::add_to_linker::<_, HasHost>(linker, host)?;
    wit::container::add_to_linker::<_, HasHost>(linker, host)?;
    wit::blobstore::add_to_linker::<_, HasHost>(linker, host)
}

/// Makes an error an answer for the guest, unless it ends the run.
fn answer<T>(result: Result<T, StoreError>) -> Result<Answer<T>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.into_message()?)),
    }
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or_default()
}

impl Host {
    fn container(&mut self, container: &Resource<Place>) -> Result<Place, StoreError> {
        Ok(self.table().get(container)?.clone())
    }

    async fn existing_container(&mut self, name: &str) -> Result<Place, StoreError> {
        let data = self.data()?;
        let place = data.place(name)?;
        match data.container(&place).await? {
            Some(_) => Ok(place),
            None => Err(DataError::NoContainer(name.into()).into()),
        }
    }

    async fn copy(&mut self, from: ObjectId, to: ObjectId, moves: bool) -> Result<(), StoreError> {
        let data = self.data()?;
        let from = (data.place(&from.container)?, from.object);
        let to = (data.place(&to.container)?, to.object);
        Ok(data.copy(from, to, moves).await?)
    }

    async fn list_names(
        &mut self,
        list: &Resource<ObjectNames>,
        count: u64,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let ObjectNames { container, next } = self.table().get(list)?;
        let (container, Some(cursor)) = (container.clone(), *next) else { return Ok((Vec::new(), true)) };
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(MAX_PAGE);
        if count == 0 {
            return Ok((Vec::new(), false));
        }
        let page = self.data()?.list_objects(&container, cursor, count).await?;
        self.table().get_mut(list)?.next = page.next;
        Ok((page.names, page.next.is_none()))
    }

    async fn read_all(&mut self, mut part: ObjectPart) -> Result<Vec<u8>, StoreError> {
        if part.size() > MAX_BATCH_BYTES as u64 {
            return Err(DataError::ValueTooLarge(part.size()).into());
        }
        let mut bytes = Vec::new();
        loop {
            let piece = part.next().await?;
            if piece.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&piece);
        }
    }
}

impl wit::blobstore::Host for Host {
    async fn create_container(&mut self, name: String) -> Result<Answer<Resource<Place>>> {
        let created = async {
            self.check_handles()?;
            let data = self.data()?;
            let place = data.place(&name)?;
            data.create_container(&place).await?;
            Ok(self.table().push(place)?)
        };
        answer(created.await)
    }

    async fn get_container(&mut self, name: String) -> Result<Answer<Resource<Place>>> {
        let found = async {
            self.check_handles()?;
            let place = self.existing_container(&name).await?;
            Ok(self.table().push(place)?)
        };
        answer(found.await)
    }

    async fn delete_container(&mut self, name: String) -> Result<Answer<()>> {
        let data = self.data();
        let deleted = async {
            let data = data?;
            Ok(data.remove_container(&data.place(&name)?).await?)
        };
        answer(deleted.await)
    }

    async fn container_exists(&mut self, name: String) -> Result<Answer<bool>> {
        let data = self.data();
        let found = async {
            let data = data?;
            Ok(data.container(&data.place(&name)?).await?.is_some())
        };
        answer(found.await)
    }

    async fn copy_object(&mut self, from: ObjectId, to: ObjectId) -> Result<Answer<()>> {
        answer(self.copy(from, to, false).await)
    }

    async fn move_object(&mut self, from: ObjectId, to: ObjectId) -> Result<Answer<()>> {
        answer(self.copy(from, to, true).await)
    }
}

impl wit::container::Host for Host {}

impl wit::container::HostContainer for Host {
    async fn name(&mut self, container: Resource<Place>) -> Result<Answer<String>> {
        answer(self.container(&container).map(|place| place.name.to_string()))
    }

    async fn info(&mut self, container: Resource<Place>) -> Result<Answer<ContainerMetadata>> {
        let found = async {
            let place = self.container(&container)?;
            let info = self.data()?.container(&place).await?;
            let info = info.ok_or_else(|| DataError::NoContainer((*place.name).into()))?;
            Ok(ContainerMetadata { name: place.name.to_string(), created_at: seconds(info.created) })
        };
        answer(found.await)
    }

    async fn get_data(
        &mut self,
        container: Resource<Place>,
        name: String,
        start: u64,
        last: u64,
    ) -> Result<Answer<Resource<ObjectPart>>> {
        let opened = async {
            self.check_handles()?;
            let place = self.container(&container)?;
            let reader = self.data()?.open(&place, name).await?;
            Ok(self.table().push(ObjectPart::new(reader, start, last))?)
        };
        answer(opened.await)
    }

    async fn write_data(
        &mut self,
        container: Resource<Place>,
        name: String,
        value: Resource<OutgoingValue>,
    ) -> Result<Answer<()>> {
        let named = async {
            let place = self.container(&container)?;
            let data = self.data()?;
            data.check_object_name(&name)?;
            if data.container(&place).await?.is_none() {
                return Err(DataError::NoContainer((*place.name).into()).into());
            }
            let value = self.table().get_mut(&value)?;
            if value.names.len() >= MAX_NAMES {
                return Err(DataError::BatchTooLarge.into());
            }
            value.names.push((place, name));
            Ok(())
        };
        answer(named.await)
    }

    async fn list_objects(&mut self, container: Resource<Place>) -> Result<Answer<Resource<ObjectNames>>> {
        let listed = async {
            self.check_handles()?;
            let container = self.container(&container)?;
            Ok(self.table().push(ObjectNames { container, next: Some(0) })?)
        };
        answer(listed.await)
    }

    async fn delete_object(&mut self, container: Resource<Place>, name: String) -> Result<Answer<()>> {
        self.delete_objects(container, vec![name]).await
    }

    async fn delete_objects(&mut self, container: Resource<Place>, names: Vec<String>) -> Result<Answer<()>> {
        let deleted = async {
            let place = self.container(&container)?;
            Ok(self.data()?.remove_objects(&place, names).await?)
        };
        answer(deleted.await)
    }

    async fn has_object(&mut self, container: Resource<Place>, name: String) -> Result<Answer<bool>> {
        let found = async {
            let place = self.container(&container)?;
            Ok(self.data()?.object(&place, name).await?.is_some())
        };
        answer(found.await)
    }

    async fn object_info(&mut self, container: Resource<Place>, name: String) -> Result<Answer<ObjectMetadata>> {
        let found = async {
            let place = self.container(&container)?;
            let info = self.data()?.object(&place, name.clone()).await?;
            let info = info.ok_or_else(|| DataError::NoObject(name.as_str().into()))?;
            let container = place.name.to_string();
            Ok(ObjectMetadata { name, container, created_at: seconds(info.created), size: info.size })
        };
        answer(found.await)
    }

    async fn clear(&mut self, container: Resource<Place>) -> Result<Answer<()>> {
        let cleared = async {
            let place = self.container(&container)?;
            Ok(self.data()?.clear(&place).await?)
        };
        answer(cleared.await)
    }

    async fn drop(&mut self, container: Resource<Place>) -> Result<()> {
        self.table().delete(container)?;
        Ok(())
    }
}

impl wit::container::HostStreamObjectNames for Host {
    async fn read_stream_object_names(
        &mut self,
        list: Resource<ObjectNames>,
        count: u64,
    ) -> Result<Answer<(Vec<String>, bool)>> {
        answer(self.list_names(&list, count).await)
    }

    async fn skip_stream_object_names(
        &mut self,
        list: Resource<ObjectNames>,
        count: u64,
    ) -> Result<Answer<(u64, bool)>> {
        answer(self.list_names(&list, count).await.map(|(names, is_end)| (names.len() as u64, is_end)))
    }

    async fn drop(&mut self, list: Resource<ObjectNames>) -> Result<()> {
        self.table().delete(list)?;
        Ok(())
    }
}

impl wit::types::Host for Host {}

impl wit::types::HostOutgoingValue for Host {
    async fn new_outgoing_value(&mut self) -> Result<Resource<OutgoingValue>> {
        let body = self.stores.data.clone().map(ObjectBody::new);
        Ok(self.table().push(OutgoingValue { body, has_stream: false, names: Vec::new() })?)
    }

    async fn outgoing_value_write_body(
        &mut self,
        value: Resource<OutgoingValue>,
    ) -> Result<std::result::Result<Resource<DynOutputStream>, ()>> {
        let outgoing = self.table().get_mut(&value)?;
        let Some(body) = outgoing.body.clone().filter(|_| !outgoing.has_stream) else { return Ok(Err(())) };
        outgoing.has_stream = true;
        let stream: DynOutputStream = Box::new(BodyStream(body));
        Ok(Ok(self.table().push_child(stream, &value)?))
    }

    async fn finish(&mut self, value: Resource<OutgoingValue>) -> Result<Answer<()>> {
        let OutgoingValue { body, names, .. } = self.table().delete(value)?;
        let finished = async {
            let body = body.ok_or(StoreError::NoStore)?;
            // Without a name the object belongs to nothing, and is discarded.
            if names.is_empty() { Ok(()) } else { Ok(body.finish(names).await?) }
        };
        answer(finished.await)
    }

    async fn drop(&mut self, value: Resource<OutgoingValue>) -> Result<()> {
        self.table().delete(value)?;
        Ok(())
    }
}

impl wit::types::HostIncomingValue for Host {
    async fn incoming_value_consume_sync(&mut self, value: Resource<ObjectPart>) -> Result<Answer<Vec<u8>>> {
        let part = self.table().delete(value)?;
        answer(self.read_all(part).await)
    }

    async fn incoming_value_consume_async(
        &mut self,
        value: Resource<ObjectPart>,
    ) -> Result<Answer<Resource<DynInputStream>>> {
        let part = self.table().delete(value)?;
        let stream: DynInputStream = Box::new(ObjectStream::new(part));
        Ok(Ok(self.table().push(stream)?))
    }

    async fn size(&mut self, value: Resource<ObjectPart>) -> Result<u64> {
        Ok(self.table().get(&value)?.size())
    }

    async fn drop(&mut self, value: Resource<ObjectPart>) -> Result<()> {
        self.table().delete(value)?;
        Ok(())
    }
}
