//! What a program imports, grouped by module or interface.

use serde::Serialize;

use super::{MAX_LISTED, clean};
use crate::outline::{Item, Outline};
use crate::provided::is_provided;

/// The imports of a program.
#[derive(Debug, Serialize)]
pub struct Imports {
    /// How many the program declares. At most 100,000 are in groups.
    pub count: u64,
    pub groups: Vec<ImportGroup>,
}

/// The imports from one module, or one interface of a component.
#[derive(Debug, Serialize)]
pub struct ImportGroup {
    /// The module, or the interface with its version.
    pub name: String,
    /// Whether Capstan provides all of it.
    pub is_provided: bool,
    pub count: usize,
    /// How many of them Capstan does not provide.
    pub missing_count: usize,
    /// The names of its imports. Those of an interface are in the WIT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The names among them that Capstan does not provide.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl Imports {
    pub(super) fn of(outline: &Outline<'_>) -> Self {
        let mut groups: Vec<(&str, ImportGroup)> = Vec::new();
        let mut listed = 0;
        for import in &outline.imports {
            let key = if import.module.is_empty() { import.name } else { import.module };
            let index = match groups.iter().rposition(|(group, _)| *group == key) {
                Some(index) => index,
                None if groups.len() == MAX_LISTED => continue,
                None => {
                    groups.push((key, ImportGroup::new(key)));
                    groups.len() - 1
                }
            };
            let group = &mut groups[index].1;
            group.count += 1;
            let is_provided = is_provided(import);
            group.is_provided &= is_provided;
            group.missing_count += usize::from(!is_provided);
            if listed < MAX_LISTED && import.item != Item::Instance {
                listed += 1;
                group.names.push(clean(import.name));
                if !is_provided {
                    group.missing.push(clean(import.name));
                }
            }
        }
        Self { count: outline.import_count, groups: groups.into_iter().map(|(_, group)| group).collect() }
    }
}

impl ImportGroup {
    fn new(name: &str) -> Self {
        Self {
            name: clean(name),
            is_provided: true,
            count: 0,
            missing_count: 0,
            names: Vec::new(),
            missing: Vec::new(),
        }
    }
}
