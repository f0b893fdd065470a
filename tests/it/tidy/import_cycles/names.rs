//! The modules of a crate, what the names in them mean, and which items each file uses.

use std::collections::HashMap;

use super::tokens::tokens;

/// A path as it is written, `["super", "job", "Job"]`, or of a module from the root of its crate.
type Path<'a> = Vec<&'a str>;

/// The modules of a crate by their paths. An inline module has the file that contains it.
pub(super) struct Crate<'a> {
    modules: HashMap<Path<'a>, Module<'a>>,
}

struct Module<'a> {
    file: &'a str,
    /// What each name means. One name can mean a module, a function and a macro. The name of a glob import is `*`.
    names: Vec<(&'a str, Meaning<'a>)>,
    /// The paths that the code contains, apart from re-exports.
    used: Vec<Path<'a>>,
}

enum Meaning<'a> {
    /// An item in this module.
    Item,
    /// A module below this one.
    Module,
    /// What this path leads to.
    Use(Path<'a>),
}

/// An item, and the file that defines it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) file: &'a str,
    pub(super) name: &'a str,
}

enum Target<'a> {
    Module(Path<'a>),
    Item(Item<'a>),
}

impl<'a> Crate<'a> {
    /// Reads files, each given as its path below `src` and its code.
    pub(super) fn new(files: &[(&'a str, &'a str)]) -> Self {
        let mut this = Self { modules: HashMap::new() };
        for (file, code) in files {
            let module = file.strip_suffix(".rs").expect("a source ends in .rs");
            let module = if module == "lib" { Path::new() } else { module.split('/').collect() };
            this.read(file, module, &tokens(code));
        }
        this
    }

    /// Returns the uses of all items of the crate, as the file that uses the item and the item.
    pub(super) fn uses(&self) -> impl Iterator<Item = (&'a str, Item<'a>)> {
        self.modules.iter().flat_map(move |(path, module)| {
            let targets = module.used.iter().flat_map(move |used| self.resolve(path, used, &mut Vec::new()));
            targets.filter_map(|target| match target {
                Target::Item(item) => Some((module.file, item)),
                Target::Module(_) => None,
            })
        })
    }

    fn read(&mut self, file: &'a str, mut path: Path<'a>, tokens: &[&'a str]) {
        let new = || Module { file, names: Vec::new(), used: Vec::new() };
        self.modules.insert(path.clone(), new());
        let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
        let (mut at, mut depth) = (0, 0);
        // The depth of braces of the items in the file, then in each inline module around `at`.
        let mut item_depths = vec![0];
        while at < tokens.len() {
            let module = self.modules.get_mut(&path).expect("the module was added");
            let previous = if at == 0 { "" } else { tokens[at - 1] };
            let next = token(at + 1);
            match tokens[at] {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if item_depths.last().is_some_and(|items| depth < *items) {
                        item_depths.pop();
                        path.pop();
                    }
                }
                "mod" => {
                    module.names.push((next, Meaning::Module));
                    if token(at + 2) == "{" {
                        depth += 1;
                        item_depths.push(depth);
                        path.push(next);
                        self.modules.insert(path.clone(), new());
                    }
                    at += 2;
                }
                // Not the bound `use<'a>`.
                "use" if next != "<" => {
                    let end = at + tokens[at..].iter().position(|token| *token == ";").expect("`use` ends with `;`");
                    let is_reexport = previous == "pub" || previous == ")";
                    for (name, used) in leaves(&tokens[at + 1..end]) {
                        if !is_reexport {
                            module.used.push(used.clone());
                        }
                        module.names.push((name, Meaning::Use(used)));
                    }
                    at = end;
                }
                "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static"
                    if item_depths.last() == Some(&depth) =>
                {
                    module.names.push((next, Meaning::Item));
                }
                "macro_rules" => module.names.push((token(at + 2), Meaning::Item)),
                word if is_word(word) && ![".", "::", "$", "fn"].contains(&previous) => {
                    let mut used = vec![word];
                    while token(at + 1) == "::" && is_word(token(at + 2)) {
                        used.push(token(at + 2));
                        at += 2;
                    }
                    // A single word in lower case is a variable, unless it is called.
                    let is_called = ["(", "!", "::"].contains(&token(at + 1));
                    if used.len() > 1 || is_called || word.starts_with(char::is_uppercase) {
                        module.used.push(used);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Returns what `path` means in the module `from`. It means nothing if it leads to another crate.
    ///
    /// `followed` has the names that are being resolved. It stops a `use` that leads back to its own name.
    fn resolve(&self, from: &Path<'a>, path: &Path<'a>, followed: &mut Vec<(Path<'a>, &'a str)>) -> Vec<Target<'a>> {
        let mut targets = vec![Target::Module(from.clone())];
        for name in path {
            let is_module = |target: &Target<'_>| matches!(target, Target::Module(_));
            if !targets.iter().any(is_module) {
                // The rest names a variant or a function of the type.
                break;
            }
            targets.retain(is_module);
            targets = targets.into_iter().flat_map(|target| self.step(target, name, followed)).collect();
        }
        targets
    }

    /// Returns what `name` means in a module.
    fn step(&self, target: Target<'a>, name: &'a str, followed: &mut Vec<(Path<'a>, &'a str)>) -> Vec<Target<'a>> {
        let Target::Module(mut path) = target else { return Vec::new() };
        match name {
            "crate" => return vec![Target::Module(Path::new())],
            "self" => return vec![Target::Module(path)],
            "super" => {
                path.pop();
                return vec![Target::Module(path)];
            }
            _ => {}
        }
        let Some(module) = self.modules.get(&path) else { return Vec::new() };
        let mut targets = Vec::new();
        let is_followed = followed.contains(&(path.clone(), name));
        followed.push((path.clone(), name));
        for (known, meaning) in &module.names {
            match meaning {
                Meaning::Item if *known == name => targets.push(Target::Item(Item { file: module.file, name })),
                Meaning::Module if *known == name => {
                    targets.push(Target::Module(path.iter().copied().chain([name]).collect()));
                }
                Meaning::Use(used) if *known == name && !is_followed => {
                    targets.extend(self.resolve(&path, used, followed));
                }
                Meaning::Use(used) if *known == "*" && !is_followed => {
                    let globbed = self.resolve(&path, used, followed);
                    targets.extend(globbed.into_iter().flat_map(|target| self.step(target, name, followed)));
                }
                Meaning::Item | Meaning::Module | Meaning::Use(_) => {}
            }
        }
        followed.pop();
        targets
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|character: char| character.is_alphabetic() || character == '_')
}

/// Returns the names that a `use` declares, with their paths. For `a::{self, B as C, d::*}` these are `a`, `C` and `*`.
fn leaves<'a>(tree: &[&'a str]) -> Vec<(&'a str, Path<'a>)> {
    if tree.first() == Some(&"::") {
        // The path starts at another crate.
        return Vec::new();
    }
    let Some(open) = tree.iter().position(|token| *token == "{") else {
        let (path, renamed) = match tree {
            [path @ .., "as", name] => (path, Some(*name)),
            path => (path, None),
        };
        let mut path: Path<'a> = path.iter().copied().filter(|token| *token != "::").collect();
        let name = match path.as_slice() {
            [.., name, "self"] | [.., name] => *name,
            [] => return Vec::new(),
        };
        if name == "*" {
            path.pop();
        }
        return vec![(renamed.unwrap_or(name), path)];
    };
    let (prefix, group) = (&tree[..open], &tree[open + 1..tree.len() - 1]);
    let mut depth = 0;
    let branches = group.split(|token| {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        *token == "," && depth == 0
    });
    branches.filter(|branch| !branch.is_empty()).flat_map(|branch| leaves(&[prefix, branch].concat())).collect()
}
