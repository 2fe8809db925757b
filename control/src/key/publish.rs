//! From a template and the records to the file that Envoy watches.
//!
//! The template is what an operator writes: Envoy's resource file with the filter, or the plugin configuration alone. The result is
//! the same with the keys in it, as JSON; the plugin configuration becomes a `google.protobuf.StringValue`, because a hundred
//! thousand records in a `Struct` cost Envoy and the filter ten times the memory.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use portcullis_core::config;
use serde_json::{Map, Value, json};

use super::Failure;
use super::file::replace;
use crate::document::{self, STRING, STRUCT, WASM};
use crate::output;

/// Where a key file's records go.
pub struct Target {
    /// As written: relative to the key file's folder.
    from: PathBuf,
    to: PathBuf,
    provider: Option<String>,
    folder: PathBuf,
}

/// What is to be written.
pub struct Rendered {
    text: String,
    mode: u32,
    /// Where.
    pub to: PathBuf,
}

impl Target {
    /// From the command line, whose paths are relative to where we are.
    pub fn new(
        key_file: &Path,
        from: &Path,
        to: &Path,
        provider: Option<String>,
    ) -> Result<Self, Failure> {
        let folder = folder(key_file);
        if to.extension().is_none_or(|e| e != "json") {
            return Err(Failure::new(format!(
                "{} must end in .json, or Envoy reads it as something else",
                to.display()
            )));
        }
        Ok(Self {
            from: relative(from, &folder)?,
            to: relative(to, &folder)?,
            provider,
            folder,
        })
    }

    /// From the key file's `publish`.
    pub fn read(key_file: &Path, written: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| written.get(name).and_then(Value::as_str);
        let known = |o: &Map<String, Value>| {
            o.keys()
                .all(|k| ["from", "to", "provider"].contains(&k.as_str()))
        };
        match (
            text("from"),
            text("to"),
            written.as_object().is_some_and(known),
        ) {
            (Some(from), Some(to), true) => Ok(Self {
                from: from.into(),
                to: to.into(),
                provider: text("provider").map(str::to_owned),
                folder: folder(key_file),
            }),
            _ => Err("`publish` must have `from` and `to`, and may have `provider`"),
        }
    }

    /// As [`Self::read`] reads it.
    pub fn to_json(&self) -> Value {
        let mut out = json!({"from": self.from, "to": self.to});
        if let Some(provider) = &self.provider {
            super::record::set(&mut out, "provider", json!(provider));
        }
        out
    }

    /// The settings of the provider, in the template.
    pub fn settings(&self) -> Result<Map<String, Value>, Failure> {
        let mut template = self.template()?;
        let plugin = plugin(&mut template).map_err(|e| self.fault(e))?;
        let provider = self.provider(&mut plugin.value.clone())?.clone();
        Ok(provider
            .get("settings")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default())
    }

    /// The template with the keys in it, checked as the filter checks it.
    pub fn render(&self, keys: &[Value]) -> Result<Rendered, Failure> {
        let mut template = self.template()?;
        let found = plugin(&mut template).map_err(|e| self.fault(e))?;
        let mut plugin = found.value;
        let provider = self.provider(&mut plugin)?;
        let settings = provider
            .as_object_mut()
            .ok_or_else(|| self.fault("the provider is no map"))?
            .entry("settings")
            .or_insert_with(|| json!({}));
        if settings.get("keys").is_some() {
            return Err(self.fault("the provider has `keys` of its own; take them out"));
        }
        super::record::set(settings, "keys", json!(keys));
        let text = plugin.to_string();
        let loaded = document::load(&text, found.config.as_ref());
        match loaded.outcome {
            Err(errors) => {
                let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
                return Err(self.fault(&lines.join("\n")));
            }
            Ok((_, warnings)) => {
                for warning in warnings {
                    output::message("warning", &format!("{}: {warning}", self.from.display()));
                }
            }
        }
        let version = config::version(text.as_bytes());
        let document = match found.place {
            None => plugin,
            Some(place) => {
                if let Some(any) = template.pointer_mut(&place) {
                    *any = json!({"@type": STRING, "value": text});
                }
                super::record::set(&mut template, "version_info", json!(version));
                template
            }
        };
        let from = self.folder.join(&self.from);
        // Who may read the template may read what is made of it.
        let mode = std::fs::metadata(&from).map_or(0o600, |m| m.permissions().mode() & 0o777);
        Ok(Rendered {
            text: format!("{document:#}\n"),
            mode,
            to: self.folder.join(&self.to),
        })
    }

    fn fault(&self, words: &str) -> Failure {
        Failure::new(format!("{}: {words}", self.from.display()))
    }

    fn template(&self) -> Result<Value, Failure> {
        let text = std::fs::read_to_string(self.folder.join(&self.from))
            .map_err(|e| self.fault(&e.to_string()))?;
        document::parse(&text).map_err(|e| self.fault(&e.to_string()))
    }

    fn provider<'v>(&self, plugin: &'v mut Value) -> Result<&'v mut Value, Failure> {
        let providers = plugin
            .pointer_mut("/auth/providers")
            .and_then(Value::as_array_mut)
            .ok_or_else(|| self.fault("has no `auth.providers`"))?;
        let mut fitting: Vec<&mut Value> = providers
            .iter_mut()
            .filter(|p| p.get("type").and_then(Value::as_str) == Some("api_key"))
            .filter(|p| match &self.provider {
                Some(name) => p.get("name").and_then(Value::as_str) == Some(name),
                None => true,
            })
            .collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(provider), true) => Ok(provider),
            (None, _) => Err(self.fault("has no such provider of type `api_key`")),
            (Some(_), false) => Err(self.fault(
                "has more than one provider of type `api_key`; say which with `provider` in the key file",
            )),
        }
    }
}

impl Rendered {
    /// Writes it, by rename.
    pub fn write(&self) -> Result<(), Failure> {
        replace(&self.to, self.text.as_bytes(), self.mode).map_err(Failure::new)
    }
}

/// The plugin configuration of a template.
struct Plugin {
    value: Value,
    /// The `configuration` of Envoy's resource, as a JSON pointer; `None` where the template is the plugin configuration alone.
    place: Option<String>,
    /// Envoy's `PluginConfig`.
    config: Option<Value>,
}

fn plugin(template: &mut Value) -> Result<Plugin, &'static str> {
    if template.get("auth").is_some() {
        return Ok(Plugin {
            value: template.clone(),
            place: None,
            config: None,
        });
    }
    if !template.get("resources").is_some_and(Value::is_array) {
        return Err("is neither a plugin configuration nor a file with Envoy `resources`");
    }
    let mut found = Vec::new();
    walk(template, &mut String::new(), &mut found);
    let ours = found.into_iter().filter_map(|place| {
        let config = template.pointer(&place)?;
        let any = config.get("configuration")?;
        let value = match any.get("@type")?.as_str()? {
            STRUCT => any.get("value")?.clone(),
            STRING => document::parse(any.get("value")?.as_str()?).ok()?,
            _ => return None,
        };
        value.get("auth")?;
        Some(Plugin {
            value,
            place: Some(format!("{place}/configuration")),
            config: Some(config.clone()),
        })
    });
    match ours.collect::<Vec<_>>() {
        mut one if one.len() == 1 => one.pop().ok_or("has no filter"),
        none if none.is_empty() => Err("has no Wasm filter with a configuration of this program's"),
        _ => Err("has more than one filter; keep a template for each"),
    }
}

/// The places of all `PluginConfig`s.
fn walk(value: &Value, place: &mut String, found: &mut Vec<String>) {
    let length = place.len();
    match value {
        Value::Object(object) => {
            if object.get("@type").and_then(Value::as_str) == Some(WASM) {
                found.push(format!("{place}/config"));
                return;
            }
            for (key, value) in object {
                place.push('/');
                place.push_str(&key.replace('~', "~0").replace('/', "~1"));
                walk(value, place, found);
                place.truncate(length);
            }
        }
        Value::Array(list) => {
            for (i, value) in list.iter().enumerate() {
                place.push_str(&format!("/{i}"));
                walk(value, place, found);
                place.truncate(length);
            }
        }
        _ => {}
    }
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A path as it is written in a file of that folder: relative where both are in it, so that the folder can be moved.
fn relative(path: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let fault = |e: std::io::Error| Failure::new(format!("{}: {e}", path.display()));
    let folder = folder.canonicalize().map_err(fault)?;
    let parent = self::folder(path).canonicalize().map_err(fault)?;
    let whole = parent.join(path.file_name().unwrap_or_default());
    Ok(match whole.strip_prefix(&folder) {
        Ok(inside) => inside.to_owned(),
        Err(_) => whole,
    })
}
