//! `github_actions`: the ID token of one job of a GitHub Actions workflow (GitHub Docs, "OpenID Connect reference").
//!
//! Rules look at the claims that say one thing each, never at `sub`, whose form each organisation may choose. `sub` must agree with
//! them all the same.

use crate::audit::AuditClaims;
use crate::claims::Claims;
use crate::glob::Globs;
use crate::identity::{Identity, Refused, is_part};
use crate::jose::{Algorithm, Jwk, KeyUse};
use crate::policy::{GithubPolicy, KeyOrigin};
use crate::provider::jwt::{JwtRules, check_use};
use crate::provider::validity::Validity;
use crate::reason::Code;

/// The issuer for repositories on github.com.
pub const ISSUER: &str = "https://token.actions.githubusercontent.com";

impl JwtRules for GithubPolicy {
    fn keys(&self) -> &KeyOrigin {
        &self.keys
    }

    fn issuer(&self) -> Option<&str> {
        Some(&self.issuer)
    }

    fn audiences(&self) -> &[String] {
        &self.audiences
    }

    fn check_key(&self, key: &Jwk, _: Algorithm, _: &Claims) -> Result<(), Code> {
        check_use(key, KeyUse::Signature)
    }

    fn validity(&self, claims: &Claims) -> Result<Validity, Code> {
        Validity::of(claims, self.clock_skew, false)
    }

    fn judge(&self, claims: &Claims) -> Result<Identity, Code> {
        if !self.is_for_us(claims) {
            return Err(Code::AudienceMismatch);
        }
        let subject = claims.subject().ok_or(Code::MissingSubject)?;
        let repository = claims
            .text("repository")
            .filter(|r| is_part(r))
            .ok_or(Code::MissingSubject)?;
        let owner = match repository.split_once('/') {
            Some((owner, name)) if !owner.is_empty() && !name.is_empty() && !name.contains('/') => {
                owner
            }
            _ => return Err(Code::MalformedClaims),
        };
        if !agrees(subject, repository, claims) || claims.text("repository_owner") != Some(owner) {
            return Err(Code::SubjectMismatch);
        }
        let listed = |ids: &[String], name| {
            ids.is_empty()
                || claims
                    .text(name)
                    .is_some_and(|id| ids.iter().any(|i| i == id))
        };
        if !matches(&self.repositories, Some(repository))
            || !listed(&self.repository_ids, "repository_id")
            || !listed(&self.owner_ids, "repository_owner_id")
        {
            return Err(Code::RepositoryNotAllowed);
        }
        for (globs, value, code) in [
            (&self.refs, claims.text("ref"), Code::RefNotAllowed),
            (
                &self.environments,
                claims.text("environment"),
                Code::EnvironmentNotAllowed,
            ),
            (&self.workflows, workflow(claims), Code::WorkflowNotAllowed),
            (
                &self.events,
                claims.text("event_name"),
                Code::EventNotAllowed,
            ),
        ] {
            if !matches(globs, value) {
                return Err(code);
            }
        }
        Ok(Identity {
            user_id: format!("repo:{repository}").into(),
            email: None,
            org_id: Some(owner.into()),
            workspace_id: None,
            groups: Vec::new(),
        })
    }

    fn refused(&self, claims: &Claims) -> Refused {
        let repository = claims.text("repository").map(|r| format!("repo:{r}"));
        Refused::new(repository.as_deref().or_else(|| claims.subject()), None)
    }

    fn audit_claims(&self, claims: &Claims) -> AuditClaims {
        let mut out = AuditClaims::default();
        out.add("repository_id", claims.text("repository_id"));
        out.add("ref", claims.text("ref"));
        out.add("workflow", workflow(claims));
        out.add("run_id", claims.text("run_id"));
        out.add("actor", claims.text("actor"));
        out.add("event_name", claims.text("event_name"));
        out.add("environment", claims.text("environment"));
        out
    }
}

/// The file whose steps the job runs: the reusable workflow's where it is one, else the workflow's own. Never either of
/// two: a caller of a trusted reusable workflow is not that workflow, and a trusted workflow may call a foreign one.
fn workflow(claims: &Claims) -> Option<&str> {
    if claims.has("job_workflow_ref") {
        claims.text("job_workflow_ref")
    } else {
        claims.text("workflow_ref")
    }
}

/// Without a list anything goes; with one, what is missing does not.
fn matches(globs: &Option<Globs>, value: Option<&str>) -> bool {
    globs
        .as_ref()
        .is_none_or(|globs| value.is_some_and(|v| globs.is_match(v)))
}

/// Whether `sub` tells of the same repository, and of the same ref or environment, as the claims of their own do.
///
/// `repo:OWNER/NAME:CONTEXT`, or `repo:OWNER@OWNER_ID/NAME@REPOSITORY_ID:CONTEXT` in repositories of July 2026 and later. An
/// organisation may have subjects of another form; they start with another claim's name and are not looked into.
fn agrees(subject: &str, repository: &str, claims: &Claims) -> bool {
    let Some(rest) = subject.strip_prefix("repo:") else {
        return true;
    };
    let (named, context) = rest.split_once(':').unwrap_or((rest, ""));
    let Some((owner, name)) = named.split_once('/') else {
        return false;
    };
    let mut plain = String::new();
    for (part, id, separator) in [
        (owner, "repository_owner_id", "/"),
        (name, "repository_id", ""),
    ] {
        // Neither owners nor repositories can have an `@` in their names.
        let part = match part.split_once('@') {
            Some((part, number)) if claims.text(id) == Some(number) => part,
            Some(_) => return false,
            None => part,
        };
        plain.push_str(part);
        plain.push_str(separator);
    }
    plain.eq_ignore_ascii_case(repository)
        && match context.split_once(':') {
            Some(("ref", named)) => same(named, claims.text("ref")),
            Some(("environment", named)) => same(named, claims.text("environment")),
            _ => true,
        }
}

/// A value within `sub`: colons are written `%3A`, and further claims may follow behind one.
fn same(within: &str, claim: Option<&str>) -> bool {
    claim.is_some_and(|claim| {
        [claim.to_owned(), claim.replace(':', "%3A")]
            .iter()
            .any(|c| {
                within
                    .strip_prefix(c.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            })
    })
}
