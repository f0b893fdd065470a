//! Rust: cargo with the target `wasm32-wasip1`, or Debian's compiler, which has the standard library of that target only as sources.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::probe;
use super::steps::{Artifact, Plan, Sources, Step};
use crate::cli::paths;
use crate::cli::project::error::ProjectError;

/// The target of commands.
const TARGET: &str = "wasm32-wasip1";
/// The target of packages without a command, which become components.
const COMPONENT_TARGET: &str = "wasm32-wasip2";
/// The first version that calls the target so.
const OLDEST: &str = "1.78";

const INSTALL_RUST: &str = "Install Rust from https://rustup.rs, then run: rustup target add wasm32-wasip1";
const INSTALL_COMPONENT_TARGET: &str = "Install it with rustup: rustup target add wasm32-wasip2";
const INSTALL_TARGET: &str = "Install it with rustup:   rustup target add wasm32-wasip1
or on Debian, as root:    apt-get install rustc-web cargo-web rust-web-src rust-web-llvm lld-22 wasi-libc";

/// The compiler of Debian, and what belongs to the C library for WASI there.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi";

/// Settings for builds for this machine, which do not fit a guest.
const HOST_SETTINGS: [&str; 4] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"];

pub(super) fn plan(sources: &Sources<'_>) -> Result<Plan, ProjectError> {
    let dir = &sources.project.path;
    let target = target(sources);
    let is_command = target == TARGET;
    let step = match probe::output(dir, &["rustc", "--version"]) {
        Some(version) if has_target(dir, target) => {
            probe::check_version("Rust", &version, OLDEST, "Update it with: rustup update")?;
            Step::new(["cargo"]).args(["build"]).args(remap(sources, target))
        }
        found => debian(sources).filter(|_| is_command).ok_or_else(|| match found {
            Some(_) => ProjectError::MissingTool {
                what: format!("the standard library of Rust for {target}"),
                install: if is_command { INSTALL_TARGET } else { INSTALL_COMPONENT_TARGET }.to_owned(),
            },
            None => ProjectError::MissingTool {
                what: "a Rust compiler (rustc and cargo)".to_owned(),
                install: INSTALL_RUST.to_owned(),
            },
        })?,
    };
    let step = step.args(["--release", "--target", target, "--message-format", "json-render-diagnostics"]);
    let step = step.args(&sources.project.tables.build.flags).remove(&HOST_SETTINGS);
    Ok(Plan { steps: vec![step], artifact: Artifact::CargoMessages })
}

/// Returns the target for the package: one with nothing but a library of the type `cdylib` becomes a component.
fn target(sources: &Sources<'_>) -> &'static str {
    let dir = &sources.project.dir;
    let manifest = dir.read_to_string("Cargo.toml").unwrap_or_default().parse::<toml::Table>().unwrap_or_default();
    let library = manifest.get("lib").and_then(|library| library.get("crate-type"));
    let types = library.and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_component = types.iter().any(|kind| kind.as_str() == Some("cdylib"));
    let has_command = manifest.contains_key("bin") || dir.is_file("src/main.rs") || dir.is_dir("src/bin");
    if is_component && !has_command { COMPONENT_TARGET } else { TARGET }
}

fn has_target(dir: &Path, target: &str) -> bool {
    let printed = probe::output(dir, &["rustc", "--print", "target-libdir", "--target", target]);
    printed.is_some_and(|libdir| paths::open_dir(Path::new(libdir.trim_end())).is_ok())
}

/// Returns the build with the compiler of Debian, if its packages are installed.
fn debian(sources: &Sources<'_>) -> Option<Step> {
    let dir = &sources.project.path;
    let sysroot = probe::output(dir, &[DEBIAN_RUSTC, "--print", "sysroot"])?;
    let host = probe::output(dir, &[DEBIAN_RUSTC, "--print", "host-tuple"])?;
    let rustlib = Path::new(sysroot.trim_end()).join("lib/rustlib");
    if paths::open_dir(&rustlib.join("src/rust/library")).is_err() || paths::open_dir(Path::new(DEBIAN_LIBC)).is_err() {
        return None;
    }
    let linking = ["link-self-contained=no".to_owned(), format!("link-arg={DEBIAN_LIBC}/crt1-command.o")];
    let mut flags = vec!["-L".to_owned(), format!("native={DEBIAN_LIBC}")];
    flags.extend(linking.into_iter().flat_map(|option| ["-C".to_owned(), option]));
    let step = Step::new([DEBIAN_CARGO]).args(["build", "-Zbuild-std=std,panic_abort"]);
    let step = step.args(remap(sources, TARGET)).args(["--config", &rustflags(TARGET, &flags)]);
    let step = step.set("RUSTC", DEBIAN_RUSTC).set("RUSTC_BOOTSTRAP", "1");
    // Its linker is a program of this directory.
    let mut path = rustlib.join(host.trim_end()).join("bin").into_os_string();
    if let Some(rest) = sources.environment.non_empty("PATH") {
        path.push(":");
        path.push(rest);
    }
    Some(step.set("PATH", path))
}

/// Returns options by which the program does not contain the paths of this machine, so that it is the same on every other.
fn remap(sources: &Sources<'_>, target: &str) -> Vec<OsString> {
    let environment = sources.environment;
    let home = environment.non_empty("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| environment.non_empty("HOME").map(|home| Path::new(home).join(".cargo")));
    let paths = [(home, "/cargo"), (Some(sources.project.path.clone()), "/job")];
    let paths = paths.into_iter().filter_map(|(from, to)| Some((from?.into_os_string().into_string().ok()?, to)));
    let flags: Vec<_> = paths.map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
    vec!["--config".into(), rustflags(target, &flags).into()]
}

/// Returns a setting of cargo that adds `flags` to those of the configuration of the user.
fn rustflags(target: &str, flags: &[String]) -> String {
    let flags = toml::Value::from(flags.to_vec());
    format!("target.{target}.rustflags={flags}")
}
