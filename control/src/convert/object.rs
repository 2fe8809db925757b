//! A map of which every key is either taken or reported.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Said;

/// A protobuf message as YAML: keys may be snake_case or camelCase.
pub struct Object<'v> {
    pub path: String,
    map: Option<&'v Map<String, Value>>,
    taken: BTreeSet<&'v str>,
}

impl<'v> Object<'v> {
    /// What is no map is reported, and has no keys.
    pub fn new(value: &'v Value, path: String, said: &mut Said) -> Self {
        let map = value.as_object();
        if map.is_none() {
            said.lost(path.clone(), "is not a map");
        }
        Self {
            path,
            map,
            taken: BTreeSet::from(["@type"]),
        }
    }

    pub fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of a key, by its snake_case name.
    pub fn take(&mut self, key: &str) -> Option<&'v Value> {
        let (found, value) = self
            .map?
            .iter()
            .find(|(k, _)| k.as_str() == key || snake(k) == key)?;
        self.taken.insert(found);
        Some(value)
    }

    /// Text; anything else is reported.
    pub fn text(&mut self, key: &str, said: &mut Said) -> Option<&'v str> {
        let value = self.take(key)?;
        let text = value.as_str();
        if text.is_none() {
            said.lost(self.at(key), "is not text");
        }
        text
    }

    /// A flag; anything else is reported.
    pub fn flag(&mut self, key: &str, said: &mut Said) -> bool {
        match self.take(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                said.lost(self.at(key), "is neither true nor false");
                false
            }
        }
    }

    /// The items of a list, with their paths.
    pub fn list(&mut self, key: &str, said: &mut Said) -> Vec<(String, &'v Value)> {
        let at = self.at(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(i, item)| (format!("{at}[{i}]"), item))
                .collect(),
            Some(_) => {
                said.lost(at, "is not a list");
                Vec::new()
            }
        }
    }

    /// Reports a key that has no counterpart, if it is there.
    pub fn lose(&mut self, key: &str, why: &str, said: &mut Said) {
        if self.take(key).is_some() {
            said.lost(self.at(key), why);
        }
    }

    /// Reports all keys that nobody took.
    pub fn end(self, said: &mut Said) {
        for key in self.map.into_iter().flat_map(Map::keys) {
            if !self.taken.contains(key.as_str()) {
                said.lost(self.at(key), "nothing here knows this key");
            }
        }
    }
}

/// `remoteJwks` as `remote_jwks`.
fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
