//! `Stacks`: draws stacks as a flame graph.

use std::collections::HashMap;

use bytes::Bytes;

/// The weight of each stack. A stack is the names of its functions, outermost first, separated by `;`.
#[derive(Debug, Default)]
pub(super) struct Stacks(HashMap<String, u64>);

impl Stacks {
    /// Adds `weight` to the stack with these names, outermost first.
    pub(super) fn add(&mut self, names: impl IntoIterator<Item = String>, weight: u64) {
        let names: Vec<_> = names.into_iter().map(|name| name.replace([';', '\n'], ":")).collect();
        *self.0.entry(names.join(";")).or_default() += weight;
    }

    /// Draws a flame graph as SVG; `unit` is what the weights count.
    pub(super) fn draw(&self, unit: &str) -> std::io::Result<Bytes> {
        let mut lines: Vec<_> = self.0.iter().map(|(stack, weight)| format!("{stack} {weight}")).collect();
        lines.sort_unstable();
        let mut options = inferno::flamegraph::Options::default();
        "capstan".clone_into(&mut options.title);
        unit.clone_into(&mut options.count_name);
        let mut picture = Vec::new();
        match inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut picture) {
            // Without stacks the library draws a picture that says so, and returns an error.
            Err(_) if lines.is_empty() => Ok(picture.into()),
            drawn => drawn.map(|()| picture.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draw_shows_names_and_weights() {
        let mut stacks = Stacks::default();
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        stacks.add(["control".into(), "main".into(), "<a::B as C>::work".into()], 1);
        stacks.add(["control".into(), "main".into(), "<a::B as C>::work".into()], 2);
        stacks.add(names("guests main"), 1);
        let picture = stacks.draw("samples").unwrap();
        let picture = std::str::from_utf8(&picture).unwrap();
        assert!(
            picture.contains("<svg") && picture.contains("&lt;a::B as C&gt;::work (3 samples, 75.00%)"),
            "{picture}"
        );
    }

    #[test]
    fn draw_without_stacks_returns_picture() {
        let picture = Stacks::default().draw("samples").unwrap();
        assert!(std::str::from_utf8(&picture).unwrap().contains("<svg"));
    }
}
