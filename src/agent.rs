//! Which agent a request is for.

use std::rc::Rc;

use crate::policy::AgentResolver;
use crate::request::RequestHead;

impl AgentResolver {
    /// The agent's name, or `None` when the request names none in a way that every server on its path
    /// would read alike. Providers that are bound to agents refuse a request without one.
    ///
    /// `canonical` is [`crate::request::canonical_path`] of the request's path.
    pub fn resolve(&self, head: &RequestHead<'_>, canonical: Option<&str>) -> Option<Rc<str>> {
        let name = match self {
            Self::None => return None,
            Self::Fixed(name) => return Some(name.clone()),
            Self::Path { before, after } => {
                let mut segments = canonical?.split('/').skip(1);
                for literal in before {
                    if segments.next()? != literal {
                        return None;
                    }
                }
                let name = segments.next()?;
                for literal in after {
                    if segments.next()? != literal {
                        return None;
                    }
                }
                name.to_owned()
            }
            Self::Host { prefix, suffix } => {
                let host = std::str::from_utf8(head.authority).ok()?;
                let host = match host.rsplit_once(':') {
                    Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
                    _ => host,
                };
                // A second spelling of a host is its case; agents named by host are lower case.
                let host = host.to_ascii_lowercase();
                let name = host
                    .strip_prefix(prefix.as_str())?
                    .strip_suffix(suffix.as_str())?;
                if name.contains('.') {
                    return None;
                }
                name.to_owned()
            }
            Self::Header(name) => head.only_value(name)?.to_owned(),
        };
        is_agent_name(&name).then(|| name.into())
    }
}

/// `[A-Za-z0-9._~-]{1,128}`, and not a dot segment: a name that no server decodes into another one.
pub fn is_agent_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'~' | b'-'))
        && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::canonical_path;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn resolve(
        resolver: &AgentResolver,
        path: &str,
        authority: &str,
        headers: &[(&str, &str)],
    ) -> Option<String> {
        let headers: Vec<(&[u8], &[u8])> = headers
            .iter()
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect();
        let head = RequestHead {
            method: b"GET",
            path: path.as_bytes(),
            authority: authority.as_bytes(),
            headers: &headers,
            remote_addr: None,
        };
        let canonical = canonical_path(head.raw_path());
        resolver
            .resolve(&head, canonical.as_deref())
            .map(|n| n.to_string())
    }

    #[test]
    fn by_path() {
        let rest = AgentResolver::Path {
            before: vec!["rest".into()],
            after: vec![],
        };
        for (path, agent) in [
            ("/rest/orders", Some("orders")),
            ("/rest/orders/", Some("orders")),
            ("/rest/orders/x/y?agent=fraud", Some("orders")),
            ("/rest/%6frders", Some("orders")),
            ("/rest/", None),
            ("/rest", None),
            ("/REST/orders", None),
            ("/rest//orders", None),
            ("/rest/fraud/../orders", None),
            ("/rest/orders%2f..%2ffraud", None),
            ("/rest/orders;x", None),
            ("/rest/ord%20ers", None),
            ("/x/rest/orders", None),
        ] {
            assert_eq!(resolve(&rest, path, "h", &[]).as_deref(), agent, "{path}");
        }
        let tail = AgentResolver::Path {
            before: vec!["a".into()],
            after: vec!["run".into()],
        };
        assert_eq!(
            resolve(&tail, "/a/orders/run/1", "h", &[]).as_deref(),
            Some("orders")
        );
        assert_eq!(resolve(&tail, "/a/orders/stop", "h", &[]), None);
    }

    #[test]
    fn by_host() {
        let host = AgentResolver::Host {
            prefix: String::new(),
            suffix: ".agents.example.com".into(),
        };
        for (authority, agent) in [
            ("orders.agents.example.com", Some("orders")),
            ("ORDERS.Agents.example.com:8443", Some("orders")),
            ("a.b.agents.example.com", None),
            (".agents.example.com", None),
            ("agents.example.com", None),
            ("orders.agents.example.com.", None),
            ("orders.agents.example.com.evil.example", None),
        ] {
            assert_eq!(
                resolve(&host, "/", authority, &[]).as_deref(),
                agent,
                "{authority}"
            );
        }
    }

    #[test]
    fn by_header_and_fixed() {
        let header = AgentResolver::Header("x-agent-id".into());
        assert_eq!(
            resolve(&header, "/", "h", &[("X-Agent-Id", "orders")]).as_deref(),
            Some("orders")
        );
        assert_eq!(
            resolve(
                &header,
                "/",
                "h",
                &[("x-agent-id", "a"), ("x-agent-id", "b")]
            ),
            None
        );
        assert_eq!(resolve(&header, "/", "h", &[("x-agent-id", "a/b")]), None);
        assert_eq!(resolve(&header, "/", "h", &[]), None);
        assert_eq!(
            resolve(&AgentResolver::Fixed("one".into()), "/..", "h", &[]).as_deref(),
            Some("one")
        );
    }
}
