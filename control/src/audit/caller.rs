//! What a caller is called in a picture or a table: the role and not its session, the service account and not its number.

use std::borrow::Cow;

use super::event::Fields;

/// Who was proven, as short as they can be told apart; none where nobody was.
///
/// An ARN gives its role or user (`arn:aws:sts::1:assumed-role/agent-orders/i-07` is `agent-orders`), a Google service account or a
/// verified user their e-mail address, an application its id. Everything else is its `user_id`.
pub fn name<'a>(fields: &'a Fields<'_>) -> Option<Cow<'a, str>> {
    let user = &*fields.user_id;
    if user.is_empty() {
        return None;
    }
    if let Some(resource) = resource(user) {
        let mut parts = resource.split('/');
        return Some(Cow::Borrowed(match parts.next() {
            Some("assumed-role") => parts.next().unwrap_or(resource),
            // Roles and users may have paths before their names.
            Some(_) => parts.next_back().unwrap_or(resource),
            None => resource,
        }));
    }
    if !fields.claims.app.is_empty() {
        return Some(Cow::Owned(format!("app {}", fields.claims.app)));
    }
    if fields.provider == "api_key" {
        return Some(Cow::Owned(format!("key {} ({user})", fields.key_id)));
    }
    Some(Cow::Borrowed(if fields.email.is_empty() {
        user
    } else {
        &fields.email
    }))
}

/// The agent that the caller is itself, if its name says so by beginning with `prefix`.
pub fn agent<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let own = name.strip_prefix(prefix).filter(|_| !prefix.is_empty())?;
    // agent-orders@project.iam.gserviceaccount.com
    let own = own.split('@').next().unwrap_or(own);
    (!own.is_empty()).then_some(own)
}

/// What an ARN names within its account.
fn resource(arn: &str) -> Option<&str> {
    arn.strip_prefix("arn:")?.splitn(5, ':').nth(4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn named(json: &str) -> Option<String> {
        let fields: Fields<'_> = serde_json::from_str(json).unwrap();
        name(&fields).map(Cow::into_owned)
    }

    #[test]
    fn short_names() {
        for (json, expected) in [
            (
                r#"{"user_id":"arn:aws:sts::111122223333:assumed-role/agent-orders/i-07"}"#,
                Some("agent-orders"),
            ),
            (
                r#"{"user_id":"arn:aws:iam::111122223333:user/people/alice"}"#,
                Some("alice"),
            ),
            (
                r#"{"user_id":"arn:aws-cn:iam::111122223333:root"}"#,
                Some("root"),
            ),
            (
                r#"{"user_id":"103","email":"agent-x@p.iam.gserviceaccount.com"}"#,
                Some("agent-x@p.iam.gserviceaccount.com"),
            ),
            (r#"{"user_id":"oid","claims":{"app":"a1"}}"#, Some("app a1")),
            (
                r#"{"user_id":"alice","provider":"api_key","key_id":"k1"}"#,
                Some("key k1 (alice)"),
            ),
            (
                r#"{"user_id":"repo:example/shop"}"#,
                Some("repo:example/shop"),
            ),
            ("{}", None),
        ] {
            assert_eq!(named(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn callers_that_are_agents() {
        for (name, prefix, expected) in [
            ("agent-orders", "agent-", Some("orders")),
            (
                "agent-orders@p.iam.gserviceaccount.com",
                "agent-",
                Some("orders"),
            ),
            ("batch", "agent-", None),
            ("agent-", "agent-", None),
            ("orders", "", None),
        ] {
            assert_eq!(agent(name, prefix), expected, "{name}");
        }
    }
}
