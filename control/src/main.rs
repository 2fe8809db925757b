//! The `portcullis` program: what operates the filter from outside the proxy.
//!
//! Results go to stdout, errors and warnings to stderr. Exit status 0: fine; 1: not; 2: wrong usage.

mod check;
mod document;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Operate Portcullis, the authentication filter for AI agents.
#[derive(Parser)]
#[command(name = "portcullis", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check configurations before a proxy sees them
    ///
    /// Each FILE is a plugin configuration as YAML or JSON, an Envoy bootstrap, listener or ECDS file
    /// that holds one, or a forge.yaml. The messages are those of the filter's own log.
    ///
    /// Exit status: 0 when all are fine; 1 when one has an error, or a warning under
    /// --deny-warnings; 2 for wrong usage.
    Check(check::Args),
    /// Print the configuration's JSON Schema
    Schema {
        /// Print the reference page instead
        #[arg(long)]
        markdown: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Schema { markdown } => {
            let text = if markdown {
                portcullis_core::config::markdown()
            } else {
                format!("{:#}\n", portcullis_core::config::schema())
            };
            output::result(&text);
            ExitCode::SUCCESS
        }
    }
}
