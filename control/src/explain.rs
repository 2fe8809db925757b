//! `portcullis explain`: one request through the chain, in words.
//!
//! The decision and the verdicts of the providers come from the core ([`Authenticator::begin_traced`]);
//! what is said around them is read from the token and the policy with the core's own functions.

mod story;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::SystemTime;

use portcullis_core::credential::{IAP_ASSERTION, TokenKind};
use portcullis_core::decision::{Decision, Step};
use portcullis_core::jose::{KeySet, RustVerifier};
use portcullis_core::policy::{KeyOrigin, Policy};
use portcullis_core::time::UnixTime;
use portcullis_core::url::without_slash;
use portcullis_core::{Authenticator, Stores};

use self::story::{Story, Token};
use crate::document;
use crate::request::Request;
use crate::{check, fetch, output};

/// What is to be explained.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration, as `check` takes it
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A bearer token; `@FILE` reads it from a file, `-` from standard input. Other users of this machine
    /// can see what stands on a command line
    #[arg(long, value_name = "TOKEN", conflicts_with = "request")]
    token: Option<String>,
    /// A file with a whole HTTP/1.1 request
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "path", "header"])]
    request: Option<PathBuf>,
    /// A key set for an issuer, from a file
    #[arg(long, value_name = "ISSUER=FILE")]
    jwks: Vec<String>,
    /// Fetch keys from the issuers
    #[arg(long)]
    online: bool,
    /// The certificates that --online trusts, PEM: an authority of your own. Absent: the public ones
    #[arg(long, value_name = "FILE", requires = "online")]
    ca: Option<PathBuf>,
    /// Judge as of then: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The request's method
    #[arg(long, default_value = "POST")]
    method: String,
    /// The request's path
    #[arg(long, default_value = "/")]
    path: String,
    /// A request header, `name: value`; `host: …` is the authority
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
}

/// Explains, and says by the exit status whether the request is let in.
pub fn run(args: &Args) -> ExitCode {
    match explain(args) {
        Ok((text, allowed)) => {
            output::result(&text);
            if allowed {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(lines) => {
            for line in lines.lines() {
                output::message("error", line);
            }
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &Args) -> Result<(String, bool), String> {
    let now = match &args.at {
        Some(text) => parse_time(text)
            .ok_or_else(|| format!("--at {text}: is neither RFC 3339 nor a number of seconds"))?,
        None => {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            UnixTime::default() + since.unwrap_or_default()
        }
    };
    let mut policy = load(&args.config)?;
    let given = use_key_files(&mut policy, &args.jwks)?;
    let request = request(args)?;

    let mut out = String::new();
    let _ = writeln!(out, "request      {}", request.line());
    let _ = writeln!(out, "as of        {now}");
    let roots = args.ca.as_deref().map(fetch::Roots::read).transpose()?;
    let roots = roots.unwrap_or_default();
    let mut auth = Authenticator::new(policy, Stores::new(0), Rc::new(RustVerifier), now);
    let mut say = |line: String| {
        let _ = writeln!(out, "             {line}");
    };
    if args.online {
        fetch::run(&mut auth, now, &roots, &mut say);
    }
    let (mut step, mut trace) = request.with_head(|head| auth.begin_traced(head, now));
    if args.online
        && let Step::NeedCallout(need) = step
    {
        // An unknown `kid` asks for a newer set; STS or a verifier is asked about the token.
        fetch::run(&mut auth, now, &roots, &mut say);
        (step, trace) = need.resume_traced(&mut auth, now);
    }
    if let Step::NeedBody(mut need) = step {
        // Its signature covers the body.
        need.update(request.body());
        step = need.finish(&mut auth, now);
    }
    // What stands beside a bearer token is told of by the provider that reads it.
    let credential = match trace.credential {
        Ok(TokenKind::IapJwt) => request.header(IAP_ASSERTION),
        _ => request.bearer(),
    };
    let story = Story {
        policy: auth.policy(),
        trace: &trace,
        token: credential.and_then(|t| Token::read(t, auth.policy())),
        length: credential.map_or(0, str::len),
        given: &given,
        now,
    };
    story.tell(&mut out);
    let allowed = decision(step, &mut out);
    Ok((out, allowed))
}

fn load(file: &Path) -> Result<Policy, String> {
    let name = file.display();
    let found = check::read(file)
        .map_err(document::Fault::Io)
        .and_then(|bytes| document::find(&bytes, ""))
        .map_err(|fault| format!("{name}: {fault}"))?;
    if let [_, second, ..] = found.as_slice() {
        return Err(format!(
            "{name}: holds {} configurations (the second at {}); give a file with one",
            found.len(),
            second.place
        ));
    }
    let found = found
        .into_iter()
        .next()
        .ok_or_else(|| format!("{name}: is empty"))?;
    let text = found
        .text
        .as_ref()
        .map_err(|fault| format!("{name}: {fault}"))?;
    let loaded = found.load(text);
    for variable in &loaded.assumed {
        output::message(
            "note",
            &format!("the variable {variable} is not set here, so its token matches nothing"),
        );
    }
    match loaded.outcome {
        Ok((policy, _)) => Ok(policy),
        Err(errors) => Err(errors.to_string()),
    }
}

/// Puts key sets from files in the place of those that would be fetched. Gives the file of each issuer.
fn use_key_files(policy: &mut Policy, given: &[String]) -> Result<Vec<(String, String)>, String> {
    let limits = policy.limits.jose();
    let mut used = Vec::new();
    for pair in given {
        // An issuer may have a `=`; a file rarely does.
        let (issuer, file) = pair
            .rsplit_once('=')
            .ok_or_else(|| format!("--jwks {pair}: must be ISSUER=FILE"))?;
        let text = std::fs::read(file).map_err(|e| format!("{file}: can't be read: {e}"))?;
        let set = KeySet::parse(&text, &limits)
            .map_err(|e| format!("{file}: is no usable key set: {e:?}"))?;
        let set = Rc::new(set);
        let mut any = false;
        for provider in &mut policy.providers {
            if let Some((own, keys)) = provider.kind.issuer_keys()
                && own == without_slash(issuer)
            {
                *keys = KeyOrigin::Inline(set.clone());
                any = true;
            }
        }
        if !any {
            return Err(format!(
                "--jwks {pair}: no provider of the configuration has the issuer {issuer}"
            ));
        }
        used.push((issuer.trim_end_matches('/').to_owned(), file.to_owned()));
    }
    Ok(used)
}

fn request(args: &Args) -> Result<Request, String> {
    if let Some(file) = &args.request {
        let name = file.display();
        let text = check::read(file).map_err(|e| format!("{name}: can't be read: {e}"))?;
        return Request::parse(&text).map_err(|e| format!("{name}: {e}"));
    }
    let mut request = Request::new(&args.method, &args.path, &args.header)
        .map_err(|e| format!("--header: {e}"))?;
    if let Some(token) = &args.token {
        let file = match token.strip_prefix('@') {
            Some(file) => Some(Path::new(file)),
            None if token == "-" => Some(Path::new("-")),
            None => None,
        };
        match file {
            None => request.bear(token),
            Some(file) => {
                let name = file.display();
                let text = check::read(file).map_err(|e| format!("{name}: can't be read: {e}"))?;
                let text =
                    String::from_utf8(text).map_err(|_| format!("{name}: is not UTF-8 text"))?;
                request.bear(text.trim());
            }
        }
    }
    Ok(request)
}

fn parse_time(text: &str) -> Option<UnixTime> {
    if let Ok(secs) = text.parse::<u64>() {
        return Some(UnixTime::from_secs(secs));
    }
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(timestamp.as_millisecond())
        .ok()
        .map(UnixTime::from_millis)
}

/// The last words: what goes on the wire.
fn decision(step: Step, out: &mut String) -> bool {
    match step {
        Step::NeedBody(_) | Step::NeedCallout(_) => {
            let _ = writeln!(
                out,
                "decision     none yet: it waits for what is said above"
            );
            false
        }
        Step::Done(Decision::Limited(limited)) => {
            let limit = limited.limit();
            let _ = writeln!(
                out,
                "rate limit   {} requests in {:?}, {} at once; not counted here",
                limit.requests(),
                limit.per(),
                limit.burst()
            );
            decision_of(limited.settle(Ok(())), out)
        }
        Step::Done(decision) => decision_of(decision, out),
    }
}

fn decision_of(decision: Decision, out: &mut String) -> bool {
    match decision {
        Decision::Limited(_) => false,
        Decision::Allow(allow) => {
            let _ = writeln!(out, "decision     allow");
            for name in &allow.remove {
                let _ = writeln!(out, "  remove     {}", String::from_utf8_lossy(name));
            }
            for (name, value) in &allow.set {
                let _ = writeln!(out, "  set        {name}: {value}");
            }
            true
        }
        Decision::Serve(served) => {
            let _ = writeln!(
                out,
                "decision     {}, answered by the filter",
                served.status
            );
            for (name, value) in &served.headers {
                let _ = writeln!(out, "  {name}: {value}");
            }
            let _ = writeln!(out, "  {}", served.body);
            true
        }
        Decision::Deny(denial) => {
            let reason = denial.code.reason();
            let _ = writeln!(
                out,
                "decision     {}, reason {reason}, code {}",
                denial.status, denial.code
            );
            for (name, value) in &denial.headers {
                let _ = writeln!(out, "  {name}: {value}");
            }
            let _ = writeln!(out, "  {}", denial.body);
            false
        }
    }
}
