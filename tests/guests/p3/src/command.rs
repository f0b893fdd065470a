//! The command. Its first argument selects what it does:
//!
//! | argument | does |
//! |---|---|
//! | `hello` | prints `hello` |
//! | `args` | prints the other arguments, and the variable `GREETING`, each on a line |
//! | `cat` | copies stdin to stdout through its own memory, and prints the number of bytes on stderr |
//! | `pass` | connects stdin with stdout, and does not see the bytes |
//! | `both` | prints `out` and `err` from many streams at the same time |
//! | `exit CODE` | exits with the code |
//! | `fail` | returns an error |
//! | `trap` | traps |
//! | `flood`, `flood-stderr` | prints without end |
//! | `grow` | fills memory without end |
//! | `streams`, `futures`, `stdins` | opens streams, futures, or streams of stdin without end |
//! | `sleeps` | starts sleeps without end |
//! | `spin` | computes without end |
//! | `yield` | yields without end |
//! | `wait` | waits for something that never happens |
//! | `sleep MILLISECONDS` | sleeps, and prints how much the monotonic clock moved, in milliseconds |
//! | `clock` | prints the seconds since 1970 |
//! | `random COUNT` | prints how many random bytes it got, and the first eight of them |
//! | `late` | returns, and prints `late` afterwards |

use wasip3::cli::{environment, exit, stderr, stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::random::random;
use wasip3::wit_bindgen::{self, StreamReader, StreamResult, StreamWriter};
use wasip3::{wit_future, wit_stream};

/// The bytes that are read or written at a time.
const PIECE: usize = 64 << 10;

pub(crate) async fn run() -> Result<(), ()> {
    let args = environment::get_arguments();
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match *args.as_slice() {
        ["hello"] => print("hello\n").await,
        ["args", ref rest @ ..] => print(&described(rest)).await,
        ["cat"] => cat().await,
        ["pass"] => {
            let (input, ended) = stdin::read_via_stream();
            stdout::write_via_stream(input).await.map_err(drop)?;
            ended.await.map_err(drop)
        }
        ["both"] => both().await,
        ["exit", code] => {
            exit::exit_with_code(code.parse().map_err(drop)?);
            Ok(())
        }
        ["fail"] => Err(()),
        ["trap"] => std::process::abort(),
        ["flood"] => flood(stdout::write_via_stream).await,
        ["flood-stderr"] => flood(stderr::write_via_stream).await,
        ["grow"] => grow(),
        ["streams"] => loop {
            std::mem::forget(wit_stream::new::<u8>());
        },
        ["futures"] => loop {
            std::mem::forget(wit_future::new::<Result<(), wasip3::cli::types::ErrorCode>>(|| Ok(())));
        },
        ["stdins"] => loop {
            std::mem::forget(stdin::read_via_stream());
        },
        ["sleeps"] => loop {
            wit_bindgen::spawn_local(monotonic_clock::wait_for(u64::MAX));
            wit_bindgen::yield_async().await;
        },
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        ["yield"] => loop {
            wit_bindgen::yield_async().await;
        },
        ["wait"] => {
            let (_writer, reader) = wit_stream::new::<u8>();
            reader.collect().await;
            Ok(())
        }
        ["sleep", millis] => sleep(millis.parse().map_err(drop)?).await,
        ["clock"] => print(&format!("{}\n", system_clock::now().seconds)).await,
        ["random", count] => {
            let bytes = random::get_random_bytes(count.parse().map_err(drop)?);
            print(&format!("{} {:02x?}\n", bytes.len(), &bytes[..bytes.len().min(8)])).await
        }
        ["late"] => {
            wit_bindgen::spawn_local(async { print("late\n").await.expect("stdout is open") });
            Ok(())
        }
        _ => Err(()),
    }
}

fn described(args: &[&str]) -> String {
    let greeting = environment::get_environment().into_iter().find(|(name, _)| name == "GREETING");
    let greeting = greeting.map(|(_, value)| value).unwrap_or_default();
    args.iter().map(|arg| format!("{arg}\n")).collect::<String>() + &greeting + "\n"
}

/// Opens stdout or stderr, and returns where to write.
fn open(write_via_stream: Open) -> (StreamWriter<u8>, Done) {
    let (writer, reader) = wit_stream::new();
    (writer, write_via_stream(reader))
}

type Done = wit_bindgen::FutureReader<Result<(), wasip3::cli::types::ErrorCode>>;
type Open = fn(StreamReader<u8>) -> Done;

async fn print(text: &str) -> Result<(), ()> {
    print_to(stdout::write_via_stream, text).await
}

async fn print_to(to: Open, text: &str) -> Result<(), ()> {
    let (mut writer, done) = open(to);
    let rest = writer.write_all(text.as_bytes().to_vec()).await;
    drop(writer);
    done.await.map_err(drop)?;
    if rest.is_empty() { Ok(()) } else { Err(()) }
}

async fn cat() -> Result<(), ()> {
    let (mut input, ended) = stdin::read_via_stream();
    let (mut output, done) = open(stdout::write_via_stream);
    let (mut count, mut buffer) = (0, Vec::with_capacity(PIECE));
    loop {
        let (result, bytes) = input.read(buffer).await;
        let StreamResult::Complete(size) = result else { break };
        count += size;
        buffer = output.write_all(bytes).await;
        if !buffer.is_empty() {
            return Err(());
        }
        buffer = Vec::with_capacity(PIECE);
    }
    drop(output);
    done.await.map_err(drop)?;
    ended.await.map_err(drop)?;
    print_to(stderr::write_via_stream, &format!("{count}\n")).await
}

async fn both() -> Result<(), ()> {
    for number in 0..20 {
        let (to, text): (Open, _) =
            if number % 2 == 0 { (stdout::write_via_stream, "out") } else { (stderr::write_via_stream, "err") };
        // Larger than a pipe, so that all of them wait at the same time.
        wit_bindgen::spawn_local(async move {
            print_to(to, &text.repeat(30_000)).await.expect("the stream is open");
        });
    }
    Ok(())
}

async fn flood(to: Open) -> Result<(), ()> {
    let (mut writer, _done) = open(to);
    while writer.write_all(vec![b'x'; PIECE]).await.is_empty() {}
    Ok(())
}

fn grow() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&kept);
    }
}

async fn sleep(millis: u64) -> Result<(), ()> {
    let before = monotonic_clock::now();
    monotonic_clock::wait_for(millis * 1_000_000).await;
    let slept = (monotonic_clock::now() - before) / 1_000_000;
    print(&format!("{slept}\n")).await
}
