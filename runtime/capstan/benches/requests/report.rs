//! The table of ratios: each row compares a figure of Capstan with a figure that was measured beside it. A table can be saved and compared.

use std::fmt;
use std::path::PathBuf;

use capstan_tests::guests;
use serde::{Deserialize, Serialize};

/// A comparison of two figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) capstan: f64,
    pub(crate) reference: f64,
    /// The ratio that is aimed for. `None` if the row has none.
    pub(crate) goal: Option<Goal>,
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// All rows of a run of the benchmark.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report(Vec<Row>);

impl Row {
    pub(crate) fn new(name: &str, unit: &str, capstan: f64, reference: f64, goal: impl Into<Option<Goal>>) -> Self {
        Self { name: name.to_owned(), unit: unit.to_owned(), capstan, reference, goal: goal.into() }
    }

    fn ratio(&self) -> f64 {
        self.capstan / self.reference
    }
}

impl Report {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Saves the table as `target/bench/NAME.json`.
    pub(crate) fn save(&self, name: &str) {
        let path = path_of(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_vec_pretty(self).unwrap()).unwrap();
        println!("saved as {}", path.display());
    }

    /// Prints the ratios of two saved tables side by side.
    pub(crate) fn compare(before: &str, after: &str) {
        let [old, new] = [before, after].map(|name| {
            let path = path_of(name);
            let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            serde_json::from_slice::<Self>(&json).unwrap()
        });
        println!("{:<64} {before:>12} {after:>12} {:>9}", "ratio of", "change");
        for row in &new.0 {
            match old.0.iter().find(|other| other.name == row.name) {
                Some(other) => {
                    let change = (row.ratio() / other.ratio() - 1.0) * 100.0;
                    println!("{:<64} {:>12.2} {:>12.2} {change:>+8.0}%", row.name, other.ratio(), row.ratio());
                }
                None => println!("{:<64} {:>12} {:>12.2}", row.name, "", row.ratio()),
            }
        }
    }
}

/// Returns the median.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn path_of(name: &str) -> PathBuf {
    guests::target().join("bench").join(format!("{name}.json"))
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(ratio) => write!(formatter, "≥ {ratio:.2}"),
            Self::AtMost(ratio) => write!(formatter, "≤ {ratio:.2}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<64} {:>12} {:>12} {:>7} {:>8}", "", "Capstan", "reference", "ratio", "goal")?;
        for row in &self.0 {
            let goal = row.goal.map_or_else(String::new, |goal| goal.to_string());
            let [capstan, reference] = [row.capstan, row.reference].map(|figure| format!("{figure:.1} {}", row.unit));
            writeln!(formatter, "{:<64} {capstan:>12} {reference:>12} {:>7.2} {goal:>8}", row.name, row.ratio())?;
        }
        Ok(())
    }
}
