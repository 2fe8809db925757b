//! The `portcullis` program: what operates the filter from outside the proxy.
//!
//! Results go to stdout, errors and warnings to stderr. Exit status 0: fine; 1: not; 2: wrong usage.

mod audit;
mod aws_token;
mod check;
mod clusters;
mod convert;
mod document;
mod explain;
mod fetch;
mod key;
mod kong;
mod nginx;
mod output;
mod request;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Operate Portcullis, the authentication filter for AI agents.
#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check configurations before a proxy sees them
    ///
    /// Each FILE is a plugin configuration as YAML or JSON, an Envoy bootstrap, listener or ECDS file
    /// that holds one, an nginx configuration (`nginx -T | portcullis check -`), or a forge.yaml. The messages are those of the filter's own log.
    ///
    /// Exit status: 0 when all are fine; 1 when one has an error, or a warning under
    /// --deny-warnings; 2 for wrong usage.
    Check(check::Args),
    /// Say step by step what the filter would decide on a request, and why
    ///
    /// The decision is made by the very code that runs in the proxy. The issuer's keys come from files
    /// (--jwks), from the configuration, or with --online from the issuer. The credential itself is never
    /// printed.
    ///
    /// Exit status: 0 when the request is let in; 1 when it is refused or can't be judged; 2 for wrong
    /// usage.
    Explain(explain::Args),
    /// Make a bearer token for `aws_sigv4` from the AWS credentials in the environment
    ///
    /// The token is a presigned sts:GetCallerIdentity request: it says who signed it, and holds no secret. The
    /// credentials are those of AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
    ///
    /// Exit status: 0 with the token on stdout; 1 when there are no credentials or it can't be signed; 2 for
    /// wrong usage.
    AwsToken(aws_token::Args),
    /// Ask audit logs: counts, a coloured tail, a map of who calls whom
    ///
    /// Reads the access log's NDJSON and Envoy's own log alike, files or standard input. Lines without an event are
    /// counted and the first ones named, on stderr. docs/auth/recipes/audit-log-mesh-observability.md has the questions.
    ///
    /// Exit status: 0 when all could be read; 1 when a file could not; 2 for wrong usage.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Make a configuration of another filter's
    ///
    /// What can't be carried over is said on stderr with its path (docs/migrating).
    ///
    /// Exit status: 0 when everything was carried over; 1 when something was lost, with the rest on stdout, or nothing
    /// could be read; 2 for wrong usage.
    #[command(subcommand)]
    Convert(convert::Command),
    /// Make, rotate and revoke API keys
    ///
    /// Keys live hashed in a file; the key itself is printed once, when it is made. With `key init` every
    /// change goes on to Envoy at once: the file that Envoy watches is written anew, by rename.
    #[command(subcommand)]
    Key(key::Command),
    /// Run the key service and its web page
    ///
    /// Teams register agents and make, rotate and revoke keys in the browser or by the HTTP API; filters follow by the
    /// feed. The first start prints a link that makes whoever opens it the first admin (docs/keys.md).
    ///
    /// Exit status: 0 when it was told to end; 1 when it can't start or go on; 2 for wrong usage.
    Serve(Box<serve::Args>),
    /// Print the configuration's JSON Schema
    Schema {
        /// Print the reference page instead
        #[arg(long)]
        markdown: bool,
        /// Print the filter's metadata for Kong instead: portcullis.meta.json, with the schema in draft 4
        #[arg(long, conflicts_with = "markdown")]
        kong: bool,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::AwsToken(args) => aws_token::run(&args),
        Command::Audit(command) => audit::run(&command),
        Command::Convert(command) => convert::run(&command),
        Command::Key(command) => key::run(&command),
        Command::Serve(args) => serve::run(*args),
        Command::Schema { markdown, kong } => {
            let text = if markdown {
                portcullis_core::config::markdown()
            } else if kong {
                format!("{:#}\n", kong::meta(&portcullis_core::config::schema()))
            } else {
                format!("{:#}\n", portcullis_core::config::schema())
            };
            output::result(&text);
            ExitCode::SUCCESS
        }
    }
}
