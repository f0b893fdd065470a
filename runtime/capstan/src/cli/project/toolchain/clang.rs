//! C and C++: the compiler of a WASI SDK, a clang with a C library for WASI, or Zig, which brings one along.

use super::steps::{Artifact, Plan, Sources, Step};
use super::{probe, zig};
use crate::cli::project::error::ProjectError;
use crate::cli::project::language::{Language, source_names};

const SDK: &str = "/opt/wasi-sdk";
const CLANGS: [&str; 2] = ["clang", "clang-22"];
const SYSROOTS: [&str; 2] = ["/usr", "/usr/share/wasi-sysroot"];

const INSTALL_C: &str = "Install one of these:
  the WASI SDK (https://github.com/WebAssembly/wasi-sdk), in /opt/wasi-sdk or where WASI_SDK_PATH says
  Zig:                   pip install ziglang
  on Debian, as root:    apt-get install clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc";
const INSTALL_CPP: &str = "Install one of these:
  the WASI SDK (https://github.com/WebAssembly/wasi-sdk), in /opt/wasi-sdk or where WASI_SDK_PATH says
  Zig:                   pip install ziglang
  on Debian, as root:    apt-get install clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc libc++-22-dev-wasm32 \
     libc++abi-22-dev-wasm32";

pub(super) fn plan(language: Language, sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let project = sources.project;
    let compiler = find_clang(language, sources).or_else(|| find_zig(language, sources));
    let compiler = compiler.ok_or_else(|| {
        let (what, install) = match language {
            Language::Cpp => ("a C++ compiler for WASI that works", INSTALL_CPP),
            _ => ("a C compiler for WASI that works", INSTALL_C),
        };
        ProjectError::MissingTool { what: what.to_owned(), install: install.to_owned() }
    })?;
    // C and C++ may be mixed in a C++ program, and clang tells them apart by their extensions.
    let mut extensions = language.extensions();
    if language == Language::Cpp {
        extensions.push("c");
    }
    let is_source =
        |name: &&String| name.rsplit_once('.').is_some_and(|(_, extension)| extensions.contains(&extension));
    let names = source_names(&project.dir);
    // `./` keeps a name that starts with `-` from being an option.
    let files: Vec<_> = names.iter().filter(is_source).map(|name| format!("./{name}")).collect();
    if files.is_empty() {
        let reason = format!("it has no sources of {} in it or in src", language.name());
        return Err(ProjectError::UnknownLanguage { dir: project.shown.clone(), reason });
    }
    let step = Step::new(compiler).args(["-O2", "-Wall", "-Wextra", "-Wl,--strip-debug", "-ffile-prefix-map=./="]);
    let step = match language {
        Language::Cpp => step.args(["-fno-exceptions"]),
        _ => step,
    };
    let step = step.args(&project.tables.build.flags).args(files).args(["-o".as_ref(), sources.target.as_os_str()]);
    Ok(Plan { steps: vec![step], artifact: Artifact::File(sources.target.to_owned()) })
}

/// Returns the first clang that compiles a program. One that only starts may lack a C library for WASI.
fn find_clang(language: Language, sources: &Sources<'_>) -> Option<Vec<String>> {
    let suffix = if language == Language::Cpp { "++" } else { "" };
    let sdk = sources.environment.non_empty("WASI_SDK_PATH").and_then(|path| path.to_str()).unwrap_or(SDK);
    let mut candidates = vec![vec![format!("{sdk}/bin/clang{suffix}"), "--target=wasm32-wasip1".to_owned()]];
    for clang in CLANGS {
        let clang = clang.replacen("clang", &format!("clang{suffix}"), 1);
        for sysroot in SYSROOTS {
            let options = ["--target=wasm32-wasi", "-Wno-deprecated", &format!("--sysroot={sysroot}")];
            candidates.push([&[clang.as_str()], &options[..]].concat().into_iter().map(str::to_owned).collect());
        }
    }
    candidates.into_iter().find(|command| compiles(language, sources, command))
}

/// Whether `command` compiles and links a program that uses the standard library.
fn compiles(language: Language, sources: &Sources<'_>, command: &[String]) -> bool {
    let (file_name, text) = match language {
        Language::Cpp => ("probe.cpp", "#include <string>\nint main() { return std::string(\"x\").empty(); }\n"),
        _ => ("probe.c", "#include <stdio.h>\nint main(void) { return puts(\"\") < 0; }\n"),
    };
    let file = sources.target.with_file_name(file_name);
    if sources.project.write(&file, text.as_bytes()).is_err() {
        return false;
    }
    let (file, result) = (file.to_string_lossy(), file.with_extension("wasm"));
    let options = ["-fno-exceptions", &file, "-o", &result.to_string_lossy()].map(str::to_owned);
    probe::output(&sources.project.path, &[command, &options].concat()).is_some()
}

fn find_zig(language: Language, sources: &Sources<'_>) -> Option<Vec<String>> {
    let (command, _) = probe::first(&sources.project.path, &zig::COMMANDS, "version")?;
    let compiler = if language == Language::Cpp { "c++" } else { "cc" };
    let words = command.into_iter().chain([compiler, "-target", "wasm32-wasi"]);
    Some(words.map(str::to_owned).collect())
}
