//! What people and machines do here, whether by the API or on the page: checked, done, audited, in one transaction each.

mod agents;
mod keys;
mod people;
mod tokens;

pub use self::agents::AgentDraft;
pub use self::keys::{KeyDraft, MadeKey, Revoked, RotateDraft};
pub use self::people::PersonDraft;
pub use self::tokens::{MadeToken, TokenDraft};

use std::sync::Arc;

use portcullis_core::apikey::record::Pepper;
use serde::de::DeserializeOwned;

use crate::access::Principal;
use crate::problem::{Fault, Problem};
use crate::store::{Store, Write};

/// How keys are made here.
#[derive(Clone, Debug)]
pub struct KeyForm {
    /// What a key begins with.
    pub prefix: String,
    /// What a service-account token begins with.
    pub service_prefix: String,
    /// With one, stored hashes are HMACs; the filters must have the same.
    pub pepper: Option<Pepper>,
    /// The longest life of a key in seconds, if it is bounded. Then no key lives for ever.
    pub max_life: Option<i64>,
}

/// The operations.
#[derive(Clone)]
pub struct Manage {
    /// Where it is all kept.
    pub store: Store,
    form: Arc<KeyForm>,
}

/// What an operation answers.
pub type Done<T> = Result<T, Problem>;

/// A request that can be sent again without being done again.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The digest of the caller's key.
    pub key_hash: String,
    /// The digest of the request.
    pub request_hash: String,
}

/// The answer to a request that may have been sent before.
pub enum Answer<T> {
    /// It was done now.
    New(T),
    /// It was done before, and this was answered, without the secret.
    Again(serde_json::Value),
}

impl Manage {
    /// With that database.
    pub fn new(store: Store, form: KeyForm) -> Self {
        Self {
            store,
            form: Arc::new(form),
        }
    }

    /// Begins a change by someone who may change things.
    async fn begin(&self, by: &Principal) -> Done<Write> {
        if by.read_only {
            return Err(Problem::Forbidden(
                "this token may look, and change nothing",
            ));
        }
        Ok(self.store.begin(&by.actor()).await?)
    }
}

/// What was answered when this very request came before.
async fn replay<T: DeserializeOwned>(
    write: &mut Write,
    by: &Principal,
    key: Option<&Idempotency>,
) -> Done<Option<T>> {
    let Some(key) = key else { return Ok(None) };
    match write.answered(&by.person, &key.key_hash).await? {
        None => Ok(None),
        Some((request, _, _)) if request != key.request_hash => Err(Problem::KeyReused),
        Some((_, _, body)) => Ok(serde_json::from_str(&body).ok()),
    }
}

/// Remembers what is answered, which must hold no secret.
async fn remember(
    write: &mut Write,
    by: &Principal,
    key: Option<&Idempotency>,
    answer: &serde_json::Value,
) -> Done<()> {
    if let Some(key) = key {
        write
            .remember_answer(
                &by.person,
                &key.key_hash,
                &key.request_hash,
                201,
                answer.to_string(),
            )
            .await?;
    }
    Ok(())
}

/// Text of people: no control characters, at most `max` bytes, nothing around it. Empty is none.
fn plain(
    field: &'static str,
    text: Option<&str>,
    max: usize,
    faults: &mut Vec<Fault>,
) -> Option<String> {
    let text = text?.trim();
    if text.is_empty() {
        return None;
    }
    if text.len() > max {
        faults.push(Fault::new(field, format!("is longer than {max} bytes")));
    }
    if text.chars().any(char::is_control) {
        faults.push(Fault::new(field, "holds a control character"));
    }
    Some(text.to_owned())
}

/// The longest name of a person, a workspace, an organisation; the filter's bound.
const MAX_NAME: usize = 256;
