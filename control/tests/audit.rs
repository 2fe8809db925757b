//! `portcullis audit tail --follow` on files that are written, rotated and cut while it reads.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::fs::{File, OpenOptions, rename};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::Dir;

/// Longer than any look at the file takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn event(path: &str) -> String {
    format!(
        "{{\"ts\":\"2026-11-22T17:00:00.000Z\",\"event\":\"auth_verify\",\"fields\":{{\"agent\":\"orders\",\"user_id\":\"ci\",\"method\":\"GET\",\"path\":\"{path}\"}}}}\n"
    )
}

/// A log with one event, and the program that follows it.
struct Followed {
    log: PathBuf,
    program: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

fn lines_of(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (to, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines() {
            if to.send(line.unwrap()).is_err() {
                break;
            }
        }
    });
    lines
}

impl Followed {
    fn new(dir: &Dir) -> Self {
        dir.write("audit.ndjson", &event("/first"));
        let mut program = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["audit", "tail", "--follow", "audit.ndjson"])
            .current_dir(dir.path())
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = lines_of(program.stdout.take().unwrap());
        let err = lines_of(program.stderr.take().unwrap());
        let log = dir.path().join("audit.ndjson");
        let followed = Self {
            log,
            program,
            out,
            err,
        };
        followed.shows("/first");
        followed
    }

    /// The next event that is shown.
    fn shows(&self, path: &str) {
        let line = self.out.recv_timeout(PATIENCE).unwrap();
        assert!(line.ends_with(path), "{line} and not {path}");
    }

    /// No more is shown than was looked at.
    fn ends(mut self) {
        self.program.kill().unwrap();
        self.program.wait().unwrap();
        assert_eq!(self.out.iter().collect::<Vec<_>>(), [""; 0]);
    }
}

fn writer(log: &Path) -> File {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap()
}

fn put(mut to: &File, text: &str) {
    to.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_is_shown_when_it_is_whole() {
    let dir = Dir::new("tail-whole");
    let followed = Followed::new(&dir);
    let log = writer(&followed.log);
    let second = event("/second");
    let (begin, end) = second.split_at(40);
    put(&log, begin);
    std::thread::sleep(Duration::from_millis(600));
    put(&log, end);
    followed.shows("/second");
    followed.ends();
}

/// logrotate's `create`: Envoy has the old file open until it is told to open its logs anew.
#[test]
fn renamed_and_made_anew() {
    let dir = Dir::new("tail-renamed");
    let followed = Followed::new(&dir);
    let mut old = writer(&followed.log);
    for round in 0..3 {
        rename(&followed.log, dir.path().join(format!("audit.{round}"))).unwrap();
        put(&old, &event("/while-there-is-none"));
        followed.shows("/while-there-is-none");
        let new = writer(&followed.log);
        // Long enough for the empty one to be seen.
        std::thread::sleep(Duration::from_millis(600));
        put(&old, &event("/still-to-the-old-one"));
        put(&new, &event("/new"));
        followed.shows("/still-to-the-old-one");
        followed.shows("/new");
        old = new;
    }
    followed.ends();
}

#[test]
fn a_last_line_that_nobody_ends_is_told_of() {
    let dir = Dir::new("tail-cut-line");
    let followed = Followed::new(&dir);
    put(
        &writer(&followed.log),
        "{\"ts\":\"2026-11-22T17:00:00.000Z\",\"ev",
    );
    std::thread::sleep(Duration::from_millis(600));
    rename(&followed.log, dir.path().join("rotated")).unwrap();
    put(&writer(&followed.log), &event("/new"));
    followed.shows("/new");
    let said = followed.err.recv_timeout(PATIENCE).unwrap();
    assert!(said.contains("audit.ndjson"), "{said}");
    followed.ends();
}

/// logrotate's `copytruncate`.
#[test]
fn cut_and_written_again() {
    let dir = Dir::new("tail-cut");
    let followed = Followed::new(&dir);
    let log = writer(&followed.log);
    log.set_len(0).unwrap();
    put(&log, &event("/2"));
    followed.shows("/2");
    // Longer at the next look than it was before.
    log.set_len(0).unwrap();
    let later = event("/3").replace("17:00", "18:00");
    put(&log, &(later + &event("/4") + &event("/5")));
    for path in ["/3", "/4", "/5"] {
        followed.shows(path);
    }
    followed.ends();
}
