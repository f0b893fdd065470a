//! Uses `wasi:keyvalue` (both drafts), `wasi:blobstore`, `wasi:config` and `wasi:logging`. The first argument selects what it does; see
//! `run`. Prints the result, or `error: …` and exits with 1.

#![allow(clippy::disallowed_methods, clippy::exit, reason = "a guest reads its own variables and exits with a code")]
#![allow(clippy::error_impl_error, reason = "the interfaces name their errors so")]

mod objects;

#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod old {
    wit_bindgen::generate!({ path: "wit", world: "test:store/old", generate_all });
}

#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod new {
    wit_bindgen::generate!({ path: "wit", world: "test:store/new", generate_all });
}

#[allow(clippy::all, clippy::pedantic, reason = "generated")]
mod rest {
    wit_bindgen::generate!({ path: "wit", world: "test:store/rest", generate_all });
}

use new::wasi::keyvalue0_2_0_draft2::atomics::{self, Cas, CasError};
use new::wasi::keyvalue0_2_0_draft2::batch;
use new::wasi::keyvalue0_2_0_draft2::store::{Error, open};

type Done = Result<String, String>;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(text) => {
            println!("{text}");
            std::process::ExitCode::SUCCESS
        }
        Err(text) => {
            println!("error: {text}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str]) -> Done {
    match *args {
        ["get", bucket, key] => {
            let value = open(bucket).and_then(|bucket| bucket.get(key)).map_err(explain)?;
            Ok(value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
        }
        ["set", bucket, key, value] => done(open(bucket).and_then(|bucket| bucket.set(key, value.as_bytes()))),
        // A value of so many bytes.
        ["big", bucket, key, size] => {
            let value = vec![b'x'; number(size)];
            done(open(bucket).and_then(|bucket| bucket.set(key, &value)))
        }
        ["delete", bucket, key] => done(open(bucket).and_then(|bucket| bucket.delete(key))),
        ["exists", bucket, key] => Ok(open(bucket).and_then(|bucket| bucket.exists(key)).map_err(explain)?.to_string()),
        ["keys", bucket] => keys(bucket).map_err(explain),
        ["add", bucket, key, delta] => {
            let delta = delta.parse().map_err(|_| "not a number")?;
            Ok(open(bucket).and_then(|bucket| atomics::increment(&bucket, key, delta)).map_err(explain)?.to_string())
        }
        ["swap", bucket, key, times] => swap(bucket, key, number(times)).map_err(explain),
        ["stale-swap", bucket, key] => stale_swap(bucket, key).map_err(explain),
        ["set-many", bucket, count, size] => set_many(bucket, number(count), number(size)),
        ["get-many", bucket, ref keys @ ..] => get_many(bucket, keys).map_err(explain),
        ["delete-many", bucket, ref keys @ ..] => {
            let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
            done(open(bucket).and_then(|bucket| batch::delete_many(&bucket, &keys)))
        }
        // Sets numbered keys without end, and prints how many are set.
        ["set-forever", bucket] => set_forever(bucket).map_err(explain),
        ["old", ref args @ ..] => run_old(args),
        ["config", key] => {
            let value = rest::wasi::config::store::get(key).map_err(|error| format!("{error:?}"))?;
            Ok(value.unwrap_or_else(|| "none".to_owned()))
        }
        ["config"] => Ok(format!("{:?}", rest::wasi::config::store::get_all().map_err(|error| format!("{error:?}"))?)),
        ["log", context, message] => {
            use rest::wasi::logging::logging::{Level, log};
            log(Level::Warn, context, message);
            Ok("logged".to_owned())
        }
        ref args => objects::run(args),
    }
}

/// Calls of the first draft.
fn run_old(args: &[&str]) -> Done {
    use old::wasi::keyvalue0_2_0_draft::atomics::increment;
    use old::wasi::keyvalue0_2_0_draft::store::open;
    let explain = |error| format!("{error:?}");
    match *args {
        ["set", bucket, key, value] => {
            open(bucket).and_then(|bucket| bucket.set(key, value.as_bytes())).map_err(explain)?;
            Ok("ok".to_owned())
        }
        ["get", bucket, key] => {
            let value = open(bucket).and_then(|bucket| bucket.get(key)).map_err(explain)?;
            Ok(value.map_or("none".to_owned(), |value| String::from_utf8_lossy(&value).into_owned()))
        }
        ["add", bucket, key, delta] => {
            let delta = delta.parse().map_err(|_| "not a number")?;
            Ok(open(bucket).and_then(|bucket| increment(&bucket, key, delta)).map_err(explain)?.to_string())
        }
        ["keys", bucket] => {
            let bucket = open(bucket).map_err(explain)?;
            let (mut count, mut cursor) = (0, None);
            loop {
                let page = bucket.list_keys(cursor).map_err(explain)?;
                count += page.keys.len();
                cursor = page.cursor;
                if cursor.is_none() {
                    return Ok(count.to_string());
                }
            }
        }
        _ => Err("unknown operation".to_owned()),
    }
}

fn explain(error: Error) -> String {
    match error {
        Error::NoSuchStore => "no such store".to_owned(),
        Error::AccessDenied => "access denied".to_owned(),
        Error::Other(message) => message,
    }
}

fn done(result: Result<(), Error>) -> Done {
    result.map(|()| "ok".to_owned()).map_err(explain)
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

/// Returns how many different keys there are, and in how many pages.
fn keys(bucket: &str) -> Result<String, Error> {
    let bucket = open(bucket)?;
    let (mut keys, mut pages, mut cursor) = (std::collections::BTreeSet::new(), 0, None);
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        pages += 1;
        for key in page.keys {
            assert!(keys.insert(key), "a key is in the list twice");
        }
        cursor = page.cursor;
        if cursor.is_none() {
            let first = keys.first().cloned().unwrap_or_default();
            return Ok(format!("{} keys, {pages} pages, {first}", keys.len()));
        }
    }
}

/// Adds 1 to a number so many times, with compare and swap. Returns the last number.
fn swap(bucket: &str, key: &str, times: usize) -> Result<String, Error> {
    let bucket = open(bucket)?;
    let mut last = 0;
    for _ in 0..times {
        let mut cas = Cas::new(&bucket, key)?;
        loop {
            let number =
                cas.current()?.map_or(0, |value| String::from_utf8_lossy(&value).parse::<u64>().expect("a number"));
            match atomics::swap(cas, (number + 1).to_string().as_bytes()) {
                Ok(()) => {
                    last = number + 1;
                    break;
                }
                Err(CasError::CasFailed(next)) => cas = next,
                Err(CasError::StoreError(error)) => return Err(error),
            }
        }
    }
    Ok(last.to_string())
}

/// Swaps a value that has changed in between, and returns what the handle then shows.
fn stale_swap(bucket: &str, key: &str) -> Result<String, Error> {
    let bucket = open(bucket)?;
    bucket.set(key, b"first")?;
    let cas = Cas::new(&bucket, key)?;
    // The same value again is another write.
    bucket.set(key, b"first")?;
    match atomics::swap(cas, b"second") {
        Ok(()) => Ok("swapped".to_owned()),
        Err(CasError::CasFailed(cas)) => {
            let current = cas.current()?.unwrap_or_default();
            Ok(format!("failed, {}", String::from_utf8_lossy(&current)))
        }
        Err(CasError::StoreError(error)) => Err(error),
    }
}

/// Sets numbered keys to values of `size` bytes, in batches of 1,000. Stops at the first error.
fn set_many(bucket: &str, count: usize, size: usize) -> Done {
    let bucket = open(bucket).map_err(explain)?;
    let pairs: Vec<_> = (0..count).map(|number| (format!("key-{number:06}"), vec![b'x'; size])).collect();
    for (index, pairs) in pairs.chunks(1000).enumerate() {
        batch::set_many(&bucket, pairs).map_err(|error| format!("batch {index}: {}", explain(error)))?;
    }
    Ok("ok".to_owned())
}

fn get_many(bucket: &str, keys: &[&str]) -> Result<String, Error> {
    let keys: Vec<_> = keys.iter().map(|key| (*key).to_owned()).collect();
    let found = batch::get_many(&open(bucket)?, &keys)?;
    let text = found.into_iter().map(|pair| match pair {
        Some((key, value)) => format!("{key}={}", String::from_utf8_lossy(&value)),
        None => "none".to_owned(),
    });
    Ok(text.collect::<Vec<_>>().join(" "))
}

fn set_forever(bucket: &str) -> Result<String, Error> {
    let bucket = open(bucket)?;
    for number in 0u64.. {
        bucket.set(&format!("n{number}"), number.to_string().as_bytes())?;
        println!("{number}");
    }
    Ok(String::new())
}
