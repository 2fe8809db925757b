//! `portcullis key`: keys from creation to revocation, in a file.

mod file;
mod generate;
mod publish;
mod record;

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use portcullis_core::apikey::ApiKey;
use portcullis_core::apikey::record::KeyDigest;
use serde_json::{Value, json};

use self::file::KeyFile;
use self::publish::Target;
use self::record::{Expires, Rate, Scope};
use crate::output;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Begin a key file, and say what Envoy watches
    ///
    /// FROM is the filter's configuration without keys: an Envoy resource file with the Wasm filter, or the plugin
    /// configuration alone. TO is the same with the keys in it; this program writes it, and nobody else should.
    Init(InitArgs),
    /// Make a key and print it, this once
    Create(Box<CreateArgs>),
    /// List all keys
    List(ListArgs),
    /// Show one key's record
    Show(OneArgs),
    /// Make a new key in place of one, which goes on working for a grace
    Rotate(RotateArgs),
    /// Make a key worthless, at once
    Revoke(RevokeArgs),
    /// Forget keys that have been worthless for some time
    Prune(PruneArgs),
    /// Write what Envoy watches anew, after its template was changed
    Publish(CommonArgs),
    /// Print the hash of a key on standard input, for those who keep records elsewhere
    Hash(HashArgs),
}

#[derive(clap::Args)]
pub struct CommonArgs {
    /// The file with the records of the keys
    #[arg(
        long,
        value_name = "FILE",
        env = "PORTCULLIS_KEY_FILE",
        default_value = "keys.json"
    )]
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct InitArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The configuration without keys
    #[arg(long, value_name = "FILE", requires = "to")]
    from: Option<PathBuf>,
    /// What Envoy watches; ends in .json
    #[arg(long, value_name = "FILE", requires = "from")]
    to: Option<PathBuf>,
    /// The name of the api_key provider, where there is more than one
    #[arg(long, value_name = "NAME", requires = "from")]
    provider: Option<String>,
}

#[derive(clap::Args)]
#[group(id = "bound_to", required = true, multiple = false, args = ["agent", "workspace", "org", "user", "scope"])]
pub struct CreateArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Good for this agent
    #[arg(long)]
    agent: Option<String>,
    /// Good for the agents of this workspace
    #[arg(long)]
    workspace: Option<String>,
    /// Good for the agents of this organisation
    #[arg(long)]
    org: Option<String>,
    /// Good for the agents of this user: a service-account token
    #[arg(long)]
    user: Option<String>,
    /// The same as one option: agent:orders, workspace:…, org:…, user:…
    #[arg(long, value_name = "KIND:NAME")]
    scope: Option<Scope>,
    /// What it is for, in words
    #[arg(long)]
    name: Option<String>,
    /// Who answers for it; the agent sees it as x-auth-user-id
    #[arg(long)]
    owner: Option<String>,
    /// When it ends: 90d, 12h, 2027-01-31T00:00:00Z or never
    #[arg(long, value_name = "WHEN", default_value = "90d")]
    expires: Expires,
    /// When it begins: 12h, 2027-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN")]
    not_before: Option<Expires>,
    /// Its rate limit: 600/1m, or 600/1m:60 with at most 60 at once
    #[arg(long, value_name = "N/TIME[:BURST]")]
    rate: Option<Rate>,
    /// The methods it may be used with: GET,POST
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    methods: Vec<String>,
    #[command(flatten)]
    form: FormArgs,
}

/// How keys look and are hashed, where no template says so.
#[derive(clap::Args)]
pub struct FormArgs {
    /// What the key begins with [default: the provider's, else gak, or gsa for --user]
    #[arg(long)]
    prefix: Option<String>,
    /// The variable with the pepper [default: the provider's]
    #[arg(long, value_name = "VARIABLE")]
    pepper_env: Option<String>,
}

#[derive(clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Only those that get somebody in
    #[arg(long)]
    active: bool,
}

#[derive(clap::Args)]
pub struct OneArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The key's id, or the whole key
    id: String,
}

#[derive(clap::Args)]
pub struct RotateArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The key's id, or the whole key
    id: String,
    /// How long the old key goes on working
    #[arg(long, value_name = "TIME", default_value = "24h")]
    grace: Expires,
    /// When the new key ends [default: as long after now as the old one lived]
    #[arg(long, value_name = "WHEN")]
    expires: Option<Expires>,
    #[command(flatten)]
    form: FormArgs,
}

#[derive(clap::Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// The key's id, or the whole key
    id: String,
    /// Why, in words
    #[arg(long)]
    reason: Option<String>,
}

#[derive(clap::Args)]
pub struct PruneArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Keep those that were good more recently than this
    #[arg(long, value_name = "TIME", default_value = "30d")]
    older_than: Expires,
}

#[derive(clap::Args)]
pub struct HashArgs {
    #[command(flatten)]
    form: FormArgs,
    /// Print id and hash as JSON
    #[arg(long)]
    json: bool,
}

/// Why a command failed, in words that never hold a key.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    fn new(words: impl fmt::Display) -> Self {
        Self(words.to_string())
    }
}

type Done = Result<(), Failure>;

/// Carries a command out.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Init(args) => init(args),
        Command::Create(args) => create(args),
        Command::List(args) => list(args),
        Command::Show(args) => show(args),
        Command::Rotate(args) => rotate(args),
        Command::Revoke(args) => revoke(args),
        Command::Prune(args) => prune(args),
        Command::Publish(args) => republish(args),
        Command::Hash(args) => hash(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(words)) => {
            output::message("error", &words);
            ExitCode::FAILURE
        }
    }
}

/// The pepper that a variable holds, for `portcullis serve`.
pub fn pepper(
    variable: Option<&str>,
) -> Result<Option<portcullis_core::apikey::record::Pepper>, String> {
    generate::pepper(variable).map_err(|Failure(words)| words)
}

fn now() -> Result<u64, Failure> {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|d| d.as_secs())
        .map_err(|_| Failure::new("the clock is before 1970"))
}

fn init(args: &InitArgs) -> Done {
    let target = match (&args.from, &args.to) {
        (Some(from), Some(to)) => Some(Target::new(
            &args.common.file,
            from,
            to,
            args.provider.clone(),
        )?),
        _ => None,
    };
    let file = KeyFile::create(&args.common.file, target)?;
    file.store()?;
    say(&args.common, &json!({"file": args.common.file}), "");
    Ok(())
}

fn create(args: &CreateArgs) -> Done {
    let mut file = KeyFile::open(&args.common.file)?;
    let now = now()?;
    let scope = args.scope()?;
    let mut record = record::Draft {
        scope,
        name: args.name.clone(),
        owner: args.owner.clone(),
        not_before: args.not_before.map(|w| w.after(now)).transpose()?,
        expires_at: args.expires,
        rate: args.rate,
        methods: args.methods.clone(),
        replaces: None,
    };
    record
        .methods
        .iter_mut()
        .for_each(|m| m.make_ascii_uppercase());
    let made = make(&file, &args.form, record, now)?;
    file.keys.push(made.record.clone());
    finish(file, &args.common, &made)
}

/// A key and its record.
struct Made {
    key: String,
    record: Value,
}

fn make(file: &KeyFile, form: &FormArgs, draft: record::Draft, now: u64) -> Result<Made, Failure> {
    let settings = file.settings()?;
    let (default, setting) = if draft.scope.is_user() {
        ("gsa", "service_prefix")
    } else {
        ("gak", "prefix")
    };
    let configured = |name: &str| settings.get(name).and_then(Value::as_str);
    let prefix = form
        .prefix
        .as_deref()
        .or(configured(setting))
        .unwrap_or(default);
    let pepper = generate::pepper(form.pepper_env.as_deref().or(configured("pepper_env")))?;
    // Twelve characters of 62 do not meet by chance, but a file copied about may hold anything.
    let (id, key) = loop {
        let (id, key) = generate::key(prefix)?;
        if file.find(id.as_str()).is_none() {
            break (id, key);
        }
    };
    let digest = KeyDigest::of(&key, pepper.as_ref());
    let record = draft.write(id.as_str(), &digest.to_string(), now)?;
    Ok(Made { key, record })
}

/// Stores the file and prints a new key, whether or not it could be published: it can't be shown again.
fn finish(file: KeyFile, args: &CommonArgs, made: &Made) -> Done {
    let stored = file.store();
    if let Err(file::StoreError::NotStored(failure)) = stored {
        return Err(failure);
    }
    let id = record::text(&made.record, "id");
    if args.json {
        output::result(&format!(
            "{:#}\n",
            json!({"key": made.key, "record": made.record})
        ));
    } else {
        output::result(&format!("{}\n", made.key));
        output::message("note", &format!("this is key {id}; it is not shown again"));
    }
    stored.map_err(Failure::from)
}

fn list(args: &ListArgs) -> Done {
    let file = KeyFile::open(&args.common.file)?;
    let now = now()?;
    let keys: Vec<&Value> = file
        .keys
        .iter()
        .filter(|r| !args.active || record::state(r, now).is_live())
        .collect();
    if args.common.json {
        let all: Vec<Value> = keys.iter().map(|r| record::with_state(r, now)).collect();
        output::result(&format!("{:#}\n", Value::Array(all)));
    } else {
        output::result(&record::table(&keys, now));
    }
    Ok(())
}

fn show(args: &OneArgs) -> Done {
    let file = KeyFile::open(&args.common.file)?;
    let found = file.get(&args.id)?;
    let record = record::with_state(found, now()?);
    if args.common.json {
        output::result(&format!("{record:#}\n"));
    } else {
        output::result(&record::page(&record));
    }
    Ok(())
}

fn rotate(args: &RotateArgs) -> Done {
    let mut file = KeyFile::open(&args.common.file)?;
    let now = now()?;
    let old = file.get(&args.id)?.clone();
    let state = record::state(&old, now);
    if !state.is_live() {
        let words = format!(
            "this key is {state}, so there is nothing to go on with; make a new one with `portcullis key create`"
        );
        return Err(Failure::new(words));
    }
    let draft = record::Draft::after(&old, args.expires, now)?;
    let made = make(&file, &args.form, draft, now)?;
    let grace = args.grace.after(now)?;
    file.change(&args.id, |record| {
        // A second rotation gives nothing more time.
        let earlier = record::number(record, "grace_until").map_or(grace, |g| g.min(grace));
        record::set(record, "grace_until", json!(earlier));
    })?;
    file.keys.push(made.record.clone());
    finish(file, &args.common, &made)
}

fn revoke(args: &RevokeArgs) -> Done {
    let mut file = KeyFile::open(&args.common.file)?;
    let now = now()?;
    let record = file.change(&args.id, |record| {
        if record.get("revoked_at").is_none() {
            record::set(record, "revoked_at", json!(now));
        }
        if let Some(reason) = &args.reason {
            record::set(record, "revoked_reason", json!(reason));
        }
    })?;
    let id = record::text(&record, "id").to_owned();
    file.store()?;
    say(&args.common, &record, &format!("key {id} is revoked"));
    Ok(())
}

fn prune(args: &PruneArgs) -> Done {
    let mut file = KeyFile::open(&args.common.file)?;
    let now = now()?;
    let before = args.older_than.before(now)?;
    let (gone, kept): (Vec<Value>, Vec<Value>) = std::mem::take(&mut file.keys)
        .into_iter()
        .partition(|r| record::ended(r, now).is_some_and(|at| at <= before));
    file.keys = kept;
    let ids: Vec<&str> = gone.iter().map(|r| record::text(r, "id")).collect();
    let words = format!("{} forgotten, {} left", ids.len(), file.keys.len());
    if !ids.is_empty() {
        file.store()?;
    }
    say(
        &args.common,
        &json!({"pruned": ids, "left": file.keys.len()}),
        &words,
    );
    Ok(())
}

fn republish(args: &CommonArgs) -> Done {
    let file = KeyFile::open(&args.file)?;
    let Some(to) = file.publish()? else {
        return Err(Failure::new(
            "this key file has no template; `portcullis key init --from … --to …` gives it one",
        ));
    };
    say(
        args,
        &json!({"published": to}),
        &format!("{} written", to.display()),
    );
    Ok(())
}

fn hash(args: &HashArgs) -> Done {
    let mut text = String::new();
    // A little more than any key, so that a file given by mistake is noticed and not read.
    std::io::stdin()
        .lock()
        .take(256)
        .read_to_string(&mut text)
        .map_err(|_| Failure::new("standard input can't be read as text"))?;
    let text = text.trim();
    let prefixes = match &args.form.prefix {
        Some(prefix) => vec![prefix.as_str()],
        None => vec!["gak", "gsa"],
    };
    let Some(key) = prefixes.iter().find_map(|p| ApiKey::parse(text, p)) else {
        return Err(Failure::new(
            "standard input is not a key: its form or its check characters are wrong",
        ));
    };
    let pepper = generate::pepper(args.form.pepper_env.as_deref())?;
    let digest = KeyDigest::of(text, pepper.as_ref());
    if args.json {
        let value = json!({"id": key.id.as_str(), "hash": digest.to_string()});
        output::result(&format!("{value:#}\n"));
    } else {
        output::result(&format!("{digest}\n"));
    }
    Ok(())
}

fn say(args: &CommonArgs, value: &Value, words: &str) {
    if args.json {
        output::result(&format!("{value:#}\n"));
    } else if !words.is_empty() {
        output::result(&format!("{words}\n"));
    }
}

impl CreateArgs {
    fn scope(&self) -> Result<Scope, Failure> {
        let written = [
            ("agent", &self.agent),
            ("workspace", &self.workspace),
            ("org", &self.org),
            ("user", &self.user),
        ];
        let option = written
            .into_iter()
            .find_map(|(kind, name)| Scope::new(kind, name.as_deref()?));
        option.or_else(|| self.scope.clone()).ok_or_else(|| {
            Failure::new("say what the key is good for: --agent, --workspace, --org or --user")
        })
    }
}
