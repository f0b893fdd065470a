//! `capstan schema`: prints the JSON Schema of manifests or of policies, for editors and other programs.

use std::process::ExitCode;

use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use clap::{Args, ValueEnum};
use schemars::schema_for;

use super::error::CliError;
use super::output;

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
            Document::Manifest => schema_for!(Manifest),
            Document::Policy => schema_for!(PolicyRequest),
        };
        output::print_json(&schema.to_value())?;
        Ok(ExitCode::SUCCESS)
    }
}
