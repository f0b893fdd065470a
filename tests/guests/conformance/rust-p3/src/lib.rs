//! The conformance job in Rust for WASI 0.3. `../README.md` says what each command does. Files are those of the standard library, which uses
//! WASI 0.2: Capstan has no files of 0.3.

#![expect(clippy::disallowed_methods, reason = "a guest has no other way to its files")]

use std::fs;

use wasip3::cli::{environment, exit, stderr, stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::random::random;
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::wit_stream;

struct Job;

wasip3::cli::command::export!(Job);

impl wasip3::exports::cli::run::Guest for Job {
    async fn run() -> Result<(), ()> {
        let args = environment::get_arguments();
        let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
        let code = run(&args).await?;
        if code != 0 {
            exit::exit_with_code(code);
        }
        Ok(())
    }
}

async fn run(args: &[&str]) -> Result<u8, ()> {
    match *args {
        ["args", ref rest @ ..] => {
            let lines: String = rest.iter().map(|arg| format!("{arg}\n")).collect();
            print(stdout::write_via_stream, &lines).await?;
        }
        ["env", name] => match environment::get_environment().into_iter().find(|(known, _)| known == name) {
            Some((_, value)) => print(stdout::write_via_stream, &format!("{value}\n")).await?,
            None => return Ok(3),
        },
        ["cat"] => drop(copy_stdin().await?),
        ["stderr", text] => print(stderr::write_via_stream, &format!("{text}\n")).await?,
        ["copy", from, to] => fs::write(to, fs::read(from).map_err(drop)?).map_err(drop)?,
        ["exit", code] => return Ok(code.parse().unwrap_or(1)),
        ["random"] => {
            let text = format!("{:016x}{:016x}\n", random::get_random_u64(), random::get_random_u64());
            print(stdout::write_via_stream, &text).await?;
        }
        ["clock"] => print(stdout::write_via_stream, &read_clocks().await).await?,
        ["stream"] => {
            let count = copy_stdin().await?;
            print(stderr::write_via_stream, &format!("{count}\n")).await?;
        }
        ["trap"] => fail_on_purpose(args.len()),
        ["catch"] => {
            let text = match parse("x") {
                Ok(number) => format!("{number}\n"),
                Err(error) => format!("caught {error}\n"),
            };
            print(stdout::write_via_stream, &text).await?;
        }
        _ => return Ok(2),
    }
    Ok(0)
}

type Done = FutureReader<Result<(), wasip3::cli::types::ErrorCode>>;

fn open(write_via_stream: fn(StreamReader<u8>) -> Done) -> (StreamWriter<u8>, Done) {
    let (writer, reader) = wit_stream::new();
    (writer, write_via_stream(reader))
}

async fn print(to: fn(StreamReader<u8>) -> Done, text: &str) -> Result<(), ()> {
    let (mut writer, done) = open(to);
    writer.write_all(text.as_bytes().to_vec()).await;
    drop(writer);
    done.await.map_err(drop)
}

/// Copies stdin to stdout, and returns the number of bytes.
async fn copy_stdin() -> Result<u64, ()> {
    let (mut input, ended) = stdin::read_via_stream();
    let (mut output, done) = open(stdout::write_via_stream);
    let (mut buffer, mut count) = (Vec::with_capacity(64 << 10), 0);
    while let (StreamResult::Complete(length), bytes) = input.read(buffer).await {
        count += length as u64;
        buffer = output.write_all(bytes).await;
        if !buffer.is_empty() {
            return Err(());
        }
    }
    drop(output);
    done.await.map_err(drop)?;
    ended.await.map_err(drop)?;
    Ok(count)
}

async fn read_clocks() -> String {
    let start = monotonic_clock::now();
    monotonic_clock::wait_for(1000).await;
    while monotonic_clock::now() == start {}
    format!("{} {}\n", system_clock::now().seconds, monotonic_clock::now() - start)
}

fn parse(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "not a number")
}

#[inline(never)]
fn fail_on_purpose(count: usize) {
    assert!(count > 7, "on purpose");
}
