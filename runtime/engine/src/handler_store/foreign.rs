//! [`ForeignKind`]: the kinds of WebAssembly programs that were built for another host.

use serde::{Deserialize, Serialize};

/// Which host or purpose a program was built for, if it is one that Capstan recognises and cannot run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForeignKind {
    /// C or C++ that Emscripten built for a page or for Node.js.
    Emscripten,
    /// Rust that needs the JavaScript of wasm-bindgen.
    WasmBindgen,
    /// A program for the extensions of WASIX.
    Wasix,
    /// Go or TinyGo for JavaScript hosts.
    GoJs,
    /// A program for the draft of WASI from 2019.
    WasiUnstable,
    /// An addon for Node.js.
    NodeApi,
    /// An interpreter of Ruby that needs JavaScript.
    RubyJs,
    /// AssemblyScript without the shim for WASI.
    AssemblyScript,
    /// A program that starts threads.
    WasiThreads,
    /// A filter for a proxy.
    ProxyWasm,
    /// A plug-in for a host with the interface of Extism.
    Extism,
    /// The core module inside a component.
    ComponentPart,
    /// A file that is yet to be linked.
    ObjectFile,
    /// A shared library, which another module loads.
    SharedLibrary,
    /// A component that answers HTTP requests.
    HttpHandler,
    /// A component for a version of WASI that there is not.
    WasiVersion,
    /// A component that imports other interfaces of WASI.
    WasiInterface,
    /// A component for a world that is not of WASI.
    CustomWorld,
}

impl ForeignKind {
    /// All kinds.
    pub const ALL: [Self; 18] = [
        Self::Emscripten,
        Self::WasmBindgen,
        Self::Wasix,
        Self::GoJs,
        Self::WasiUnstable,
        Self::NodeApi,
        Self::RubyJs,
        Self::AssemblyScript,
        Self::WasiThreads,
        Self::ProxyWasm,
        Self::Extism,
        Self::ComponentPart,
        Self::ObjectFile,
        Self::SharedLibrary,
        Self::HttpHandler,
        Self::WasiVersion,
        Self::WasiInterface,
        Self::CustomWorld,
    ];

    /// Returns the stable name of the kind, as the API shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emscripten => "emscripten",
            Self::WasmBindgen => "wasm_bindgen",
            Self::Wasix => "wasix",
            Self::GoJs => "go_js",
            Self::WasiUnstable => "wasi_unstable",
            Self::NodeApi => "node_api",
            Self::RubyJs => "ruby_js",
            Self::AssemblyScript => "assembly_script",
            Self::WasiThreads => "wasi_threads",
            Self::ProxyWasm => "proxy_wasm",
            Self::Extism => "extism",
            Self::ComponentPart => "component_part",
            Self::ObjectFile => "object_file",
            Self::SharedLibrary => "shared_library",
            Self::HttpHandler => "http_handler",
            Self::WasiVersion => "wasi_version",
            Self::WasiInterface => "wasi_interface",
            Self::CustomWorld => "custom_world",
        }
    }

    /// Returns whether the program lacks an entry point rather than imports.
    pub fn lacks_entry(self) -> bool {
        matches!(self, Self::ComponentPart | Self::ObjectFile | Self::SharedLibrary | Self::HttpHandler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_kind_is_that_of_its_json() {
        for kind in ForeignKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
