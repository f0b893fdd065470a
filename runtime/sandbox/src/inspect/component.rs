//! The interface of a component: its WIT, and the functions that it exports.

use serde::Serialize;
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Function, Resolve, WorldId, WorldItem};

use super::module::Export;
use super::{MAX_LISTED, clean};

/// The most bytes of WIT that are shown.
const MAX_WIT: usize = 256 << 10;

/// The WIT of a component.
#[derive(Debug, Serialize)]
pub struct Wit {
    pub text: String,
    /// Whether the text is cut.
    pub is_cut: bool,
}

/// Returns the functions that a component exports, and its WIT. `None` if its interface cannot be expressed in WIT.
pub(super) fn decode(wasm: &[u8]) -> Option<(Vec<Export>, Wit)> {
    let decoded = wit_component::decode(wasm).ok()?;
    let mut printer = WitPrinter::default();
    printer.print(decoded.resolve(), decoded.package(), &[]).ok()?;
    let mut text = printer.output.to_string();
    let is_cut = text.len() > MAX_WIT;
    if is_cut {
        text.truncate(text.floor_char_boundary(MAX_WIT));
    }
    let functions = match &decoded {
        DecodedWasm::Component(resolve, world) => functions(resolve, *world),
        DecodedWasm::WitPackage(..) => Vec::new(),
    };
    Some((functions, Wit { text, is_cut }))
}

fn functions(resolve: &Resolve, world: WorldId) -> Vec<Export> {
    let exports = resolve.worlds[world].exports.iter().flat_map(|(key, item)| match item {
        WorldItem::Interface { id, .. } => {
            let interface = resolve.name_world_key(key);
            let functions = resolve.interfaces[*id].functions.values();
            functions.map(|function| export(resolve, function, Some(&interface))).collect()
        }
        WorldItem::Function(function) => vec![export(resolve, function, None)],
        WorldItem::Type { .. } => Vec::new(),
    });
    exports.take(MAX_LISTED).collect()
}

fn export(resolve: &Resolve, function: &Function, interface: Option<&str>) -> Export {
    let name = match interface {
        Some(interface) => format!("{interface}#{}", function.name),
        None => function.name.clone(),
    };
    Export { name: clean(&name), kind: "function", signature: signature(resolve, function).map(|text| clean(&text)) }
}

/// Returns the type of a function, as `(a: u32) -> string`.
fn signature(resolve: &Resolve, function: &Function) -> Option<String> {
    let name = |ty| {
        let mut printer = WitPrinter::default();
        printer.print_type_name(resolve, ty).ok()?;
        Some(printer.output.to_string())
    };
    let params: Option<Vec<_>> =
        function.params.iter().map(|param| Some(format!("{}: {}", param.name, name(&param.ty)?))).collect();
    let params = params?.join(", ");
    Some(match &function.result {
        Some(result) => format!("({params}) -> {}", name(result)?),
        None => format!("({params})"),
    })
}
