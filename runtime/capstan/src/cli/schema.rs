//! `capstan schema`: what may stand in a manifest, for editors and other programs.

use std::process::ExitCode;

use capstan_core::manifest::Manifest;
use capstan_core::policy::PolicyRequest;
use clap::{Args, ValueEnum};
use schemars::schema_for;

use super::error::CliError;
use super::output;

/// What `capstan schema` is called with.
#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of what.
    #[arg(value_enum, default_value_t)]
    of: Of,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Of {
    /// The manifest of a handler, job.toml.
    #[default]
    Manifest,
    /// The policy alone, as callers ask for it.
    Policy,
}

impl Schema {
    /// Prints it, in the dialect of 2020-12.
    ///
    /// # Errors
    /// [`CliError`] where it cannot be written.
    pub(super) fn run(self) -> Result<ExitCode, CliError> {
        let schema = match self.of {
            Of::Manifest => schema_for!(Manifest),
            Of::Policy => schema_for!(PolicyRequest),
        };
        output::print_json(&schema.to_value())?;
        Ok(ExitCode::SUCCESS)
    }
}
