//! `capstan schema`: prints the JSON Schema of manifests or of policies, for editors and other programs.

use std::process::ExitCode;

use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use clap::{Args, ValueEnum};
use schemars::generate::SchemaGenerator;
use schemars::{Schema as JsonSchema, schema_for};
use serde_json::Value;

use super::error::CliError;
use super::output;
use super::project::{BuildTable, TestCase};

/// The command line of `capstan schema`.
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Document whose schema to print
    #[arg(value_enum, default_value_t)]
    document: Document,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Document {
    /// The manifest of a handler, `job.toml`
    #[default]
    Manifest,
    /// A policy as callers request it: `policy` of `POST /jobs`
    Policy,
}

impl Schema {
    /// Prints the schema, in the 2020-12 dialect of JSON Schema.
    ///
    /// # Errors
    /// [`CliError::Output`]
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let schema = match self.document {
            Document::Manifest => manifest_schema(),
            Document::Policy => schema_for!(PolicyRequest),
        };
        output::print_json(&schema.to_value())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the schema of a `job.toml`: of the manifest, and of the tables that only the command reads.
fn manifest_schema() -> JsonSchema {
    let mut generator = SchemaGenerator::default();
    let tables =
        [("build", generator.subschema_for::<BuildTable>()), ("test", generator.subschema_for::<Vec<TestCase>>())];
    let mut schema = generator.into_root_schema_for::<Manifest>();
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let properties = properties.expect("a manifest is an object with properties");
    properties.extend(tables.map(|(name, schema)| (name.to_owned(), schema.to_value())));
    schema
}
