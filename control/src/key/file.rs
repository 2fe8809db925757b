//! The key file: `{"publish": {"from", "to", "provider"}, "keys": [records]}`.
//!
//! It is written by rename, so whoever reads it sees all of it or nothing, and only its owner can read it. From opening to
//! dropping a lock on its folder keeps other runs of this program out: of two that revoke at once neither may lose.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use portcullis_core::config;
use serde_json::{Map, Value, json};

use super::Failure;
use super::publish::Target;
use super::record;

/// An opened key file.
pub struct KeyFile {
    path: PathBuf,
    target: Option<Target>,
    /// The records, in the order they were made.
    pub keys: Vec<Value>,
    _lock: File,
}

/// Why a change did not get to where it belongs.
pub enum StoreError {
    /// Nothing was changed.
    NotStored(Failure),
    /// The key file has the change, but Envoy does not.
    NotPublished(Failure),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotStored(failure) => failure,
            StoreError::NotPublished(Self(words)) => Self(format!(
                "the change is stored, but not published: {words}; `portcullis key publish` tries again"
            )),
        }
    }
}

impl KeyFile {
    /// A new file, which must not be there yet.
    pub fn create(path: &Path, target: Option<Target>) -> Result<Self, Failure> {
        let lock = lock(path)?;
        if path.exists() {
            return Err(Failure::new(format!("{} is there already", path.display())));
        }
        Ok(Self {
            path: path.to_owned(),
            target,
            keys: Vec::new(),
            _lock: lock,
        })
    }

    /// Reads a file; one that is not there is empty.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        // A link is followed, so that the file is written where it lies.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let lock = lock(&path)?;
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => "{\"keys\": []}".to_owned(),
            Err(e) => return Err(Failure::new(format!("{}: {e}", path.display()))),
        };
        let fault = |words: &str| Failure::new(format!("{}: {words}", path.display()));
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| fault(&format!("is not JSON from line {} on", e.line())))?;
        let Value::Object(mut object) = value else {
            return Err(fault("must be a map with `keys`"));
        };
        let keys = match object.remove("keys") {
            Some(Value::Array(keys)) => keys,
            _ => return Err(fault("must have a list of `keys`")),
        };
        let target = match object.remove("publish") {
            None => None,
            Some(written) => Some(Target::read(&path, &written).map_err(fault)?),
        };
        if let Some(name) = object.keys().next() {
            return Err(fault(&format!(
                "{name:?} is unknown; known here: publish, keys"
            )));
        }
        let file = Self {
            path: path.clone(),
            target,
            keys,
            _lock: lock,
        };
        file.check()?;
        Ok(file)
    }

    /// The filter's own opinion of the records.
    fn check(&self) -> Result<(), Failure> {
        let text = Value::Array(self.keys.clone()).to_string();
        match config::load_keys(&text) {
            Ok(_) => Ok(()),
            Err(errors) => {
                let lines: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
                Err(Failure::new(lines.join("\n")))
            }
        }
    }

    /// The settings of the provider that the keys go to; empty where they go nowhere.
    pub fn settings(&self) -> Result<Map<String, Value>, Failure> {
        self.target
            .as_ref()
            .map_or_else(|| Ok(Map::new()), Target::settings)
    }

    /// The record of an id.
    pub fn find(&self, id: &str) -> Option<&Value> {
        self.keys.iter().find(|r| record::text(r, "id") == id)
    }

    /// The record of an id, or of a whole key.
    pub fn get(&self, id: &str) -> Result<&Value, Failure> {
        let id = id_of(id);
        self.find(id).ok_or_else(|| unknown(id))
    }

    /// Changes a record and returns it.
    pub fn change(&mut self, id: &str, change: impl FnOnce(&mut Value)) -> Result<Value, Failure> {
        let id = id_of(id);
        let record = self
            .keys
            .iter_mut()
            .find(|r| record::text(r, "id") == id)
            .ok_or_else(|| unknown(id))?;
        change(record);
        Ok(record.clone())
    }

    /// Writes the file, and what Envoy watches. What Envoy would refuse is not even stored.
    pub fn store(&self) -> Result<(), StoreError> {
        self.check().map_err(StoreError::NotStored)?;
        let rendered = match &self.target {
            Some(target) => Some(target.render(&self.keys).map_err(StoreError::NotStored)?),
            None => None,
        };
        let mut value = Map::new();
        if let Some(target) = &self.target {
            value.insert("publish".to_owned(), target.to_json());
        }
        value.insert("keys".to_owned(), json!(self.keys));
        let text = format!("{:#}\n", Value::Object(value));
        replace(&self.path, text.as_bytes(), 0o600)
            .map_err(|e| StoreError::NotStored(Failure::new(e)))?;
        match rendered {
            Some(rendered) => rendered.write().map_err(StoreError::NotPublished),
            None => Ok(()),
        }
    }

    /// Writes what Envoy watches; where that is.
    pub fn publish(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(target) = &self.target else {
            return Ok(None);
        };
        let rendered = target.render(&self.keys)?;
        rendered.write()?;
        Ok(Some(rendered.to))
    }
}

/// The id in a whole key, or what is an id already.
fn id_of(text: &str) -> &str {
    text.split('_').nth(1).unwrap_or(text)
}

fn unknown(id: &str) -> Failure {
    // Whoever mistyped a whole key must not find it in a log.
    let shown: String = id.chars().take(12).collect();
    Failure::new(format!("there is no key {shown:?} in the file"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let folder = folder(path);
    let fault = |e: std::io::Error| Failure::new(format!("{}: {e}", folder.display()));
    // The folder's, since the file is another one after each change.
    let file = File::open(folder).map_err(fault)?;
    file.lock().map_err(fault)?;
    Ok(file)
}

/// Puts a file in the place of another in one step; after a crash there is the one or the other.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = folder(path);
    let temporary = folder.join(format!(".{name}.{}", std::process::id()));
    let write = || {
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        // The mode as it was asked for, whatever the umask.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|e: std::io::Error| {
        let _ = std::fs::remove_file(&temporary);
        format!("{}: {e}", path.display())
    })
}
