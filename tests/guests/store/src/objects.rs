//! Objects in containers.

#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "test:store/objects", generate_all });
}

use std::io::Write as _;

use bindings::wasi::blobstore::blobstore::{
    ObjectId, container_exists, copy_object, create_container, delete_container, get_container, move_object,
};
use bindings::wasi::blobstore::types::{IncomingValue, OutgoingValue};
use bindings::wasi::io::streams::StreamError;

use crate::{Done, number};

/// The length of the pattern of written objects, which is no divisor of the size of a piece.
const PERIOD: usize = 251;

pub(super) fn run(args: &[&str]) -> Done {
    match *args {
        ["create", container] => ok(create_container(container).map(drop)),
        ["remove", container] => ok(delete_container(container)),
        ["container", container] => Ok(container_exists(container)?.to_string()),
        ["put", container, name, size] => put(container, name, number(size), true),
        // Writes so many bytes and ends without finishing.
        ["put-half", container, name, size] => put(container, name, number(size), false),
        // Writes so many bytes and then waits for ever.
        ["put-wait", container, name, size] => {
            let (value, container) = (OutgoingValue::new_outgoing_value(), get_container(container)?);
            container.write_data(name, &value)?;
            write(&value, number(size))?;
            println!("written");
            loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            }
        }
        ["verify", container, name] => verify(container, name),
        ["part", container, name, start, last] => {
            let object = get_container(container)?.get_data(name, number(start) as u64, number(last) as u64)?;
            Ok(format!("{:?}", IncomingValue::incoming_value_consume_sync(object)?))
        }
        // Removes the object while it is read, and reads it to its end.
        ["remove-while-reading", container, name] => {
            let opened = get_container(container)?;
            let object = opened.get_data(name, 0, u64::MAX)?;
            opened.delete_object(name)?;
            if opened.has_object(name)? {
                return Err("it is still there".to_owned());
            }
            check(object)
        }
        ["size", container, name] => Ok(get_container(container)?.object_info(name)?.size.to_string()),
        ["has", container, name] => Ok(get_container(container)?.has_object(name)?.to_string()),
        ["objects", container] => {
            let list = get_container(container)?.list_objects()?;
            let mut all = Vec::new();
            loop {
                let (names, is_end) = list.read_stream_object_names(3)?;
                all.extend(names);
                if is_end {
                    return Ok(all.join(" "));
                }
            }
        }
        ["rm", container, name] => ok(get_container(container)?.delete_object(name)),
        ["clear", container] => ok(get_container(container)?.clear()),
        ["copy", container, from, to] => ok(copy_object(&id(container, from), &id(container, to))),
        ["move", container, from, to] => ok(move_object(&id(container, from), &id(container, to))),
        _ => Err("unknown operation".to_owned()),
    }
}

fn ok(result: Result<(), String>) -> Done {
    result.map(|()| "ok".to_owned())
}

fn id(container: &str, object: &str) -> ObjectId {
    ObjectId { container: container.to_owned(), object: object.to_owned() }
}

fn put(container: &str, name: &str, size: usize, finish: bool) -> Done {
    let (value, container) = (OutgoingValue::new_outgoing_value(), get_container(container)?);
    container.write_data(name, &value)?;
    write(&value, size)?;
    if finish {
        OutgoingValue::finish(value)?;
    }
    Ok("ok".to_owned())
}

/// Writes the pattern.
fn write(value: &OutgoingValue, size: usize) -> Result<(), String> {
    let stream = value.outgoing_value_write_body().map_err(|()| "there is no stream")?;
    let pattern: Vec<u8> = (0..PERIOD * 300).map(|index| u8::try_from(index % PERIOD).unwrap_or_default()).collect();
    let mut written = 0;
    while written < size {
        let permitted = loop {
            match stream.check_write().map_err(explain)? {
                0 => stream.subscribe().block(),
                permitted => break usize::try_from(permitted).unwrap_or(usize::MAX),
            }
        };
        let start = written % PERIOD;
        let length = permitted.min(size - written).min(pattern.len() - start);
        stream.write(&pattern[start..start + length]).map_err(explain)?;
        written += length;
    }
    Ok(())
}

fn verify(container: &str, name: &str) -> Done {
    check(get_container(container)?.get_data(name, 0, u64::MAX)?)
}

/// Reads an object and compares it with the pattern. Returns its size.
fn check(object: IncomingValue) -> Done {
    let stream = IncomingValue::incoming_value_consume_async(object)?;
    let mut read = 0;
    loop {
        match stream.blocking_read(1 << 20) {
            Ok(bytes) => {
                if bytes.iter().enumerate().any(|(index, byte)| usize::from(*byte) != (read + index) % PERIOD) {
                    return Err(format!("a byte after {read} is wrong"));
                }
                read += bytes.len();
            }
            Err(StreamError::Closed) => return Ok(read.to_string()),
            Err(error) => return Err(explain(error)),
        }
        std::io::stdout().flush().map_err(|error| error.to_string())?;
    }
}

fn explain(error: StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}
