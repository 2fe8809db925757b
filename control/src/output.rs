//! Writing to the terminal. A reader that has gone away (`| head`) is no error of ours.

use std::io::Write;

/// To stdout, as it is.
pub fn result(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One line to stderr: `error: …`, `warning: …` or `note: …`.
pub fn message(kind: &str, text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{kind}: {text}");
}
