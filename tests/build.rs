//! Compiles `guests/<suite>_<case>.wat` to binary and generates the code that `guests.rs` includes: a module per suite with a constant per
//! guest, and the macro `foreach_guest!`. A suite calls the macro to prove that each of its guests has a test.

#![expect(clippy::disallowed_methods, reason = "a build script reads its sources and writes its output by path")]
#![expect(clippy::unwrap_used, reason = "a build script reports by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let guests = Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("guests");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed={}", guests.display());

    let mut suites: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(&guests).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "wat") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (suite, case) =
            name.split_once('_').unwrap_or_else(|| panic!("{name}.wat is not named <suite>_<case>.wat"));
        let wasm = wat::parse_file(&path).unwrap_or_else(|error| panic!("{error}"));
        fs::write(out.join(format!("{name}.wasm")), wasm).unwrap();
        suites.entry(suite.to_owned()).or_default().push(case.to_owned());
    }
    for cases in suites.values_mut() {
        cases.sort();
    }
    fs::write(out.join("guests.rs"), generate(&suites, &guests)).unwrap();
}

fn generate(suites: &BTreeMap<String, Vec<String>>, guests: &Path) -> String {
    let mut code = String::new();
    for (suite, cases) in suites {
        writeln!(code, "/// The guests of the suite `{suite}`.\npub mod {suite} {{").unwrap();
        for case in cases {
            let constant = case.to_uppercase();
            writeln!(code, "    #[doc = {:?}]", title(&guests.join(format!("{suite}_{case}.wat")))).unwrap();
            writeln!(code, "    pub const {constant}: &[u8] = include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{suite}_{case}.wasm\"));")
                .unwrap();
        }
        writeln!(code, "}}").unwrap();
    }
    writeln!(code, "/// The suites. Each is a module of `it` that has a test for each of its guests.").unwrap();
    writeln!(code, "pub const SUITES: &[&str] = &{:?};", suites.keys().collect::<Vec<_>>()).unwrap();
    writeln!(
        code,
        "/// Calls `$check!(case)` for each guest of a suite.\n#[macro_export]\nmacro_rules! foreach_guest {{"
    )
    .unwrap();
    for (suite, cases) in suites {
        writeln!(code, "    ({suite}, $check:ident) => {{").unwrap();
        for case in cases {
            writeln!(code, "        $check!({case});").unwrap();
        }
        writeln!(code, "    }};").unwrap();
    }
    writeln!(code, "}}").unwrap();
    code
}

/// Returns the first comment of a guest, which describes the guest.
fn title(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().next().unwrap_or_default();
    let title = line.strip_prefix(";; ").unwrap_or_else(|| panic!("{} does not begin with a comment", path.display()));
    title.to_owned()
}
