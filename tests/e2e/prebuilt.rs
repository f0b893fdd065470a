//! Programs that others have built: CPython and QuickJS, from public packages. `jobs/build --test` fetches them where it can. Where it cannot,
//! these tests say so and check nothing.

use std::path::PathBuf;

use capstan_tests::guests;

use crate::command;

/// Returns the path of a program, or `None` if it was not fetched.
pub(crate) fn prebuilt(name: &str) -> Option<PathBuf> {
    let path = guests::compiled_path(&format!("prebuilt/{name}"));
    if !path.exists() {
        eprintln!("{name} was not fetched, so this checks nothing");
        return None;
    }
    Some(path)
}

#[tokio::test]
async fn cpython_moves_large_data_and_reports_lack_of_memory() {
    let Some(python) = prebuilt("python") else { return };
    let script = "\
import os, sys
print(len(open('/in/large', 'rb').read()), len(os.urandom(64 << 20)))
sys.stdout.flush()
print('x' * 20_000_000)
print(len(sys.stdin.buffer.read()))
for name in os.listdir('/in/many'):
    os.remove('/in/many/' + name)
os.rmdir('/in/many')
try:
    open('/nowhere')
except OSError as error:
    print(error.errno)
";
    let run = command().file("script.py", script.as_bytes()).stdin(vec![b'y'; 30_000_000]);
    std::fs::create_dir(run.folder().join("many")).unwrap();
    for number in 0..200 {
        std::fs::write(run.folder().join(format!("many/{number}")), "").unwrap();
    }
    let run = run.file("large", &vec![0; 10_000_000]);
    let args = ["run", "--dir", ".::/in", "--memory", "512MiB", python.to_str().unwrap(), "/in/script.py"];
    let finished = run.args(args).run().await.assert_exit_code(0);
    let lines: Vec<_> = finished.text().lines().collect();
    assert_eq!((lines[0], lines[1].len(), lines[2], lines[3]), ("10000000 67108864", 20_000_000, "30000000", "44"));

    let denied = command().args(["run", python.to_str().unwrap(), "-c", "b'a' * 10**9"]);
    let finished = denied.run().await.assert_exit_code(137);
    assert!(finished.stderr.contains("MemoryError") && finished.stderr.contains("--memory"), "{finished:?}");
}

#[tokio::test]
async fn quickjs_evaluates_an_expression() {
    let Some(quickjs) = prebuilt("quickjs") else { return };
    let run = command().args(["run", quickjs.to_str().unwrap(), "-e", "console.log(6 * 7)"]);
    assert_eq!(run.run().await.assert_exit_code(0).text(), "42\n");
}
