//! Modules that were built for another host.

use capstan_engine::handler_store::ForeignKind;

use super::{list, list_imports, shorten};
use crate::outline::{Import, Item, Outline};
use crate::provided::{DRAFT, PREVIEW1};

/// Recognises a module by what it imports that Capstan does not provide, `missing`, and by its exports and custom sections.
pub(super) fn recognise(outline: &Outline<'_>, missing: &[&Import<'_>]) -> Option<(ForeignKind, String)> {
    let kind =
        kind_of_file(outline).or_else(|| kind_of_imports(outline, missing)).or_else(|| kind_of_exports(outline))?;
    Some((kind, explain(kind, outline, missing)))
}

/// Recognises a file that is not a whole program.
fn kind_of_file(outline: &Outline<'_>) -> Option<ForeignKind> {
    let has_custom = |names: &[&str]| outline.customs.iter().any(|custom| names.contains(custom));
    if has_custom(&["linking"]) && outline.exports.is_empty() {
        return Some(ForeignKind::ObjectFile);
    }
    has_custom(&["dylink.0", "dylink"]).then_some(ForeignKind::SharedLibrary)
}

/// Recognises the core module of a component that imports nothing but preview 1, or nothing.
fn kind_of_exports(outline: &Outline<'_>) -> Option<ForeignKind> {
    let is_part = outline.exports.iter().any(|export| is_name_in_component(export.name));
    (is_part && !outline.exports_function("_start")).then_some(ForeignKind::ComponentPart)
}

/// Returns whether an export has a name that only the tools for components give: `package:name/interface#function`.
fn is_name_in_component(export: &str) -> bool {
    export.starts_with("cm32p2|") || export.starts_with("cabi_post_") || (export.contains(':') && export.contains('#'))
}

/// Recognises a module by its imports. The more special ones come first: many of them import functions of Emscripten too.
fn kind_of_imports(outline: &Outline<'_>, missing: &[&Import<'_>]) -> Option<ForeignKind> {
    let any = |test: &dyn Fn(&Import<'_>) -> bool| missing.iter().any(|import| test(import));
    let from = |modules: &[&str]| any(&|import| modules.contains(&import.module));
    if from(&["rb-js-abi-host"]) {
        return Some(ForeignKind::RubyJs);
    }
    if from(&["go", "gojs"]) {
        return Some(ForeignKind::GoJs);
    }
    if any(&is_wasm_bindgen) || outline.customs.contains(&"__wasm_bindgen_unstable") && !missing.is_empty() {
        return Some(ForeignKind::WasmBindgen);
    }
    if from(&["napi", "emnapi"]) || any(&|import| import.name.starts_with("napi_")) {
        return Some(ForeignKind::NodeApi);
    }
    if any(&|import| import.module.starts_with("wasix_")) {
        return Some(ForeignKind::Wasix);
    }
    if any(&|import| (import.module, import.name) == ("wasi", "thread-spawn")) {
        return Some(ForeignKind::WasiThreads);
    }
    if any(&|import| import.module.starts_with("extism:")) {
        return Some(ForeignKind::Extism);
    }
    if any(&|import| import.module == "env" && import.name.starts_with("proxy_")) {
        return Some(ForeignKind::ProxyWasm);
    }
    if any(&is_import_in_component) {
        return Some(ForeignKind::ComponentPart);
    }
    if is_assembly_script(outline, missing) {
        return Some(ForeignKind::AssemblyScript);
    }
    let has_runtime =
        || outline.exports.iter().any(|export| export.name.trim_start_matches('_').starts_with("emscripten_"));
    if any(&is_emscripten) || is_minified(missing) || (!missing.is_empty() && has_runtime()) {
        return Some(ForeignKind::Emscripten);
    }
    if any(&|import| import.item == Item::Memory { is_shared: true }) {
        return Some(ForeignKind::WasiThreads);
    }
    from(&[DRAFT]).then_some(ForeignKind::WasiUnstable)
}

fn is_wasm_bindgen(import: &Import<'_>) -> bool {
    let Import { module, name, .. } = import;
    *module == "wbg"
        || module.starts_with("__wbindgen_")
        || module.ends_with("_bg.js")
        || name.starts_with("__wbg_")
        || name.starts_with("__wbindgen_")
}

/// Returns whether an import has a name that only the tools for components give.
fn is_import_in_component(import: &Import<'_>) -> bool {
    let module = import.module;
    module == "$root"
        || module.starts_with("cm32p2")
        || module.starts_with("[export]")
        || (module.contains(':') && module.contains('/'))
}

/// AssemblyScript imports a few functions of `env`, whose names have a dot if they stand for an object of JavaScript. It never imports WASI.
fn is_assembly_script(outline: &Outline<'_>, missing: &[&Import<'_>]) -> bool {
    let is_runtime = |name: &str| matches!(name, "abort" | "trace" | "seed");
    let from_env = || missing.iter().filter(|import| import.module == "env").map(|import| import.name);
    from_env().any(is_runtime)
        && from_env().all(|name| is_runtime(name) || name == "memory" || name.contains('.'))
        && outline.imports.iter().all(|import| import.module != PREVIEW1)
}

fn is_emscripten(import: &Import<'_>) -> bool {
    const PREFIXES: [&str; 9] = [
        "emscripten_",
        "_emscripten_",
        "__syscall_",
        "invoke_",
        "_embind_",
        "_emval_",
        "_tzset_js",
        "_munmap_js",
        "_mmap_js",
    ];
    const NAMES: [&str; 5] = ["_abort_js", "__cxa_throw", "__assert_fail", "abortOnCannotGrowMemory", "_localtime_js"];
    import.module == "env"
        && (PREFIXES.iter().any(|prefix| import.name.starts_with(prefix)) || NAMES.contains(&import.name))
}

/// Emscripten renames imports to single letters when it optimises: `a.a`, `a.b` and so on.
fn is_minified(missing: &[&Import<'_>]) -> bool {
    let is_short = |import: &&&Import<'_>| import.module == "a" && import.name.len() <= 3;
    !missing.is_empty() && missing.iter().filter(is_short).count() == missing.len()
}

fn explain(kind: ForeignKind, outline: &Outline<'_>, missing: &[&Import<'_>]) -> String {
    let imports = list_imports(missing);
    match kind {
        ForeignKind::RubyJs => format!(
            "this is Ruby for JavaScript hosts: it imports {imports}, which only JavaScript provides. Use a build of ruby.wasm without the \
             gem `js` (`rbwasm build` without it in the Gemfile), which imports WASI alone"
        ),
        ForeignKind::GoJs => format!(
            "this is a Go program for JavaScript hosts (GOOS=js): it imports {imports}, which only wasm_exec.js provides. Build it with \
             `GOOS=wasip1 GOARCH=wasm go build`, or with `tinygo build -target=wasip1`"
        ),
        ForeignKind::WasmBindgen => format!(
            "this is a Rust program for wasm-bindgen: it imports {imports}, which only the JavaScript that wasm-bindgen writes provides. \
             Build it as a program with `cargo build --target wasm32-wasip1`, without wasm-bindgen, js-sys and web-sys"
        ),
        ForeignKind::NodeApi => format!(
            "this is an addon for Node.js (Node-API): it imports {imports}, which only Node.js with emnapi provides. Build the library \
             behind it as a program with `--target wasm32-wasip1`"
        ),
        ForeignKind::Wasix => format!(
            "this is a program for WASIX: it imports {imports}, and Capstan has no processes, threads and terminals of WASIX. Build it for \
             WASI, with `--target wasm32-wasip1` in place of `cargo wasix` or wasixcc"
        ),
        ForeignKind::WasiThreads => format!(
            "this program uses threads (wasi-threads): it imports {imports}, and a run has one thread, whose time and memory are \
             limited. Build it with `--target wasm32-wasip1` in place of wasm32-wasip1-threads"
        ),
        ForeignKind::Extism => format!(
            "this is a plug-in for Extism: it imports {imports}, which only a host with the SDK of Extism provides. Build the code as a \
             program that reads stdin and writes stdout, with `--target wasm32-wasip1`"
        ),
        ForeignKind::ProxyWasm => format!(
            "this is a filter for a proxy (Proxy-Wasm): it imports {imports}, which only a proxy such as Envoy provides. Capstan runs \
             programs with a main function, built with `--target wasm32-wasip1`"
        ),
        ForeignKind::ComponentPart => explain_part(outline, missing),
        ForeignKind::AssemblyScript => format!(
            "this is AssemblyScript without WASI: it imports {imports}, which only JavaScript provides. Install \
             `@assemblyscript/wasi-shim`, let asconfig.json extend its asconfig.json, and build with `--exportStart _start`"
        ),
        ForeignKind::Emscripten => format!(
            "this is a program that Emscripten built for JavaScript: it imports {imports}, which only the JavaScript beside it provides. \
             Build it with `emcc -sSTANDALONE_WASM`, or with the WASI SDK (`clang --target=wasm32-wasip1`)"
        ),
        ForeignKind::WasiUnstable => format!(
            "this program was built for a draft of WASI from 2019: it imports {imports}, and these calls were others in that draft. \
             Build it anew with a current compiler, for wasm32-wasip1"
        ),
        ForeignKind::ObjectFile => "this is an object file, which is yet to be linked: it exports nothing. Link it to a program with \
             `wasm-ld`, or let the compiler do so (without `-c`)"
            .to_owned(),
        _ => "this is a shared library (it has a section dylink.0), which another module loads into its own memory. Link it into a program, \
             without `-shared` or `-sSIDE_MODULE`"
            .to_owned(),
    }
}

fn explain_part(outline: &Outline<'_>, missing: &[&Import<'_>]) -> String {
    let sign = if missing.is_empty() {
        let exports: Vec<_> = outline.exports.iter().filter(|export| is_name_in_component(export.name)).collect();
        format!("exports {}", list(exports.len(), exports.iter().map(|export| shorten(export.name))))
    } else {
        format!("imports {}", list_imports(missing))
    };
    let needs_adapter = outline.imports.iter().any(|import| import.module == PREVIEW1);
    let adapter = if needs_adapter { " --adapt wasi_snapshot_preview1.command.wasm" } else { "" };
    format!(
        "this is the core module of a component: it {sign}, as only modules inside components do. Make a component of it with \
         `wasm-tools component new FILE.wasm{adapter} -o COMPONENT.wasm`, or let the toolchain do so (`--target wasm32-wasip2`)"
    )
}
