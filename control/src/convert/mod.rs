//! `portcullis convert`: other filters' configurations into this one's.
//!
//! What can't be carried over is said with its path, and the exit status says that there was something. Whatever is dropped makes the result
//! stricter, never more open.

mod forge;
mod jwt_authn;
mod object;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use crate::{check, document, output};

/// From what.
#[derive(clap::Subcommand)]
pub enum Command {
    /// From Envoy's jwt_authn: a bootstrap, a listener, or the filter's configuration alone
    ///
    /// Prints the plugin configuration. Each `lost` line on stderr is something that it does not have, with its path; each
    /// `note` something that is another way here.
    JwtAuthn(JwtArgs),
    /// From the `auth` block of a forge.yaml
    Forge(ForgeArgs),
}

#[derive(clap::Args)]
pub struct JwtArgs {
    /// YAML or JSON; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The audience of providers that have none: jwt_authn takes any there, and this filter none
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// Where the agent's name stands in the path, for rules that let a provider into a part of it
    #[arg(long, value_name = "TEMPLATE", default_value = "/rest/{agent}")]
    agent_path: String,
}

#[derive(clap::Args)]
pub struct ForgeArgs {
    /// The forge.yaml; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Converted {
    /// The plugin configuration.
    pub config: Value,
    /// (path, why) of what is not in it.
    pub lost: Vec<(String, String)>,
    /// (path, how) of what is another way here.
    pub notes: Vec<(String, String)>,
}

/// Where what is said about a file goes.
#[derive(Debug, Default)]
pub struct Said {
    lost: Vec<(String, String)>,
    notes: Vec<(String, String)>,
}

impl Said {
    fn lost(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.lost.push((path.into(), why.into()));
    }

    fn note(&mut self, path: impl Into<String>, how: impl Into<String>) {
        self.notes.push((path.into(), how.into()));
    }
}

/// Does it. Exit status: 0 when everything was carried over; 1 when something was lost, or nothing could be read.
pub fn run(command: &Command) -> ExitCode {
    let (file, made) = match command {
        Command::JwtAuthn(args) => (
            &args.file,
            read(&args.file).and_then(|v| jwt_authn::convert(&v, args)),
        ),
        Command::Forge(args) => (
            &args.file,
            read(&args.file).and_then(|v| forge::convert(&v)),
        ),
    };
    let made = match made {
        Ok(made) => made,
        Err(words) => {
            output::message("error", &format!("{}: {words}", file.display()));
            return ExitCode::FAILURE;
        }
    };
    for (path, words) in &made.notes {
        output::message("note", &format!("{path}: {words}"));
    }
    for (path, words) in &made.lost {
        output::message("lost", &format!("{path}: {words}"));
    }
    // It is ours, so a fault in it is one that is said here and not in the proxy.
    let text = format!("{:#}\n", made.config);
    if let Err(errors) = document::load(&text, None).outcome {
        for error in &errors.0 {
            output::message("error", &format!("the result is not complete: {error}"));
        }
        output::result(&text);
        return ExitCode::FAILURE;
    }
    output::result(&text);
    if made.lost.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn read(file: &std::path::Path) -> Result<Value, String> {
    let bytes = check::read(file).map_err(|e| document::Fault::Io(e).to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| document::Fault::NotText.to_string())?;
    document::parse(text).map_err(|fault| fault.to_string())
}
