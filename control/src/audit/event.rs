//! One line of a log, and the audit event in it.

use std::borrow::Cow;

use serde::Deserialize;

/// An audit event (`src/audit.rs` writes them): what is read of it. A field that an event lacks is empty.
#[derive(Deserialize)]
pub struct Event<'a> {
    /// RFC 3339 in UTC with milliseconds, so that text compares as time does.
    #[serde(borrow)]
    pub ts: Cow<'a, str>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    pub fields: Fields<'a>,
}

#[derive(Deserialize)]
pub struct Fields<'a> {
    #[serde(borrow, default)]
    pub method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub path: Cow<'a, str>,
    #[serde(borrow, default)]
    pub provider: Cow<'a, str>,
    #[serde(borrow, default)]
    pub provider_name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub user_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub email: Cow<'a, str>,
    #[serde(borrow, default)]
    pub reason: Cow<'a, str>,
    #[serde(borrow, default)]
    pub code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub remote_addr: Cow<'a, str>,
    #[serde(borrow, default)]
    pub agent: Cow<'a, str>,
    #[serde(borrow, default)]
    pub key_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub claims: Claims<'a>,
}

#[derive(Default, Deserialize)]
pub struct Claims<'a> {
    /// The calling application (`azure_ad`).
    #[serde(borrow, default)]
    pub app: Cow<'a, str>,
}

/// Why a line has no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoEvent {
    /// Empty, or a line of Envoy's own log that is about something else.
    Other,
    /// With the reason, which quotes nothing of the line: callers write parts of it.
    Bad(&'static str),
}

/// What every event begins with.
const START: &[u8] = br#"{"ts":""#;

impl<'a> Event<'a> {
    /// Reads a line, with whatever stands before the event.
    pub fn parse(line: &'a [u8]) -> Result<Self, NoEvent> {
        let line = line.trim_ascii();
        let json = if line.starts_with(START) {
            line
        } else {
            match memchr::memmem::find(line, START).and_then(|at| line.get(at..)) {
                Some(json) => json,
                None if line.is_empty() || line.starts_with(b"[") => return Err(NoEvent::Other),
                None => return Err(NoEvent::Bad("no audit event")),
            }
        };
        let event: Self = serde_json::from_slice(json).map_err(|error| {
            NoEvent::Bad(match error.classify() {
                serde_json::error::Category::Eof => "an audit event that is cut off",
                serde_json::error::Category::Data => "JSON, but no audit event",
                _ => "not JSON",
            })
        })?;
        if matches!(&*event.event, "auth_verify" | "auth_fail") {
            Ok(event)
        } else {
            Err(NoEvent::Bad("an event of another kind"))
        }
    }

    pub fn is_refusal(&self) -> bool {
        self.event == "auth_fail"
    }
}

/// Text of a caller's, fit for a terminal: without what could move its cursor or hide a line.
pub fn plain(text: &str) -> Cow<'_, str> {
    // Beside control characters, those that turn the direction of what follows.
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if odd(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"ts":"2026-11-22T17:00:00.000Z","event":"auth_fail","seq":1,"fields":{"code":"expired","path":"/a\"b"}}"#;

    #[test]
    fn clean_and_behind_a_prefix() {
        for before in [
            "",
            "[2026-11-22 17:00:00.123][42][info][wasm] [source/extensions/common/wasm/context.cc:1198] wasm log portcullis: ",
            "2026-11-22T17:00:00.123456789Z stdout F ",
        ] {
            for after in ["", "\r", " "] {
                let line = format!("{before}{LINE}{after}");
                let event = Event::parse(line.as_bytes()).ok().unwrap();
                assert_eq!(
                    (&*event.fields.code, &*event.fields.path),
                    ("expired", "/a\"b")
                );
                assert!(event.is_refusal() && event.fields.user_id.is_empty());
            }
        }
    }

    #[test]
    fn what_is_none_is_said() {
        use NoEvent::{Bad, Other};
        for (line, said) in [
            ("", Other),
            ("[2026-11-22 17:00:00.123][42][info][main] starting", Other),
            ("garbage", Bad("no audit event")),
            (&LINE[..60], Bad("an audit event that is cut off")),
            (&LINE[20..], Bad("no audit event")),
            (&LINE.replace("\"seq\":1", "\"seq\":x"), Bad("not JSON")),
            (
                &LINE.replace("\"expired\"", "7"),
                Bad("JSON, but no audit event"),
            ),
            (
                &LINE.replace("auth_fail", "other"),
                Bad("an event of another kind"),
            ),
        ] {
            assert_eq!(Event::parse(line.as_bytes()).err(), Some(said), "{line}");
        }
        assert_eq!(
            Event::parse(b"{\"ts\":\"\xff\",\"event\":\"auth_fail\",\"fields\":{}}").err(),
            Some(Bad("not JSON"))
        );
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(
            plain("a\u{1b}[2Jb\n\u{202e}c"),
            "a\\u{1b}[2Jb\\u{a}\\u{202e}c"
        );
        assert!(matches!(plain("/rest/é"), Cow::Borrowed(_)));
    }
}
