//! One configuration from two: that of the VM and that of the plugin.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::Value;

use super::error::{ConfigErrors, Problem};
use super::json;
use super::raw::Config;
use super::read::{Errors, Path, wrong_type};

/// The configuration that a VM configuration and a plugin configuration are together: the blocks of both. No block may stand in both,
/// so there is no order to remember, and neither can weaken the other. One of them alone is taken as it is.
///
/// # Errors
///
/// What is wrong with either as JSON, and every block that stands in both.
pub fn merge<'t>(vm: &'t [u8], plugin: &'t [u8]) -> Result<Cow<'t, [u8]>, ConfigErrors> {
    let empty = |text: &[u8]| text.iter().all(u8::is_ascii_whitespace);
    if empty(vm) {
        return Ok(Cow::Borrowed(plugin));
    }
    if empty(plugin) {
        return Ok(Cow::Borrowed(vm));
    }
    let mut errors = Errors::default();
    let of_vm = blocks(vm, &mut errors);
    for block in blocks(plugin, &mut errors).intersection(&of_vm) {
        errors.push(&Path::ROOT.key(block), Problem::InBoth);
    }
    if !errors.is_empty() {
        return Err(ConfigErrors(errors.into_vec()));
    }
    // As they are written: what reads the whole afterwards sees all that is wrong with either.
    let mut whole = b"{".to_vec();
    for part in [vm, plugin].map(inside).into_iter().filter(|p| !empty(p)) {
        if whole.len() > 1 {
            whole.push(b',');
        }
        whole.extend_from_slice(part);
    }
    whole.push(b'}');
    Ok(Cow::Owned(whole))
}

/// The names of a configuration's blocks.
fn blocks(text: &[u8], errors: &mut Errors) -> BTreeSet<String> {
    match json::parse(text, errors) {
        None => BTreeSet::new(),
        Some(Value::Object(object)) => object.into_iter().map(|(name, _)| name).collect(),
        Some(other) => {
            let _: Option<Config> = wrong_type(&other, &Path::ROOT, errors);
            BTreeSet::new()
        }
    }
}

/// What stands between the braces of an object.
fn inside(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"{").unwrap_or_default();
    text.strip_suffix(b"}").unwrap_or_default()
}
