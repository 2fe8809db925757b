//! `docs/reasons.md` and `docs/metrics.md` say what the code says.
//!
//! `PORTCULLIS_WRITE_DOCS=1 cargo test -p portcullis-core --test reasons` writes them.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::panic, reason = "a test says what is wrong by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use portcullis_core::answer;
use portcullis_core::metrics;
use portcullis_core::reason::{Code, Reason};

fn reasons() -> String {
    let mut out = String::from(
        "# Reasons and codes\n\n\
         Every refused request has one `reason` and one finer `code`, in its audit event, in the metric\n\
         `portcullis.requests.<provider>.deny.<code>` and in Envoy's response details (`portcullis_<code>`). The caller sees\n\
         the status, the challenge and one message per reason, and nothing of the code: it would tell an attacker how far he got.\n\n\
         Names are stable; new ones may come.\n",
    );
    for reason in Reason::ALL {
        let codes: Vec<&Code> = Code::ALL.iter().filter(|c| c.reason() == reason).collect();
        let Some(first) = codes.first() else {
            let _ = write!(
                out,
                "\n## {reason}\n\nNo code yet: nothing in this version refuses a request for it.\n"
            );
            continue;
        };
        let response = answer::response(**first, 503, None, "…");
        let challenge = response
            .headers
            .iter()
            .find(|(name, _)| *name == "www-authenticate")
            .map_or(String::new(), |(_, value)| {
                format!(", `WWW-Authenticate: {value}`")
            });
        let retry = if response
            .headers
            .iter()
            .any(|(name, _)| *name == "retry-after")
        {
            ", `Retry-After`"
        } else {
            ""
        };
        let _ = write!(
            out,
            "\n## {reason}\n\n{}{challenge}{retry}. Body: `{}`\n\n| code | meaning |\n|---|---|\n",
            response.status, response.body
        );
        for code in codes {
            let _ = writeln!(out, "| `{code}` | {} |", code.meaning().trim());
        }
    }
    out.push_str(
        "\n`provider_unavailable` is answered with 401 and a bare challenge when `auth.unavailable_status` is 401.\n",
    );
    out
}

fn metrics() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Envoy shows them at `/stats` as `wasmcustom.<name>`, over all workers. `src/metrics.rs` holds the list.\n\n\
         One counter for each provider, outcome and code:\n\n\
         | name | when |\n|---|---|\n\
         | `portcullis.requests.<provider>.allow.ok` | let in with an identity |\n\
         | `portcullis.requests.none.allow.anonymous` | let through without a credential, because `auth.required` is false |\n\
         | `portcullis.requests.<provider>.deny.<code>` | refused; the provider is `none` when none had the last word ([codes](reasons.md)) |\n\n\
         And for all of them together:\n\n| name | kind | meaning |\n|---|---|---|\n",
    );
    for metric in metrics::LIST {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let _ = writeln!(out, "| `{}` | {kind} | {} |", metric.name, metric.help);
    }
    out
}

fn check(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(file);
    if std::env::var_os("PORTCULLIS_WRITE_DOCS").is_some() {
        assert!(
            std::fs::write(&path, wanted).is_ok(),
            "can't write {}",
            path.display()
        );
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/{file} is not what the code says; write it with PORTCULLIS_WRITE_DOCS=1 cargo test --test reasons"
    );
}

#[test]
fn reasons_are_documented() {
    check("reasons.md", &reasons());
}

#[test]
fn metrics_are_documented() {
    check("metrics.md", &metrics());
}
