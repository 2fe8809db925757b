//! The sources of what runs in a proxy, looked through for ways to trap, and for what a core without a host must not know.
//!
//! Clippy denies most of it. This looks at the text as it stands, so that an `#[allow]`, a macro's body or a dropped
//! `lints` table is no way around it; `tests/wasm_imports` looks at what is left in the built module.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Methods that panic on what may well happen.
const METHODS: [&str; 6] = [
    "unwrap",
    "expect",
    "unwrap_err",
    "expect_err",
    "unwrap_unchecked",
    "get_unchecked",
];

/// Macros that panic or write where nobody reads.
const MACROS: [&str; 12] = [
    "panic",
    "unreachable",
    "todo",
    "unimplemented",
    "assert",
    "assert_eq",
    "assert_ne",
    "dbg",
    "print",
    "println",
    "eprint",
    "eprintln",
];

/// Lints that nobody may switch off outside tests.
const LINTS: [&str; 8] = [
    "unwrap_used",
    "expect_used",
    "panic",
    "indexing_slicing",
    "unreachable",
    "todo",
    "unimplemented",
    "arithmetic_side_effects",
];

/// Clocks, randomness, IO and globals, by the names one would reach them by.
const NOT_IN_THE_CORE: [&str; 13] = [
    "SystemTime",
    "Instant",
    "OnceLock",
    "LazyLock",
    "LazyCell",
    "Mutex",
    "getrandom",
    "TcpStream",
    "File",
    "proxy_wasm",
    "portcullis_host",
    "RandomState",
    "thread_local",
];

/// The files that may say `unsafe`: where the ABI is.
const ABI: [&str; 3] = [
    "filters/host/src/abi.rs",
    "filters/host/src/exports.rs",
    "filters/host/src/hostcalls.rs",
];

/// Words before a bracket that is no index.
const KEYWORDS: [&str; 16] = [
    "as", "box", "break", "const", "dyn", "else", "if", "impl", "in", "let", "match", "mut", "ref",
    "return", "static", "where",
];

struct Finding {
    line: usize,
    what: String,
}

/// Everything wrong in a source text. `core`: held to the core's own rules; `abi`: may say `unsafe`.
fn findings(source: &str, core: bool, abi: bool) -> Vec<Finding> {
    let stream: TokenStream = source.parse().unwrap();
    let mut found = Vec::new();
    walk(stream, core, abi, &mut found);
    found
}

fn walk(stream: TokenStream, core: bool, abi: bool, found: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = at.checked_sub(1).and_then(|i| tokens.get(i));
        let after = tokens.get(at + 1);
        let mut report = |what: String| {
            let line = token.span().start().line;
            found.push(Finding { line, what });
        };
        match token {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                // `#![…]` is one of the whole file.
                let brackets = if is(after, '!') {
                    tokens.get(at + 2)
                } else {
                    after
                };
                let attribute = brackets.map(ToString::to_string).unwrap_or_default();
                if attribute.replace(' ', "").starts_with("[cfg(test)") {
                    at = end_of_item(&tokens, at + 2);
                    continue;
                }
                for lint in LINTS {
                    let named = format!("clippy :: {lint}");
                    let loose = attribute.contains("allow") || attribute.contains("expect");
                    if loose && attribute.contains(&named) {
                        report(format!("switches clippy::{lint} off"));
                    }
                }
            }
            TokenTree::Ident(ident) => {
                let name = ident.to_string();
                let called = matches!(after, Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis);
                if METHODS.contains(&&*name) && is(before, '.') && called {
                    report(format!("calls {name}"));
                }
                // As a path too: `map(Option::unwrap)`.
                if METHODS.contains(&&*name) && is(before, ':') {
                    report(format!("names {name}"));
                }
                if MACROS.contains(&&*name) && is(after, '!') {
                    report(format!("uses {name}!"));
                }
                if name == "unsafe" && !abi {
                    report("is unsafe".to_owned());
                }
                if core && (NOT_IN_THE_CORE.contains(&&*name)) {
                    report(format!("knows {name}"));
                }
                if core && name == "static" && !is(before, '\'') {
                    report("has a global".to_owned());
                }
                if name == "proxy_wasm" && !core {
                    report("names the SDK".to_owned());
                }
            }
            TokenTree::Group(group) => {
                // `&'a [u8]`: a name that a quote stands before.
                let lifetime = at >= 2 && is(tokens.get(at - 2), '\'');
                if group.delimiter() == Delimiter::Bracket
                    && indexes(before)
                    && !lifetime
                    && !group.stream().is_empty()
                {
                    report(format!("indexes with {group}"));
                }
                walk(group.stream(), core, abi, found);
            }
            _ => {}
        }
        at += 1;
    }
}

/// Behind the item that begins at `at`, attributes included.
fn end_of_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        at += 1;
        let ends = match token {
            TokenTree::Punct(p) => p.as_char() == ';',
            TokenTree::Group(g) => g.delimiter() == Delimiter::Brace,
            _ => false,
        };
        if ends {
            break;
        }
    }
    at
}

fn is(token: Option<&TokenTree>, punct: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == punct)
}

/// Whether a bracket behind this takes an element out of something.
fn indexes(before: Option<&TokenTree>) -> bool {
    match before {
        Some(TokenTree::Ident(ident)) => !KEYWORDS.contains(&&*ident.to_string()),
        Some(TokenTree::Group(g)) => g.delimiter() != Delimiter::Brace,
        Some(TokenTree::Literal(_)) => true,
        Some(TokenTree::Punct(p)) => p.as_char() == '?',
        None => false,
    }
}

/// Every source that ends up in the module. Files of tests are known by their name, and are declared under `cfg(test)`.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = [
        "src",
        "arithmetic/src",
        "octets/src",
        "filters/host/src",
        "filters/auth/src",
    ]
    .iter()
    .map(|f| root.join(f))
    .collect();
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.retain(|f| !f.ends_with("tests.rs") && !f.ends_with("fixtures.rs"));
    files.sort();
    files
}

#[test]
fn nothing_in_the_sources_can_trap() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = sources();
    assert!(sources.len() > 60, "{} sources", sources.len());
    let mut wrong = Vec::new();
    for path in &sources {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        for f in findings(
            &text,
            ["src/", "arithmetic/", "octets/"]
                .iter()
                .any(|folder| name.starts_with(folder)),
            ABI.contains(&name),
        ) {
            wrong.push(format!("{name}:{}: {}", f.line, f.what));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Files that are left out above are really tests: declared under `cfg(test)` wherever they are declared.
#[test]
fn test_files_are_tests() {
    let mut seen = 0;
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
            if matches!(*line, "mod tests;" | "mod fixtures;" | "pub mod fixtures;") {
                seen += 1;
                assert_eq!(*above, "#[cfg(test)]", "{}: {line}", path.display());
            }
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn the_lints_that_deny_it_are_in_force() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for lint in [
        "unwrap_used",
        "expect_used",
        "panic",
        "indexing_slicing",
        "unreachable",
        "todo",
        "unimplemented",
    ] {
        assert!(
            workspace.contains(&format!("\n{lint} = \"deny\"\n")),
            "{lint}"
        );
    }
    for manifest in [
        "Cargo.toml",
        "arithmetic/Cargo.toml",
        "octets/Cargo.toml",
        "filters/host/Cargo.toml",
        "filters/auth/Cargo.toml",
    ] {
        let text = std::fs::read_to_string(root.join(manifest)).unwrap();
        assert!(text.contains("\n[lints]\nworkspace = true\n"), "{manifest}");
    }
}

/// The scan sees what it is there to see, and nothing else.
#[test]
fn the_scan_is_not_blind() {
    for (bad, what) in [
        ("fn f() { x.unwrap(); }", "calls unwrap"),
        ("fn f() { x.y()?.expect(\"z\"); }", "calls expect"),
        ("fn f() { x.map(Option::unwrap); }", "names unwrap"),
        ("fn f() { panic!(\"x\") }", "uses panic!"),
        (
            "macro_rules! m { () => { unreachable!() } }",
            "uses unreachable!",
        ),
        ("fn f() { debug::assert!(x) }", "uses assert!"),
        ("fn f() { x[0]; }", "indexes with [0]"),
        ("fn f() { &x.y()[1..]; }", "indexes with [1 ..]"),
        ("fn f() { x?[a]; }", "indexes with [a]"),
        ("fn f() { unsafe { g() } }", "is unsafe"),
        (
            "#[allow(clippy::unwrap_used)] fn f() {}",
            "switches clippy::unwrap_used off",
        ),
        (
            "#![expect(dead_code, clippy::panic)]",
            "switches clippy::panic off",
        ),
        (
            "fn f() { std::time::SystemTime::now(); }",
            "knows SystemTime",
        ),
        ("static X: u8 = 1;", "has a global"),
        (
            "#[cfg(test)] mod tests { fn f() { x[0]; } } fn g() { y[1]; }",
            "indexes with [1]",
        ),
        (
            "#[cfg(test)] mod tests; fn g() { y[1]; }",
            "indexes with [1]",
        ),
    ] {
        let found: Vec<String> = findings(bad, true, false)
            .into_iter()
            .map(|f| f.what)
            .collect();
        assert_eq!(found, [what], "{bad}");
    }
    for good in [
        "fn f(x: &'static [u8; 4]) -> [u8; 2] { let [a, b] = y; vec![1]; #[inline] fn g() {} [a, b] }",
        "fn f() { x.unwrap_or(1); x.unwrap_or_default(); let unwrap = 1; }",
        "#[cfg(test)] mod tests { fn f() { x.unwrap(); panic!() } }",
        "const X: [u8; 1] = [1]; // x.unwrap()\nconst Y: &str = \"panic!()\";",
        "fn f() { for x in [1, 2] {} match x { [] => 1, [a, ..] => 2 }; }",
    ] {
        let found: Vec<String> = findings(good, true, false)
            .into_iter()
            .map(|f| f.what)
            .collect();
        assert_eq!(found, Vec::<String>::new(), "{good}");
    }
}
