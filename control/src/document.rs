//! Finding plugin configurations in what operators keep in files: the configuration itself, Envoy's
//! files, nginx's, Forge's `forge.yaml`.

use std::fmt;

use portcullis_core::config;
use portcullis_core::policy::{Host, Policy};
use serde_json::{Map, Value};

use crate::clusters::Clusters;
use crate::nginx;

/// The type URL of the filter's own configuration in Envoy's API.
pub const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
/// The type URLs of what a plugin configuration can be.
pub const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";
/// JSON as text.
pub const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
/// Stands for a variable whose value only the proxy's environment has. Long enough for every rule.
const PLACEHOLDER: &str = "value-of-the-proxys-environment";

/// A plugin configuration and where it was found.
pub struct Found {
    /// The path inside the file; empty for the file as a whole.
    pub place: String,
    /// The configuration's text, as the filter would be given it (or a fault that keeps it from being read).
    pub text: Result<String, String>,
    /// Where its environment variables come from.
    environment: Environment,
    /// What the reader should know.
    pub notes: Vec<String>,
    /// What is missing or wrong around it.
    pub warnings: Vec<String>,
    /// The proxy whose file it stands in.
    host: Option<Host>,
    /// The clusters of the Envoy that it stands in, where the file has all of them.
    pub clusters: Option<Clusters>,
}

enum Environment {
    /// Any variable may be set where it will run.
    Unknown,
    /// Envoy's `vm_config.environment_variables`: nothing else is visible to the filter.
    Envoy {
        key_values: Map<String, Value>,
        host_env_keys: Vec<String>,
    },
}

/// Why a file holds nothing to check.
#[derive(Debug)]
pub enum Fault {
    /// Can't be read.
    Io(std::io::Error),
    /// Not UTF-8.
    NotText,
    /// Not YAML; with the parser's words, which quote nothing.
    Yaml(String),
    /// An nginx file that can't be read, or without this filter.
    Nginx(String),
    /// An Envoy file without a Wasm filter that could be this one.
    NoFilter,
    /// An Envoy file that has a filter's configuration sent from elsewhere: from a file, or a service.
    Elsewhere(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "can't be read: {error}"),
            Self::NotText => f.write_str("is not UTF-8 text"),
            Self::Yaml(words) => write!(f, "is neither YAML nor JSON: {words}"),
            Self::Nginx(words) => f.write_str(words),
            Self::Elsewhere(from) => write!(
                f,
                "holds no configuration of this filter: Envoy takes it from {from}, so check that"
            ),
            Self::NoFilter => f.write_str(
                "is an Envoy configuration without this filter; it needs an HTTP filter of type envoy.extensions.filters.http.wasm.v3.Wasm with a `configuration` that is a google.protobuf.Struct or StringValue",
            ),
        }
    }
}

type Outcome = Result<(Policy, Vec<config::Warning>), config::ConfigErrors>;

/// A compiled configuration, or what is wrong with it in the filter's own words.
pub struct Loaded {
    /// The policy.
    pub outcome: Outcome,
    /// Variables that were assumed to be set where the filter runs.
    pub assumed: Vec<String>,
}

impl Found {
    /// Compiles the text with the environment that the filter would have.
    pub fn load(&self, text: &str) -> Loaded {
        let assumed = std::cell::RefCell::new(Vec::new());
        let from_host = |name: &str| {
            let value = std::env::var(name).ok().filter(|v| !v.is_empty());
            Some(value.unwrap_or_else(|| {
                assumed.borrow_mut().push(name.to_owned());
                PLACEHOLDER.to_owned()
            }))
        };
        let env = |name: &str| match &self.environment {
            Environment::Unknown => from_host(name),
            Environment::Envoy {
                key_values,
                host_env_keys,
            } => match key_values.get(name) {
                Some(value) => value.as_str().map(str::to_owned),
                None if host_env_keys.iter().any(|k| k == name) => from_host(name),
                None => None,
            },
        };
        let outcome = config::load(text.as_bytes(), &env)
            .and_then(|(policy, warnings)| fit(policy, warnings, self.host));
        Loaded {
            outcome,
            assumed: assumed.take(),
        }
    }
}

/// What the proxy makes of it in whose file it stands.
fn fit(mut policy: Policy, mut warnings: Vec<config::Warning>, host: Option<Host>) -> Outcome {
    match (policy.host, host) {
        (None, Some(here)) => warnings.extend(config::fit(&mut policy, here)?),
        // Who says nginx is believed by the filter wherever it is; in an Envoy file that is a mistake all the same.
        (Some(said), Some(here)) if said != here => {
            let error = config::ConfigError::other_host(here.as_str());
            return Err(config::ConfigErrors(vec![error]));
        }
        _ => {}
    }
    Ok((policy, warnings))
}

/// Finds every plugin configuration of a file. `vm` is the VM's own configuration, where that is in another file.
pub fn find(bytes: &[u8], vm: &str) -> Result<Vec<Found>, Fault> {
    let mut found = find_plugins(bytes)?;
    for found in &mut found {
        if let Ok(text) = &found.text {
            found.text = merged(vm, text);
        }
    }
    Ok(found)
}

/// The VM's blocks and the plugin's, as one text.
fn merged(vm: &str, plugin: &str) -> Result<String, String> {
    let text = config::merge(vm.as_bytes(), plugin.as_bytes()).map_err(|e| e.to_string())?;
    String::from_utf8(text.into_owned()).map_err(|e| e.to_string())
}

/// A VM's configuration from a file of its own, YAML or JSON, as JSON.
pub fn vm_configuration(bytes: &[u8]) -> Result<String, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotText)?;
    Ok(match parse(text)? {
        Value::Null => String::new(),
        _ if text.trim_start().starts_with('{') => text.to_owned(),
        value => value.to_string(),
    })
}

fn find_plugins(bytes: &[u8]) -> Result<Vec<Found>, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotText)?;
    if nginx::is_nginx(text) {
        let plugins = nginx::plugins(text).map_err(Fault::Nginx)?;
        return Ok(plugins.into_iter().map(in_nginx).collect());
    }
    let value = match parse(text) {
        Ok(value) => value,
        // JSON that is not even that goes to the filter's own parser, which says where it fails.
        Err(_) if text.trim_start().starts_with('{') => {
            return Ok(vec![whole(text.to_owned(), Vec::new())]);
        }
        Err(fault) => return Err(fault),
    };
    if is_forge(&value) {
        return Ok(vec![forge(&value)]);
    }
    if is_envoy(&value) {
        let mut filters = Vec::new();
        walk(&value, &mut String::new(), &mut filters);
        let mut found = of_this_filter(filters);
        let clusters = Clusters::of(&value);
        for found in &mut found {
            found.clusters.clone_from(&clusters);
        }
        return match (found.is_empty(), discovered(&value)) {
            (false, _) => Ok(found),
            (true, Some(from)) => Err(Fault::Elsewhere(from)),
            (true, None) => Err(Fault::NoFilter),
        };
    }
    // JSON goes on as it is, so that its version is that of the file; YAML as the JSON it means.
    let text = match &value {
        Value::Null => String::new(),
        _ if text.trim_start().starts_with('{') => text.to_owned(),
        _ => value.to_string(),
    };
    Ok(vec![whole(text, Vec::new())])
}

/// Reads YAML, of which JSON is a part. Duplicate keys are refused and aliases are bounded.
pub fn parse(text: &str) -> Result<Value, Fault> {
    // Without snippets: an error must not print the secrets around it.
    let options = serde_saphyr::options! {
        with_snippet: false,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let words = error.to_string();
        // The library's advice to its caller is of no use to ours.
        let words = words.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
        Fault::Yaml(words.lines().next().unwrap_or_default().to_owned())
    })
}

fn whole(text: String, notes: Vec<String>) -> Found {
    Found {
        place: String::new(),
        text: Ok(text),
        environment: Environment::Unknown,
        notes,
        warnings: Vec::new(),
        host: None,
        clusters: None,
    }
}

fn in_nginx(plugin: nginx::Plugin) -> Found {
    Found {
        place: plugin.place,
        text: plugin.text,
        environment: Environment::Unknown,
        notes: plugin.notes,
        warnings: plugin.warnings,
        host: Some(Host::Nginx),
        clusters: None,
    }
}

/// Forge refuses a `forge.yaml` without these two, and a plugin configuration has neither.
fn is_forge(value: &Value) -> bool {
    value.get("agent_id").is_some() && value.get("version").is_some()
}

fn forge(value: &Value) -> Found {
    let mut notes = Vec::new();
    let mut taken = Map::new();
    if let Some(auth) = value.get("auth") {
        taken.insert("auth".to_owned(), auth.clone());
        if auth.get("required").is_none() {
            notes.push(
                "auth.required is true here unless it says otherwise; Forge's own default is false"
                    .to_owned(),
            );
        }
    }
    let ignored: Vec<&str> = value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|k| *k != "auth")
        .collect();
    notes.insert(
        0,
        format!(
            "a forge.yaml: only its `auth` block is read, not {}",
            ignored.join(", ")
        ),
    );
    whole(Value::Object(taken).to_string(), notes)
}

/// A bootstrap, an xDS file, one resource, or a part of one.
fn is_envoy(value: &Value) -> bool {
    const KEYS: [&str; 12] = [
        "static_resources",
        "dynamic_resources",
        "layered_runtime",
        "admin",
        "node",
        "resources",
        "filter_chains",
        "http_filters",
        "typed_config",
        "version_info",
        "@type",
        "vm_config",
    ];
    KEYS.iter().any(|key| value.get(key).is_some())
}

/// Where Envoy is told to take a Wasm filter's configuration from, if it is (`config_discovery` with this type).
fn discovered(value: &Value) -> Option<String> {
    match value {
        Value::Object(object) => {
            if let Some(discovery) = object.get("config_discovery")
                && discovery
                    .get("type_urls")
                    .and_then(Value::as_array)
                    .is_some_and(|urls| urls.iter().any(|url| url == WASM))
            {
                let path = discovery.pointer("/config_source/path_config_source/path");
                return Some(match path.and_then(Value::as_str) {
                    Some(path) => path.to_owned(),
                    None => "a management server (`config_discovery`)".to_owned(),
                });
            }
            object.values().find_map(discovered)
        }
        Value::Array(list) => list.iter().find_map(discovered),
        _ => None,
    }
}

/// A Wasm filter's configuration, and its place.
struct Wasm<'v> {
    place: String,
    config: &'v Value,
}

fn walk<'v>(value: &'v Value, place: &mut String, found: &mut Vec<Wasm<'v>>) {
    let length = place.len();
    match value {
        Value::Object(object) => {
            let is = |key: &str, name: &str| object.get(key).and_then(Value::as_str) == Some(name);
            if is("@type", WASM) {
                found.extend(object.get("config").map(|config| Wasm {
                    place: place.clone(),
                    config,
                }));
                return;
            }
            // xds.type.v3.TypedStruct, and udpa's before it.
            if is("type_url", WASM) {
                found.extend(value.pointer("/value/config").map(|config| Wasm {
                    place: place.clone(),
                    config,
                }));
                return;
            }
            for (key, value) in object {
                if length > 0 {
                    place.push('.');
                }
                place.push_str(key);
                walk(value, place, found);
                place.truncate(length);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                place.push_str(&format!("[{i}]"));
                walk(value, place, found);
                place.truncate(length);
            }
        }
        _ => {}
    }
}

/// Those that are this filter: by what they are called, or by an `auth` block. Other people's Wasm
/// filters may stand in the same file; a lone one is taken for ours.
fn of_this_filter(filters: Vec<Wasm<'_>>) -> Vec<Found> {
    let alone = filters.len() == 1;
    let mut out = Vec::new();
    for Wasm { place, config } in filters {
        let (text, object) = match configuration(config) {
            Ok(pair) => pair,
            Err(fault) => (Err(fault), None),
        };
        let named = [
            "/name",
            "/root_id",
            "/vm_config/vm_id",
            "/vm_config/code/local/filename",
        ]
        .iter()
        .filter_map(|p| config.pointer(p).and_then(Value::as_str))
        .any(|name| name.contains("portcullis"));
        if !(alone || named || object.is_some_and(|o| o.get("auth").is_some())) {
            continue;
        }
        let environment = environment(config);
        let mut warnings = Vec::new();
        if config.get("failure_policy").and_then(Value::as_str) == Some("FAIL_OPEN")
            || config.get("fail_open") == Some(&Value::Bool(true))
        {
            warnings.push("Envoy lets every request in when this filter fails: set failure_policy to FAIL_CLOSED".to_owned());
        }
        out.push(Found {
            place,
            text: text.and_then(|text| merged(&vm_text(config)?, &text)),
            environment,
            notes: Vec::new(),
            warnings,
            host: Some(Host::Envoy),
            clusters: None,
        });
    }
    out
}

/// The variables that a filter of this `PluginConfig` sees.
fn environment(config: &Value) -> Environment {
    let variables = config.pointer("/vm_config/environment_variables");
    Environment::Envoy {
        key_values: variables
            .and_then(|v| v.get("key_values")?.as_object().cloned())
            .unwrap_or_default(),
        host_env_keys: variables
            .and_then(|v| v.get("host_env_keys")?.as_array())
            .into_iter()
            .flatten()
            .filter_map(|k| k.as_str().map(str::to_owned))
            .collect(),
    }
}

/// Compiles a text as the filter of that `PluginConfig` would (`None`: of any).
pub fn load(text: &str, config: Option<&Value>) -> Loaded {
    Found {
        environment: config.map_or(Environment::Unknown, environment),
        ..whole(String::new(), Vec::new())
    }
    .load(text)
}

/// The VM's own configuration in an Envoy file, as text.
fn vm_text(config: &Value) -> Result<String, String> {
    match config.get("vm_config") {
        None => Ok(String::new()),
        Some(vm) => configuration(vm)?.0,
    }
}

/// With every object's keys in order, as the filter writes a `Struct` down, whose fields Envoy sends in no order: the version
/// that is made of the text is then the one that the filter's log and its audit events have.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut pairs: Vec<(&String, &Value)> = object.iter().collect();
            pairs.sort_unstable_by_key(|(key, _)| *key);
            let pairs = pairs
                .into_iter()
                .map(|(key, value)| (key.clone(), sorted(value)));
            Value::Object(pairs.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(sorted).collect()),
        value => value.clone(),
    }
}

type Configuration = (Result<String, String>, Option<Value>);

/// The plugin configuration's text, and as a value where it is one.
fn configuration(config: &Value) -> Result<Configuration, String> {
    let Some(any) = config.get("configuration") else {
        return Ok((Ok(String::new()), None));
    };
    let value = any.get("value");
    match (any.get("@type").and_then(Value::as_str), value) {
        (Some(STRUCT), Some(value)) => Ok((Ok(sorted(value).to_string()), Some(value.clone()))),
        (Some(STRING), Some(Value::String(text))) => Ok((Ok(text.clone()), parse(text).ok())),
        (Some(STRUCT | STRING), _) => {
            Err("`configuration.value` is missing, or not what its `@type` says".to_owned())
        }
        _ => Err(format!(
            "`configuration` must have the `@type` {STRUCT} or {STRING}"
        )),
    }
}
