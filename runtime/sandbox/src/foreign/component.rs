//! Components that were built for another host, or for another version of WASI.

use capstan_engine::handler_store::ForeignKind;

use super::{list, list_imports, shorten};
use crate::outline::{Import, Item, Outline};
use crate::provided::{is_preview3, is_version_provided, split_version};

/// Recognises a component by what it imports that Capstan does not provide, `missing`, and by its exports.
pub(super) fn recognise(outline: &Outline<'_>, missing: &[&Import<'_>]) -> Option<(ForeignKind, String)> {
    let exported = |name: &str| outline.exports.iter().find(|export| split_version(export.name).0 == name);
    let run = exported("wasi:cli/run");
    let has_run = run.is_some_and(|run| split_version(run.name).1.is_none_or(is_version_provided));
    if missing.iter().any(|import| import.name == "rb-js-abi-host" || import.name.starts_with("rb-js-abi-host/")) {
        let imports = list_imports(missing);
        return Some((
            ForeignKind::RubyJs,
            format!(
                "this is Ruby for JavaScript hosts: it imports {imports}, which only JavaScript provides. Use a build of ruby.wasm \
                 without the gem `js`, which imports WASI alone"
            ),
        ));
    }
    let handler = exported("wasi:http/handler").filter(|handler| {
        let version = split_version(handler.name).1;
        !has_run && !version.is_some_and(is_preview3)
    });
    if let Some(handler) = handler {
        return Some((ForeignKind::HttpHandler, explain_http(handler.name)));
    }
    let preview3: Vec<_> = missing.iter().copied().filter(|import| is_preview3_interface(import.name)).collect();
    if !preview3.is_empty() {
        return Some((ForeignKind::WasiInterface, explain_preview3(&preview3)));
    }
    let other_versions: Vec<_> = missing.iter().copied().filter(|import| is_other_version(import.name)).collect();
    if !other_versions.is_empty() {
        return Some((
            ForeignKind::WasiVersion,
            explain_version(&format!("imports {}", list_imports(&other_versions))),
        ));
    }
    if let Some(run) = run.filter(|_| !has_run) {
        return Some((ForeignKind::WasiVersion, explain_version(&format!("exports `{}`", shorten(run.name)))));
    }
    let interfaces: Vec<_> = missing.iter().copied().filter(|import| import.name.starts_with("wasi:")).collect();
    if !interfaces.is_empty() {
        return Some((ForeignKind::WasiInterface, explain_interfaces(&interfaces)));
    }
    // An import without a package is not part of any world that others know, so the message of the linker says as much.
    let is_of_package = |import: &&&Import<'_>| import.name.contains(':') && import.item == Item::Instance;
    let foreign: Vec<_> = missing.iter().filter(is_of_package).copied().collect();
    (!foreign.is_empty()).then(|| (ForeignKind::CustomWorld, explain_world(&foreign)))
}

/// Returns whether an interface is one of WASI in a version that is not provided.
fn is_other_version(name: &str) -> bool {
    name.starts_with("wasi:")
        && split_version(name).1.is_some_and(|version| !is_version_provided(version) && !is_own_line(name))
}

/// Returns whether an interface belongs to a proposal with version numbers of its own, which says nothing about the version of WASI.
fn is_own_line(name: &str) -> bool {
    const PHASE_1_TO_3: [&str; 7] = [
        "wasi:nn/",
        "wasi:keyvalue/",
        "wasi:blobstore/",
        "wasi:config/",
        "wasi:logging/",
        "wasi:messaging/",
        "wasi:tls/",
    ];
    PHASE_1_TO_3.iter().any(|package| name.starts_with(package))
}

/// Returns whether an interface is one of WASI 0.3.
fn is_preview3_interface(name: &str) -> bool {
    name.starts_with("wasi:") && !is_own_line(name) && split_version(name).1.is_some_and(is_preview3)
}

fn explain_preview3(imports: &[&Import<'_>]) -> String {
    format!(
        "this component imports {}, which Capstan does not have in its WASI 0.3: there is no `wasi:filesystem` and no `wasi:sockets` of 0.3, \
         because their implementation cannot hold the limits on disks and networks. Import those of 0.2, which a component for 0.3 can do at the \
         same time, for example by the standard library of Rust for `--target wasm32-wasip2`",
        list_imports(imports)
    )
}

fn explain_http(handler: &str) -> String {
    format!(
        "this component answers HTTP requests, but not in a way that Capstan has: it exports `{}`. Build it for `wasi:http/incoming-handler` 0.2 \
         (the world wasi:http/proxy), or for `wasi:http/handler` 0.3.x, which needs the feature p3",
        shorten(handler)
    )
}

fn explain_version(sign: &str) -> String {
    format!(
        "this component was built for a version of WASI that Capstan does not have: it {sign}, and Capstan has the releases 0.2.x, \
         and 0.3.x with the feature p3. Build it with a toolchain for 0.2, such as `--target wasm32-wasip2`"
    )
}

fn explain_interfaces(imports: &[&Import<'_>]) -> String {
    format!(
        "this component needs more than the world wasi:cli/command: it imports {}, which Capstan does not provide. Build it without them; \
         sockets, files, clocks and random numbers are there",
        list_imports(imports)
    )
}

fn explain_world(imports: &[&Import<'_>]) -> String {
    let packages: Vec<_> = {
        let mut packages: Vec<_> = imports.iter().filter_map(|import| import.name.split('/').next()).collect();
        packages.dedup();
        packages
    };
    format!(
        "this component was built for a world of its own: it imports {}, which the host that it was made for provides. Compose it with a \
         component that exports {} (`wac plug`), or build it for the world wasi:cli/command",
        list_imports(imports),
        list(packages.len(), packages.iter().map(|package| shorten(package)))
    )
}
