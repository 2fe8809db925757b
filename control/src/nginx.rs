//! Plugin configurations in what nginx reads: `module` and `proxy_wasm` directives, and what has to stand around them.
//!
//! nginx itself looks at none of this before its workers start, and a worker that is not content takes the whole server down; so it is
//! checked here, in nginx's own syntax.

use std::collections::BTreeSet;

use portcullis_core::config::{self, INLINE_BYTES};

/// A directive: its words, and the blocks it stands in.
struct Directive {
    /// From 1.
    line: usize,
    /// The names of the blocks around it, the outermost first.
    blocks: Vec<String>,
    words: Vec<Word>,
}

struct Word {
    text: String,
    /// As it stands in the file: what nginx's own limit is about.
    written: usize,
    line: usize,
}

/// One `proxy_wasm` of the filter, or why there is none to check.
pub struct Plugin {
    /// `http.server.location, line 12`.
    pub place: String,
    /// The text that the filter sees: the VM's blocks and the plugin's.
    pub text: Result<String, String>,
    /// What is missing around it, as far as this file tells.
    pub warnings: Vec<String>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Variables that the filter sets.
pub const VARIABLES: [&str; 10] = [
    "$portcullis_decision",
    "$portcullis_audit",
    "$portcullis_user_id",
    "$portcullis_email",
    "$portcullis_org_id",
    "$portcullis_workspace_id",
    "$portcullis_groups",
    "$portcullis_provider",
    "$portcullis_agent",
    "$portcullis_key_id",
];

/// Whether a text is an nginx configuration with Wasm in it.
pub fn is_nginx(text: &str) -> bool {
    let begins = |line: &str, word: &str| {
        let rest = line.trim_start().strip_prefix(word);
        rest.is_some_and(|r| r.starts_with([' ', '\t', '{']))
    };
    text.lines().any(|l| begins(l, "proxy_wasm"))
        || text.lines().any(|l| begins(l, "wasm")) && text.contains("module")
}

/// The filter's plugins in an nginx configuration.
///
/// # Errors
/// Why it can't be read, or that the filter is not in it.
pub fn plugins(text: &str) -> Result<Vec<Plugin>, String> {
    let directives = directives(text)?;
    let is = |d: &&Directive, name: &str| d.words.first().is_some_and(|w| w.text == name);
    let modules: Vec<&Directive> = directives.iter().filter(|d| is(d, "module")).collect();
    let ours: Vec<&&Directive> = {
        let named = |d: &&&Directive| {
            let mut words = d.words.iter().skip(1).take(2);
            words.any(|w| w.text.contains("portcullis"))
        };
        let named: Vec<_> = modules.iter().filter(named).collect();
        if named.is_empty() && modules.len() == 1 {
            modules.iter().collect()
        } else {
            named
        }
    };
    let mut found = Vec::new();
    for proxy_wasm in directives.iter().filter(|d| is(d, "proxy_wasm")) {
        let Some(name) = proxy_wasm.words.get(1) else {
            return Err(format!(
                "line {}: proxy_wasm names no module",
                proxy_wasm.line
            ));
        };
        let module = ours
            .iter()
            .find(|m| m.words.get(1).is_some_and(|w| w.text == name.text));
        // Its module may be in a file that this one is included by.
        if module.is_none() && !name.text.contains("portcullis") {
            continue;
        }
        found.push(plugin(&directives, module.map(|m| &***m), proxy_wasm));
    }
    if found.is_empty() {
        return Err(
            "is an nginx configuration without this filter; it needs a `module` in `wasm`, and a `proxy_wasm` with its name".to_owned(),
        );
    }
    Ok(found)
}

fn plugin(all: &[Directive], module: Option<&Directive>, proxy_wasm: &Directive) -> Plugin {
    let of_vm = module.and_then(|m| m.words.get(3));
    let own = proxy_wasm.words.get(2);
    let text = |word: Option<&Word>| word.map_or("", |w| &w.text).to_owned();
    let too_long = [of_vm, own]
        .into_iter()
        .flatten()
        .find(|w| w.written > INLINE_BYTES);
    let text = match too_long {
        Some(word) => Err(format!(
            "line {}: the parameter has {} bytes, and nginx takes at most about {INLINE_BYTES} in one; move blocks to the module's own configuration, and keys to a feed",
            word.line, word.written
        )),
        None => config::merge(text(of_vm).as_bytes(), text(own).as_bytes())
            .map_err(|errors| errors.to_string())
            .and_then(|text| String::from_utf8(text.into_owned()).map_err(|e| e.to_string())),
    };
    let mut notes = Vec::new();
    let includes: Vec<&str> = all
        .iter()
        .filter(|d| d.words.first().is_some_and(|w| w.text == "include"))
        .filter_map(|d| d.words.get(1).map(|w| w.text.as_str()))
        .collect();
    let mut warnings = Vec::new();
    if includes.is_empty() {
        warnings = missing(all, text.as_deref().unwrap_or_default());
    } else {
        notes.push(format!(
            "includes {}, which is not read; `nginx -T | portcullis check -` reads all of it, and looks for what must stand around the filter",
            includes.join(", ")
        ));
    }
    Plugin {
        place: format!("{}, line {}", proxy_wasm.blocks.join("."), proxy_wasm.line),
        text,
        warnings,
        notes,
    }
}

/// What must stand in the configuration beside the filter.
fn missing(all: &[Directive], text: &str) -> Vec<String> {
    let has = |block: &str, words: &[&str]| {
        all.iter().any(|d| {
            d.blocks.iter().any(|b| b == block)
                && words.iter().zip(&d.words).all(|(w, have)| *w == have.text)
                && d.words.len() >= words.len()
        })
    };
    let mut missing = Vec::new();
    for (words, why) in [
        (
            ["tls_verify_cert", "on"],
            "certificates of issuers are not verified",
        ),
        (
            ["tls_verify_host", "on"],
            "certificates may be for any host",
        ),
    ] {
        if text.contains("https://") && !has("wasm", &words) {
            missing.push(format!(
                "`{};` is missing in `wasm`: {why}",
                words.join(" ")
            ));
        }
    }
    if text.contains("api_key") && !has("wasm", &["shm_kv"]) {
        missing.push(
            "`shm_kv * 8m;` is missing in `wasm`: rate limits need it, and without it workers do not start".to_owned(),
        );
    }
    let declared: BTreeSet<&str> = all
        .iter()
        .filter(|d| d.words.first().is_some_and(|w| w.text == "set"))
        .filter_map(|d| d.words.get(1).map(|w| w.text.as_str()))
        .collect();
    let undeclared: Vec<&str> = VARIABLES
        .into_iter()
        .filter(|name| !declared.contains(name))
        .collect();
    if !undeclared.is_empty() {
        missing.push(format!(
            "not declared: {}; without `set {} \"\";` and so on every request is refused",
            undeclared.join(", "),
            undeclared.first().unwrap_or(&"")
        ));
    }
    let guard = all.iter().any(|d| {
        let words: Vec<&str> = d.words.iter().take(2).map(|w| w.text.as_str()).collect();
        words == ["map", "$portcullis_decision"]
    });
    if !guard {
        missing.push(
            "there is no `map $portcullis_decision …`: a location that answers by itself, or without the filter, lets refused requests in".to_owned(),
        );
    }
    missing
}

/// Takes a configuration apart as `ngx_conf_read_token` does.
fn directives(text: &str) -> Result<Vec<Directive>, String> {
    let mut found = Vec::new();
    let mut blocks: Vec<String> = Vec::new();
    let mut words: Vec<Word> = Vec::new();
    let mut line = 1;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            c if c.is_ascii_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '{' => {
                let Some(first) = words.first() else {
                    return Err(format!("line {line}: unexpected `{c}`"));
                };
                let name = first.text.clone();
                let begins = first.line;
                found.push(Directive {
                    line: begins,
                    blocks: blocks.clone(),
                    words: std::mem::take(&mut words),
                });
                if c == '{' {
                    blocks.push(name);
                }
            }
            '}' => {
                if blocks.pop().is_none() || !words.is_empty() {
                    return Err(format!("line {line}: unexpected `}}`"));
                }
            }
            quote @ ('"' | '\'') => {
                let begins = line;
                let mut word = String::new();
                let mut written = 0;
                loop {
                    let Some(c) = chars.next() else {
                        return Err(format!("line {begins}: a quote is not closed"));
                    };
                    written += c.len_utf8();
                    match c {
                        c if c == quote => break,
                        '\\' => {
                            written += unescape(&mut chars, &mut word);
                        }
                        c => {
                            line += usize::from(c == '\n');
                            word.push(c);
                        }
                    }
                }
                words.push(Word {
                    text: word,
                    written,
                    line: begins,
                });
            }
            c => {
                let mut word = String::from(c);
                // `${name}` is one word.
                let ends = |c: char, word: &str| {
                    c.is_ascii_whitespace() || c == ';' || (c == '{' && !word.ends_with('$'))
                };
                while let Some(c) = chars.next_if(|c| !ends(*c, &word)) {
                    word.push(c);
                }
                words.push(Word {
                    written: word.len(),
                    text: word,
                    line,
                });
            }
        }
    }
    if !blocks.is_empty() || !words.is_empty() {
        return Err(format!(
            "line {line}: ends in the middle of `{}`",
            blocks.join(".")
        ));
    }
    Ok(found)
}

/// What stands after a backslash in quotes; how many octets it took.
fn unescape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, word: &mut String) -> usize {
    let Some(c) = chars.next() else { return 0 };
    match c {
        '"' | '\'' | '\\' => word.push(c),
        't' => word.push('\t'),
        'r' => word.push('\r'),
        'n' => word.push('\n'),
        // Everything else stays with its backslash.
        c => word.extend(['\\', c]),
    }
    c.len_utf8()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let directives = directives(text).unwrap();
        let words = |d: Directive| d.words.into_iter().map(|w| w.text).collect();
        directives.into_iter().map(words).collect()
    }

    #[test]
    fn words_as_nginx_reads_them() {
        assert_eq!(
            words("a b 'c d' \"e;f\" ${g}h; # i\n j { k '{\\'x\\': \"\\\\n\", \\n \\q}'; }"),
            [
                vec!["a", "b", "c d", "e;f", "${g}h"],
                vec!["j"],
                vec!["k", "{'x': \"\\n\", \n \\q}"],
            ]
        );
        for bad in ["a", "a {", "}", "a 'b", ";", "{ }", "a { b }"] {
            assert!(directives(bad).is_err(), "{bad}");
        }
    }
}
