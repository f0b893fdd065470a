//! Exceptions of a guest that nothing caught.

use wasmtime::{Error, ExnRef, Result, Rooted, Store, ThrownException, Trap, Val};

use super::host::Host;

/// Returns the message for the exception that ended the run with `error`, or `None` if it did not end with an exception.
pub(super) fn describe_uncaught(store: &mut Store<Host>, error: &Error) -> Option<String> {
    if error.downcast_ref() == Some(&Trap::UncaughtException) {
        return Some(message(&[]));
    }
    if !error.is::<ThrownException>() {
        return None;
    }
    let thrown = store.take_pending_exception();
    let values = thrown.and_then(|thrown| values_of(store, thrown).ok());
    Some(message(&values.unwrap_or_default()))
}

/// Returns the values of an exception as text. In C++, the only one is the address of the object that was thrown.
fn values_of(store: &mut Store<Host>, thrown: Rooted<ExnRef>) -> Result<Vec<String>> {
    Ok(thrown.fields(store)?.map(|value| text_of(&value)).collect())
}

fn text_of(value: &Val) -> String {
    match value {
        Val::I32(number) => number.to_string(),
        Val::I64(number) => number.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(bits) => format!("{:#x}", bits.as_u128()),
        _ => "a reference".to_owned(),
    }
}

fn message(values: &[String]) -> String {
    match values {
        [] => "uncaught exception".to_owned(),
        [value] => format!("uncaught exception with the value {value}"),
        values => format!("uncaught exception with the values {}", values.join(", ")),
    }
}
