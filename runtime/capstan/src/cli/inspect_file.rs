//! `capstan inspect FILE.wasm`: describes a program without running or compiling it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use capstan_core::feature::Features;
use capstan_engine::handler::Kind;
use capstan_sandbox::inspect::{self, Export, ImportGroup, Inspection, MAX_LISTED, ProgramRole};
use serde_json::json;

use super::error::CliError;
use super::{format, output, program};

/// The most names of an import or rows of a list that the text has. The JSON has more.
const MAX_NAMES: usize = 6;
const MAX_ROWS: usize = 40;

/// Returns whether `target` of `inspect` is a file rather than a job: it has a slash, ends in `.wasm` or `.wat`, or is `-` for stdin.
pub(super) fn is_file(target: &str) -> bool {
    target == "-" || target.contains('/') || target.ends_with(".wasm") || target.ends_with(".wat")
}

/// Prints the description of the program in `file`, as JSON or as text.
///
/// # Errors
/// [`CliError::Program`] if the file is no WebAssembly, and those of [`program::read`].
pub(super) fn run(file: &str, json: bool) -> Result<ExitCode, CliError> {
    let wasm = program::read(Path::new(file))?;
    let found = inspect::inspect(&wasm, &Features::new())
        .map_err(|error| CliError::Program(format!("{}: {error}", shown_name(file))))?;
    let command = command(file, &found);
    if json {
        let mut value = serde_json::to_value(&found).expect("plain data");
        value["file"] = json!(file);
        value["command"] = json!(command);
        output::print_json(&value)?;
    } else {
        output::print(text(file, &found, command.as_deref()).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn shown_name(file: &str) -> &str {
    if file == "-" { "stdin" } else { file }
}

/// Returns the command that runs the program, or `None` if none does.
fn command(file: &str, found: &Inspection) -> Option<String> {
    if found.refused.is_some() {
        return None;
    }
    let quoted = if file == "-" { "FILE.wasm".to_owned() } else { shell_word(file) };
    match found.role {
        ProgramRole::Command => Some(format!("capstan run {quoted}")),
        // The daemon calls its function.
        ProgramRole::HttpHandler => None,
        _ => {
            let function = found.exports.items.iter().find(|export| export.kind == "function")?;
            let params = function.signature.as_deref().map_or("…", |signature| match signature.starts_with("()") {
                true => "",
                false => "…",
            });
            Some(format!("capstan run --invoke {} {quoted}", shell_word(&format!("{}({params})", function.name))))
        }
    }
}

/// Quotes a word for a shell if it needs that.
fn shell_word(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@=,".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

fn text(file: &str, found: &Inspection, command: Option<&str>) -> String {
    let mut text = format!("{}\n", shown_name(file).escape_debug());
    let kind = serde_json::to_value(found.kind).expect("plain data");
    let role = serde_json::to_value(found.role).expect("plain data");
    let role = format::token_words(role.as_str().unwrap_or_default());
    let role = if found.role == ProgramRole::None { "exports no function".to_owned() } else { role };
    field(&mut text, "kind", &format!("{}, {role}", kind.as_str().unwrap_or_default()));
    field(&mut text, "size", &format::size(found.size));
    field(&mut text, "digest", &found.digest);
    let tools = found.toolchain.iter().map(|tool| format!("{} {} {}", tool.field, tool.name, tool.version));
    field(
        &mut text,
        "toolchain",
        &joined(&tools.map(|tool| tool.trim_end().to_owned()).collect::<Vec<_>>(), "; ", "unknown"),
    );
    let features: Vec<_> = found.features.iter().map(|feature| (*feature).to_owned()).collect();
    field(&mut text, "features", &joined(&features, ", ", "none besides WebAssembly 1.0"));
    let memories = found.memories.iter().map(|memory| {
        let maximum =
            memory.maximum.map_or_else(|| "no maximum".to_owned(), |size| format!("at most {}", format::size(size)));
        let shared = if memory.is_shared { ", shared" } else { "" };
        format!("{} at the start, {maximum}{shared}", format::size(memory.initial))
    });
    field(&mut text, "memory", &joined(&memories.collect::<Vec<_>>(), "; ", "none"));
    let sections = &found.sections;
    let modules = if sections.modules == 0 { String::new() } else { format!(" in {} modules", sections.modules) };
    field(&mut text, "functions", &format!("{}{modules}", sections.functions));
    let sizes = [
        ("code", sections.code),
        ("data", sections.data),
        ("names", sections.name),
        ("debug", sections.debug),
        ("other", sections.custom),
    ];
    let sizes =
        sizes.iter().filter(|(_, size)| *size > 0).map(|(name, size)| format!("{name} {}", format::size(*size)));
    field(&mut text, "sections", &joined(&sizes.collect::<Vec<_>>(), ", ", "empty"));
    add_imports(&mut text, found);
    add_exports(&mut text, found);
    if let Some(wit) = &found.wit {
        let cut = if wit.is_cut { "    …\n" } else { "" };
        let lines: String = wit.text.lines().map(|line| format!("{}\n", format!("    {line}").trim_end())).collect();
        let _ = write!(text, "\n  wit\n{lines}{cut}");
    }
    if found.wit.is_none() && found.kind == Kind::Component && found.refused.is_none() {
        text.push_str("\n  wit: its interface has no form in WIT\n");
    }
    match (&found.refused, command) {
        (Some(refused), _) => {
            let _ = write!(text, "\n  cannot run: {}\n", refused.message);
        }
        (None, Some(command)) => {
            let _ = write!(text, "\n  run it with: {command}\n");
            if found.role == ProgramRole::Command && found.exports.items.iter().any(is_beside_entry) {
                text.push_str("  it also has functions that --invoke can call\n");
            }
        }
        (None, None) if found.role == ProgramRole::HttpHandler => {
            text.push_str(
                "\n  answers HTTP requests: push it as NAME, and the daemon calls it for each request at /x/NAME/\n",
            );
        }
        (None, None) => {}
    }
    text
}

/// Returns whether an export of a command is a function that is neither its entry point nor part of its allocator.
fn is_beside_entry(export: &Export) -> bool {
    const OWN: [&str; 7] = ["_start", "_initialize", "cabi_realloc", "malloc", "free", "calloc", "realloc"];
    export.kind == "function" && !OWN.contains(&export.name.as_str()) && !export.name.starts_with("wasi:cli/run")
}

fn field(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<10} {value}");
}

/// Joins `items`, of which it shows the first few, or returns `none` if there are none.
fn joined(items: &[String], separator: &str, none: &str) -> String {
    match items.len() {
        0 => none.to_owned(),
        count if count > MAX_ROWS => {
            format!("{} and {} more", items[..MAX_ROWS].join(separator), count - MAX_ROWS)
        }
        _ => items.join(separator),
    }
}

fn add_imports(text: &mut String, found: &Inspection) {
    let _ = write!(text, "\n  imports ({})\n", found.imports.count);
    let groups = &found.imports.groups;
    for group in groups.iter().take(MAX_ROWS) {
        let _ = writeln!(text, "    {}", import_row(group));
    }
    add_more(text, groups.len(), groups.len() == MAX_LISTED);
}

/// Describes the imports of a module or an interface: what is missing, or else what is imported.
fn import_row(group: &ImportGroup) -> String {
    let (names, count, word) = match group.is_provided {
        true => (&group.names, group.count, "provided"),
        false => (&group.missing, group.missing_count, "missing"),
    };
    let named = names.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    let more = match count.saturating_sub(MAX_NAMES.min(names.len())) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let list = if named.is_empty() { String::new() } else { format!(": {named}{more}") };
    format!("{}  {word}{list}", group.name)
}

fn add_exports(text: &mut String, found: &Inspection) {
    let _ = write!(text, "\n  exports ({})\n", found.exports.count);
    let items = &found.exports.items;
    for Export { name, kind, signature } in items.iter().take(MAX_ROWS) {
        let _ = match signature {
            // The name of an export of a module may look like a call itself.
            Some(signature) if name.contains('(') => writeln!(text, "    {name}  {signature}"),
            Some(signature) => writeln!(text, "    {name}{signature}"),
            None => writeln!(text, "    {name}  {kind}"),
        };
    }
    add_more(text, items.len(), items.len() == MAX_LISTED);
}

fn add_more(text: &mut String, listed: usize, is_cut: bool) {
    if listed > MAX_ROWS {
        let least = if is_cut { " or more" } else { "" };
        let _ = writeln!(text, "    and {}{least} more; --json lists up to {MAX_LISTED}", listed - MAX_ROWS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_file_or_job() {
        for file in ["-", "./x", "a.wasm", "b.wat", "/x/y"] {
            assert!(is_file(file), "{file}");
        }
        for job in ["6f05a8fe7ebb31cf", "wasm", ""] {
            assert!(!is_file(job), "{job}");
        }
    }

    #[test]
    fn command_runs_the_program_or_one_of_its_functions() {
        let described = |wat: &str| inspect::inspect(&wat::parse_str(wat).unwrap(), &Features::new()).unwrap();
        let command = |file: &str, wat: &str| command(file, &described(wat));
        let start = r#"(module (func (export "_start")))"#;
        assert_eq!(command("a b.wasm", start).as_deref(), Some("capstan run 'a b.wasm'"));
        let library = r#"(module (memory (export "m") 1) (func (export "f") (param i32)))"#;
        assert_eq!(command("a.wasm", library).as_deref(), Some("capstan run --invoke 'f(…)' a.wasm"));
        assert_eq!(command("a.wasm", "(module)"), None);
    }

    #[test]
    fn text_is_cut_with_a_count() {
        let exports: String = (0..100).map(|i| format!(r#"(export "e{i}" (func 0))"#)).collect();
        let wasm = wat::parse_str(format!("(module (func) {exports})")).unwrap();
        let text = text("a.wasm", &inspect::inspect(&wasm, &Features::new()).unwrap(), None);
        assert!(text.contains("exports (100)") && text.contains("and 60 more"), "{text}");
    }
}
