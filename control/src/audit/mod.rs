//! `portcullis audit`: answers from audit logs.
//!
//! A log is read in blocks by one thread and taken apart by as many as the machine has processors ([`read`]); each line is an [`event`], and
//! what is made of all of them is in [`stats`] and [`map`]. [`tail`] follows one log line by line.

mod caller;
mod event;
mod map;
mod read;
mod stats;
mod svg;
mod tail;

use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use portcullis_core::config::Span;

use self::event::{Event, plain};
use self::read::Reading;
use crate::output;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Count: refusals by reason and code with their worst minute, who is refused by which list, callers, keys
    Stats(StatsArgs),
    /// Show events as they come, one coloured line each
    Tail(TailArgs),
    /// Draw which agents call which agents
    Map(MapArgs),
}

#[derive(clap::Args)]
pub struct Source {
    /// Logs: the access log's NDJSON, or Envoy's own log with events behind its prefix; `-` (and none at all) is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only events since then: 15m, 2h, 2026-11-22T17:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
    /// Only events before then
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Option<String>,
    /// Only requests for this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only callers whose user_id or e-mail address holds this text
    #[arg(long, value_name = "TEXT")]
    user: Option<String>,
    /// Only this code, or reason
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Only this API key, by its id
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only refusals
    #[arg(long)]
    refused: bool,
}

#[derive(clap::Args)]
pub struct StatsArgs {
    #[command(flatten)]
    source: Source,
    /// Rows of each table; 0 is all
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Name those keys of this key file that the log never saw
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct TailArgs {
    #[command(flatten)]
    source: Source,
    /// Go on with what is written from now on, as the file is rotated too
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to begin with; standard input is shown as a whole
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Whether to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(clap::Args)]
pub struct MapArgs {
    #[command(flatten)]
    source: Source,
    /// How to draw it
    #[arg(long, default_value = "dot")]
    format: Format,
    /// What callers' names begin with that are agents themselves: the role agent-orders is the agent orders
    #[arg(long, value_name = "TEXT", default_value = "agent-")]
    prefix: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For Graphviz: `| dot -Tsvg`
    Dot,
    /// For Markdown
    Mermaid,
    /// A picture, callers on the left and agents on the right
    Svg,
    /// The edges
    Json,
}

/// A time as events have it, which can be compared as text.
fn moment(text: &str) -> Result<String, String> {
    let wrong = || "write a time such as 15m (ago) or 2026-11-22T17:00:00Z".to_owned();
    let time = match Span::parse(text) {
        Some(Span(span)) => Timestamp::now()
            .checked_sub(span)
            .map_err(|_| "is too long ago".to_owned())?,
        None => text.parse().map_err(|_| wrong())?,
    };
    Ok(time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

impl Source {
    fn takes(&self, event: &Event<'_>) -> bool {
        let fields = &event.fields;
        let since = self.since.as_deref().is_none_or(|t| &*event.ts >= t);
        let until = self.until.as_deref().is_none_or(|t| &*event.ts < t);
        let agent = self.agent.as_deref().is_none_or(|a| fields.agent == a);
        let user = |text: &str| fields.user_id.contains(text) || fields.email.contains(text);
        let code = |text: &str| fields.code == text || fields.reason == text;
        since
            && until
            && agent
            && self.user.as_deref().is_none_or(user)
            && self.code.as_deref().is_none_or(code)
            && self.key.as_deref().is_none_or(|k| fields.key_id == k)
            && (!self.refused || event.is_refusal())
    }
}

/// Does it.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Stats(args) => stats::run(args),
        Command::Map(args) => map::run(args),
        Command::Tail(args) => tail::run(args),
    };
    match done {
        Ok(reading) => {
            report(&reading);
            ExitCode::SUCCESS
        }
        Err(words) => {
            output::message("error", &words);
            ExitCode::FAILURE
        }
    }
}

/// Says what was no event, and where.
fn report(reading: &Reading) {
    for bad in &reading.examples {
        output::message(
            "warning",
            &format!("{}:{}: {}", plain(&bad.file), bad.line, bad.why),
        );
    }
    if reading.bad > 0 {
        let more = reading.bad - reading.examples.len() as u64;
        let more = if more > 0 {
            format!(", {more} of them not named here")
        } else {
            String::new()
        };
        output::message(
            "warning",
            &format!(
                "{} of {} lines hold no audit event that can be read{more}",
                reading.bad, reading.lines
            ),
        );
    }
}
