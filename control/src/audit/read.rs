//! Logs into events, on all processors.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::{memchr, memchr_iter, memrchr};

use super::event::{Event, NoEvent};

/// Read at once: big enough that handing it on costs nothing, small enough for a cache.
const BLOCK: usize = 1 << 20;
/// The longest line. Events are a few KiB at most (`limits` bound what callers write into them).
const LINE: usize = 1 << 20;
/// Bad lines that are named; all are counted.
const EXAMPLES: usize = 5;

/// What was read.
#[derive(Debug, Default)]
pub struct Reading {
    pub bytes: u64,
    pub lines: u64,
    pub events: u64,
    /// Lines without an event that should have one.
    pub bad: u64,
    /// The first of these.
    pub examples: Vec<Bad>,
}

/// A line without an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bad {
    pub file: Arc<str>,
    /// From 1 on.
    pub line: u64,
    pub why: &'static str,
}

impl Reading {
    pub fn add_bad(&mut self, file: &Arc<str>, line: u64, why: &'static str) {
        self.bad += 1;
        // Each thread keeps its first ones; together they hold the first ones of all.
        if self.examples.len() < EXAMPLES {
            self.examples.push(Bad {
                file: file.clone(),
                line,
                why,
            });
        }
    }

    fn merge(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.events += other.events;
        self.bad += other.bad;
        self.examples.extend(other.examples);
        self.examples.sort();
        self.examples.truncate(EXAMPLES);
    }
}

/// What is made of events. Each thread has its own, and in the end they become one.
pub trait Fold: Send {
    /// Takes one more.
    fn take(&mut self, event: &Event<'_>);
    /// Takes what another thread made.
    fn merge(&mut self, other: Self);
}

/// Whole lines of one file.
struct Block {
    file: Arc<str>,
    first: u64,
    bytes: Vec<u8>,
}

/// Opens a log; `-` is standard input.
pub fn open(path: &Path) -> Result<Box<dyn Read + Send>, String> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    let file = File::open(path).map_err(|e| format!("{} can't be read: {e}", path.display()))?;
    Ok(Box::new(file))
}

/// The files, or standard input where there are none.
pub fn files(named: &[PathBuf]) -> Vec<PathBuf> {
    if named.is_empty() {
        vec![PathBuf::from("-")]
    } else {
        named.to_vec()
    }
}

/// Reads all logs. `make` makes what a thread begins with.
///
/// # Errors
/// In words, for the first file that can't be read.
pub fn fold<F: Fold>(
    named: &[PathBuf],
    make: impl Fn() -> F + Sync,
) -> Result<(F, Reading), String> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(16));
    let (sender, receiver) = sync_channel(2 * threads);
    let receiver = Arc::new(Mutex::new(receiver));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (receiver, make) = (receiver.clone(), &make);
                scope.spawn(move || work(&receiver, make()))
            })
            .collect();
        // The workers alone may hold it: a sender has to notice when they are gone.
        drop(receiver);
        let mut reading = Reading::default();
        let read = files(named)
            .iter()
            .try_for_each(|path| blocks(path, &sender, &mut reading));
        drop(sender);
        let mut all = make();
        for worker in workers {
            let (part, seen) = worker
                .join()
                .map_err(|_| "a thread ended early".to_owned())?;
            all.merge(part);
            reading.merge(seen);
        }
        read.map(|()| (all, reading))
    })
}

fn work<F: Fold>(receiver: &Mutex<Receiver<Block>>, mut made: F) -> (F, Reading) {
    let mut reading = Reading::default();
    loop {
        // Bound to a name, so that the lock is let go before the block is read.
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(block) = next else {
            return (made, reading);
        };
        let mut number = block.first;
        let mut rest = block.bytes.as_slice();
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            match Event::parse(line) {
                Ok(event) => {
                    reading.events += 1;
                    made.take(&event);
                }
                Err(NoEvent::Other) => {}
                Err(NoEvent::Bad(why)) => reading.add_bad(&block.file, number, why),
            }
            number += 1;
        }
        reading.lines += number - block.first;
    }
}

/// Cuts a file into blocks at the ends of lines.
fn blocks(path: &Path, to: &SyncSender<Block>, reading: &mut Reading) -> Result<(), String> {
    let mut from = open(path)?;
    let file: Arc<str> = path.display().to_string().into();
    let mut buffer: Vec<u8> = Vec::with_capacity(BLOCK);
    let mut first = 1_u64;
    let send = |bytes: Vec<u8>, first: &mut u64| {
        let lines = memchr_iter(b'\n', &bytes).count() as u64;
        let block = Block {
            file: file.clone(),
            first: *first,
            bytes,
        };
        *first += lines;
        to.send(block)
            .map_err(|_| "a thread ended early".to_owned())
    };
    // Whether the line under way is too long, and has been thrown away so far.
    let mut skipping = false;
    loop {
        let before = buffer.len();
        let read = from
            .by_ref()
            .take(BLOCK as u64)
            .read_to_end(&mut buffer)
            .map_err(|e| format!("{} can't be read: {e}", path.display()))?;
        reading.bytes += read as u64;
        if read == 0 {
            if !buffer.is_empty() && !skipping {
                send(std::mem::take(&mut buffer), &mut first)?;
            }
            return Ok(());
        }
        if skipping {
            let Some(end) = memchr(b'\n', &buffer) else {
                buffer.clear();
                continue;
            };
            buffer.drain(..=end);
            first += 1;
            skipping = false;
        }
        // No newline in what was there before.
        match memrchr(b'\n', &buffer) {
            Some(end) => {
                let rest = buffer.split_off(end + 1);
                send(std::mem::replace(&mut buffer, rest), &mut first)?;
            }
            None if buffer.len() > LINE => {
                reading.lines += 1;
                reading.add_bad(&file, first, "longer than 1 MiB");
                buffer.clear();
                skipping = true;
            }
            None => {}
        }
        debug_assert!(before <= LINE + BLOCK);
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Codes(Vec<String>);

    impl Fold for Codes {
        fn take(&mut self, event: &Event<'_>) {
            self.0.push(event.fields.code.clone().into_owned());
        }
        fn merge(&mut self, other: Self) {
            self.0.extend(other.0);
        }
    }

    fn event(code: &str, padding: usize) -> String {
        let padding = "x".repeat(padding);
        format!(
            r#"{{"ts":"2026-11-22T17:00:00.000Z","event":"auth_fail","fields":{{"code":"{code}","path":"{padding}"}}}}"#
        )
    }

    fn read(text: &[u8]) -> (Vec<String>, Reading) {
        let path = std::env::temp_dir().join(format!(
            "portcullis-audit-{}-{}",
            std::process::id(),
            text.len()
        ));
        std::fs::write(&path, text).unwrap();
        let (mut codes, reading) = fold(std::slice::from_ref(&path), Codes::default).unwrap();
        std::fs::remove_file(&path).unwrap();
        codes.0.sort();
        (codes.0, reading)
    }

    #[test]
    fn lines_across_blocks_are_each_read_once() {
        let lines: Vec<String> = (0..9000)
            .map(|i| event(&format!("{i:05}"), i % 900))
            .collect();
        for end in ["", "\n"] {
            let (codes, reading) = read(format!("{}{end}", lines.join("\n")).as_bytes());
            assert_eq!(codes.len(), 9000);
            assert!(codes.windows(2).all(|w| w[0] < w[1]));
            assert_eq!(
                (reading.lines, reading.events, reading.bad),
                (9000, 9000, 0)
            );
        }
    }

    #[test]
    fn bad_lines_are_counted_and_named() {
        let mut text = Vec::new();
        for part in [
            event("a", 0).into_bytes(),
            b"garbage".to_vec(),
            vec![b'x'; 3 * LINE],
            event("b", 0).into_bytes(),
            vec![0xff, 0, b'{'],
            event("cut", 9).into_bytes()[..70].to_vec(),
        ] {
            text.extend(part);
            text.push(b'\n');
        }
        let (codes, reading) = read(&text);
        assert_eq!(codes, ["a", "b"]);
        assert_eq!((reading.lines, reading.bad), (6, 4));
        let named: Vec<_> = reading.examples.iter().map(|b| (b.line, b.why)).collect();
        assert_eq!(
            named,
            [
                (2, "no audit event"),
                (3, "longer than 1 MiB"),
                (5, "no audit event"),
                (6, "an audit event that is cut off")
            ]
        );
        let endless = vec![b'x'; 5 * LINE];
        assert_eq!(read(&endless).1.bad, 1);
    }
}
