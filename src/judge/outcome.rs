//! From a judgement to a decision: headers, answers, audit events, counts.

use std::borrow::Cow;
use std::rc::Rc;

use super::{Inputs, Judge, Known};
use crate::answer;
use crate::apikey::KeyId;
use crate::audit::{AuditLine, Envelope, Fail, Verify};
use crate::credential::{Credential, KeyPlace};
use crate::decision::{Allow, Decision, Denial, Limited};
use crate::identity::Identity;
use crate::metrics::{self, Outcome, Tally};
use crate::provider::azure::graph::GroupsMissing;
use crate::reason::Code;

impl<'j> Judge<'j> {
    /// Lets a request in, if its key's rate limit does not say otherwise.
    pub(super) fn allow_within_limit(
        mut self,
        inputs: &Inputs<'_>,
        mut known: Known<'j>,
    ) -> Decision {
        let key_use = known.key_use.take();
        let (Some(limit), Some(provider), Some(id)) =
            (known.rate_limit, known.provider, known.key_id)
        else {
            if let Some(key_use) = key_use {
                key_use.ended(true);
            }
            return self.allow(inputs, Outcome::Allowed, known);
        };
        // One request, one number, whichever of the two events it will be.
        let seq = self.next_seq();
        Decision::Limited(Box::new(Limited {
            bucket: format!("portcullis.rate/{}/{id}", provider.name),
            limit,
            key_use,
            denial: self.denial(inputs, Code::RateLimited, known.clone(), seq),
            allow: self.allowed(inputs, Outcome::Allowed, known, Some(seq)),
        }))
    }

    pub(super) fn allow(
        mut self,
        inputs: &Inputs<'_>,
        outcome: Outcome,
        known: Known<'j>,
    ) -> Decision {
        Decision::Allow(self.allowed(inputs, outcome, known, None))
    }

    /// `seq` is the number of its audit event, if it has one already.
    pub(super) fn allowed(
        &mut self,
        inputs: &Inputs<'_>,
        outcome: Outcome,
        known: Known<'j>,
        seq: Option<u64>,
    ) -> Allow {
        let policy = &self.live.policy;
        let mut allow = Allow {
            remove: inputs
                .cleansing
                .remove
                .iter()
                .map(|name| Cow::Owned(name.clone()))
                .collect(),
            tally: Some(Tally {
                provider: known.provider.map(|p| p.name.clone()),
                outcome,
                cache: known.cache,
            }),
            identity_prefix: self.live.names.prefix.clone(),
            count: known.groups_missing.map(|_| metrics::Id::GroupsMissing),
            ..Allow::default()
        };
        match inputs.cleansing.connection.as_deref() {
            Some("") => allow.remove.push(Cow::Borrowed(b"connection")),
            Some(kept) => allow.set.push(("connection".into(), kept.into())),
            None => {}
        }
        if !policy.identity.forward_credentials {
            let authorization = Cow::Borrowed(b"authorization".as_slice());
            match inputs.credential {
                Ok(Credential::Bearer(_) | Credential::ApiKey(_, KeyPlace::Bearer)) => {
                    allow.remove.push(authorization);
                }
                // A presigned query stays: a path that lost its parameters is another path.
                Ok(Credential::Signed(_)) => {
                    let token = Cow::Borrowed(b"x-amz-security-token".as_slice());
                    allow.remove.extend([authorization, token]);
                }
                Ok(Credential::ApiKey(_, place)) => {
                    let name = policy.key_places.header(place).as_bytes();
                    allow.remove.push(Cow::Owned(name.to_vec()));
                }
                _ => {}
            }
        }
        if let (Some(identity), Some(provider)) = (&known.identity, known.provider) {
            let names = &self.live.names;
            // Room for all, made once.
            allow.set.reserve(8);
            let mut set = |name: &Rc<str>, value: Rc<str>| allow.set.push((name.clone(), value));
            set(&names.user_id, identity.user_id.clone());
            for (name, value) in [
                (&names.email, &identity.email),
                (&names.org_id, &identity.org_id),
                (&names.workspace_id, &identity.workspace_id),
                (&names.agent, &inputs.agent),
            ] {
                if let Some(value) = value {
                    set(name, value.clone());
                }
            }
            if !identity.groups().is_empty() {
                set(&names.groups, joined(identity.groups()).into());
            }
            set(&names.provider, provider.name.clone());
            if let Some(id) = &known.key_id {
                set(&names.key_id, id.as_str().into());
            }
        }
        if outcome != Outcome::Skipped {
            allow.audit = self.verify_line(inputs, &known, seq);
        }
        allow
    }

    pub(super) fn verify_line(
        &mut self,
        inputs: &Inputs<'_>,
        known: &Known<'j>,
        seq: Option<u64>,
    ) -> Option<AuditLine> {
        if self.live.policy.audit.sinks.is_empty() {
            return None;
        }
        let seq = seq.unwrap_or_else(|| self.next_seq());
        let identity = known.identity.as_deref();
        let event = Envelope {
            ts: self.now,
            seq,
            correlation_id: &self.request_id(inputs),
            org_id: identity.and_then(Identity::org_id).unwrap_or_default(),
            entity_id: inputs.agent.as_deref().unwrap_or_default(),
            fields: Verify {
                method: &inputs.method,
                path: &inputs.path,
                provider: known.provider.map_or("anonymous", |p| p.kind.type_name()),
                provider_name: known.provider.map_or("anonymous", |p| &p.name),
                user_id: identity.map(Identity::user_id).unwrap_or_default(),
                email: identity.and_then(Identity::email),
                org_id: identity.and_then(Identity::org_id),
                token_kind: known.token_kind.unwrap_or(inputs.token_kind).as_str(),
                groups_count: identity.map_or(0, |i| i.groups().len()),
                groups_missing: known.groups_missing.map(GroupsMissing::as_str),
                claims: &known.claims,
                remote_addr: inputs.remote_addr.as_deref(),
                agent: inputs.agent.as_deref(),
                key_id: known.key_id.as_ref().map(KeyId::as_str),
                config_version: &self.live.policy.version,
                cache: known.cache.as_str(),
            },
        };
        Some(event.line(&mut self.stores.audit_clock))
    }

    pub(super) fn deny(
        mut self,
        inputs: &Inputs<'_>,
        code: Code,
        mut known: Known<'j>,
    ) -> Decision {
        if let Some(key_use) = known.key_use.take() {
            key_use.ended(false);
        }
        let seq = self.next_seq();
        Decision::Deny(self.denial(inputs, code, known, seq))
    }

    /// `seq` is the number of its audit event.
    pub(super) fn denial(
        &mut self,
        inputs: &Inputs<'_>,
        code: Code,
        known: Known<'j>,
        seq: u64,
    ) -> Denial {
        let policy = &self.live.policy;
        let request_id = self.request_id(inputs);
        let audit = if policy.audit.sinks.is_empty() {
            None
        } else {
            let event = Envelope {
                ts: self.now,
                seq,
                correlation_id: &request_id,
                org_id: known
                    .identity
                    .as_deref()
                    .and_then(Identity::org_id)
                    .unwrap_or_default(),
                entity_id: inputs.agent.as_deref().unwrap_or_default(),
                fields: Fail {
                    reason: code.reason().as_str(),
                    code: code.as_str(),
                    token_kind: known.token_kind.unwrap_or(inputs.token_kind).as_str(),
                    method: &inputs.method,
                    path: &inputs.path,
                    remote_addr: inputs.remote_addr.as_deref(),
                    provider: known.provider.map(|p| p.kind.type_name()),
                    provider_name: known.provider.map(|p| &*p.name),
                    agent: inputs.agent.as_deref(),
                    key_id: known.key_id.as_ref().map(KeyId::as_str),
                    user_id: match &known.identity {
                        Some(identity) => Some(identity.user_id()),
                        None => known.refused.user_id.as_deref(),
                    },
                    email: match &known.identity {
                        Some(identity) => identity.email(),
                        None => known.refused.email.as_deref(),
                    },
                    claims: &known.claims,
                    unproven_subject: known.unproven_subject.as_deref(),
                    detail: known.detail.as_deref(),
                    config_version: &policy.version,
                    cache: known.cache.as_str(),
                },
            };
            Some(event.line(&mut self.stores.audit_clock))
        };
        let retry_after = known.retry_at.map(|at| at.since(self.now));
        let mut response =
            answer::response(code, policy.unavailable_status, retry_after, &request_id);
        if let Some(metadata) = &policy.resource_metadata {
            response.add_to_challenge(&metadata.challenge(inputs.challenged.as_deref()));
        }
        Denial {
            status: response.status,
            headers: response.headers,
            body: response.body,
            code,
            audit,
            tally: Some(Tally {
                provider: known.provider.map(|p| p.name.clone()),
                outcome: Outcome::Denied(code),
                cache: known.cache,
            }),
        }
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        match self.seq {
            Some(seq) => seq,
            None => self.stores.next_seq(),
        }
    }

    /// The proxy's request id, or one of our own where it has none.
    pub(super) fn request_id<'i>(&self, inputs: &'i Inputs<'_>) -> Cow<'i, str> {
        match &inputs.request_id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{:016x}-{}", self.stores.seed, self.stores.seq)),
        }
    }
}

/// Group names as one header value: separated by commas, with `%` and `,` in a name percent-encoded, so that no name
/// can pass for two.
fn joined(groups: &[String]) -> String {
    let mut out = String::new();
    for (i, group) in groups.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        for c in group.chars() {
            match c {
                '%' => out.push_str("%25"),
                ',' => out.push_str("%2C"),
                c => out.push(c),
            }
        }
    }
    out
}

/// The names of the identity headers under a policy's prefix, made once.
#[derive(Debug)]
pub(crate) struct HeaderNames {
    prefix: Rc<str>,
    user_id: Rc<str>,
    email: Rc<str>,
    org_id: Rc<str>,
    workspace_id: Rc<str>,
    groups: Rc<str>,
    provider: Rc<str>,
    agent: Rc<str>,
    key_id: Rc<str>,
}

impl HeaderNames {
    pub(crate) fn new(prefix: &str) -> Self {
        let name = |part: &str| Rc::from(format!("{prefix}{part}"));
        Self {
            prefix: prefix.into(),
            user_id: name("user-id"),
            email: name("email"),
            org_id: name("org-id"),
            workspace_id: name("workspace-id"),
            groups: name("groups"),
            provider: name("provider"),
            agent: name("agent"),
            key_id: name("key-id"),
        }
    }
}
