//! `portcullis audit tail`: events for eyes, as they come.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, NoEvent, plain};
use super::read::{Reading, files};
use super::{Color, TailArgs, caller, report};

/// How often a followed file is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// Octets by which a file is known again.
const HEAD: usize = 256;
/// The longest line.
const LINE: u64 = 1 << 20;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

pub fn run(args: &TailArgs) -> Result<Reading, String> {
    let color = match args.color {
        Color::Always => true,
        Color::Never => false,
        // https://no-color.org
        Color::Auto => {
            std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    let files = files(&args.source.files);
    if args.follow && files.len() > 1 {
        return Err("--follow takes one file".to_owned());
    }
    let mut tail = Tail {
        args,
        color,
        reading: Reading::default(),
        kept: VecDeque::new(),
    };
    for path in &files {
        let stream = path == Path::new("-");
        let mut lines = Lines::open(path)?;
        while let Some(whole) = lines.next(path)? {
            if whole || !args.follow || stream {
                let keep = !stream;
                if !tail.show(&lines, keep) {
                    return Ok(tail.reading);
                }
                lines.done();
            } else {
                // The last line of a file that is still being written.
                break;
            }
        }
        if args.follow && !stream {
            if !tail.flush() {
                return Ok(tail.reading);
            }
            return tail.follow(path, lines);
        }
    }
    tail.flush();
    Ok(tail.reading)
}

struct Tail<'a> {
    args: &'a TailArgs,
    color: bool,
    reading: Reading,
    /// The last events of files, until it is known that they are the last.
    kept: VecDeque<String>,
}

impl Tail<'_> {
    /// Shows a line, or keeps it. False when nobody reads any more.
    fn show(&mut self, lines: &Lines, keep: bool) -> bool {
        self.reading.lines += 1;
        if lines.too_long {
            self.reading
                .add_bad(&lines.name, lines.number, "longer than 1 MiB");
            return true;
        }
        match Event::parse(&lines.line) {
            Ok(event) => {
                self.reading.events += 1;
                if !self.args.source.takes(&event) {
                    return true;
                }
                let text = shown(&event, self.color);
                if !keep {
                    return write(&text);
                }
                if self.args.lines > 0 {
                    if self.kept.len() >= self.args.lines {
                        self.kept.pop_front();
                    }
                    self.kept.push_back(text);
                }
            }
            Err(NoEvent::Other) => {}
            Err(NoEvent::Bad(why)) => self.reading.add_bad(&lines.name, lines.number, why),
        }
        true
    }

    fn flush(&mut self) -> bool {
        self.kept.drain(..).all(|line| write(&line))
    }

    /// Never ends by itself, but when nobody reads any more.
    fn follow(mut self, path: &Path, mut lines: Lines) -> Result<Reading, String> {
        report(&std::mem::take(&mut self.reading));
        loop {
            while lines.next(path)? == Some(true) {
                if !self.show_now(&mut lines) {
                    return Ok(self.reading);
                }
            }
            std::thread::sleep(PAUSE);
            // Before anything more is read: what follows in a file that was cut and has grown again is no end of a line begun.
            let Some(replaced) = lines.replaced(path) else {
                continue;
            };
            let Ok(next) = Lines::open(path) else {
                continue;
            };
            let mut old = std::mem::replace(&mut lines, next);
            let mut left = match replaced {
                // The rest of the old one, up to a line that nobody will end any more.
                Replaced::Renamed => old.next(path)?.is_some(),
                Replaced::Cut => !old.line.is_empty(),
            };
            while left {
                if !self.show_now(&mut old) {
                    return Ok(self.reading);
                }
                left = replaced == Replaced::Renamed && old.next(path)?.is_some();
            }
        }
    }

    /// Shows a line of a followed file at once, with what is wrong with it. False when nobody reads any more.
    fn show_now(&mut self, lines: &mut Lines) -> bool {
        let read_on = self.show(lines, false);
        lines.done();
        report(&std::mem::take(&mut self.reading));
        read_on
    }
}

/// What became of a followed file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// Another has its name now.
    Renamed,
    /// It begins anew: logrotate's `copytruncate`.
    Cut,
}

/// The lines of one log, the last of which may still be growing.
struct Lines {
    from: BufReader<Box<dyn Read>>,
    name: Arc<str>,
    /// None for standard input, and where files have none.
    identity: Option<(u64, u64)>,
    number: u64,
    line: Vec<u8>,
    too_long: bool,
    /// Octets read of it.
    at: u64,
    /// The first of them.
    head: Vec<u8>,
}

impl Lines {
    /// Opens a log; `-` is standard input.
    fn open(path: &Path) -> Result<Self, String> {
        let wrong = |e| format!("{} can't be read: {e}", path.display());
        let (from, identity): (Box<dyn Read>, _) = if path == Path::new("-") {
            (Box::new(std::io::stdin()), None)
        } else {
            let file = File::open(path).map_err(wrong)?;
            let identity = identity(&file.metadata().map_err(wrong)?);
            (Box::new(file), identity)
        };
        Ok(Self {
            from: BufReader::new(from),
            name: path.display().to_string().into(),
            identity,
            number: 1,
            line: Vec::new(),
            too_long: false,
            at: 0,
            head: Vec::new(),
        })
    }

    /// Reads on in the line under way: `Some(true)` when it is whole, `Some(false)` when the file ends in it, none at the end.
    fn next(&mut self, path: &Path) -> Result<Option<bool>, String> {
        loop {
            let read = self
                .from
                .by_ref()
                .take(LINE)
                .read_until(b'\n', &mut self.line)
                .map_err(|e| format!("{} can't be read: {e}", path.display()))?;
            self.at += read as u64;
            if self.head.len() < HEAD {
                let new = self.line.iter().skip(self.line.len() - read);
                self.head.extend(new.take(HEAD - self.head.len()));
            }
            if self.line.last() == Some(&b'\n') {
                return Ok(Some(true));
            }
            if self.line.len() as u64 >= LINE {
                self.too_long = true;
                self.line.clear();
            } else if read == 0 {
                return Ok((!self.line.is_empty()).then_some(false));
            }
        }
    }

    fn done(&mut self) {
        self.number += 1;
        self.line.clear();
        self.too_long = false;
    }

    /// What became of the file, if it is no longer the one that is being read. It may be away for a moment while it is rotated.
    fn replaced(&self, path: &Path) -> Option<Replaced> {
        let now = File::open(path).ok()?;
        let about = now.metadata().ok()?;
        if identity(&about) != self.identity {
            // logrotate makes an empty one first, and whoever writes has the old one until it is told.
            return (about.len() > 0).then_some(Replaced::Renamed);
        }
        // One that was cut may be longer again by now, but events begin with their time.
        let mut head = Vec::new();
        now.take(self.head.len() as u64)
            .read_to_end(&mut head)
            .ok()?;
        (about.len() < self.at || head != self.head).then_some(Replaced::Cut)
    }
}

/// What tells a file from another of its name: its device and number there.
#[cfg(unix)]
fn identity(file: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// One line. False when nobody reads any more.
fn write(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

fn shown(event: &Event<'_>, color: bool) -> String {
    let fields = &event.fields;
    let paint = |code: &'static str| if color { code } else { "" };
    let (verdict, verdict_color) = match (event.is_refusal(), &*fields.reason) {
        (false, _) => ("allow", GREEN),
        // Nobody's fault who called.
        (true, "provider_unavailable" | "infrastructure") => ("DENY", YELLOW),
        (true, _) => ("DENY", RED),
    };
    let code = if event.is_refusal() {
        &*fields.code
    } else {
        "ok"
    };
    let who = caller::name(fields);
    let who = who.as_deref().unwrap_or("?");
    let agent = if fields.agent.is_empty() {
        "-"
    } else {
        &*fields.agent
    };
    let mut more = String::new();
    for (name, value) in [
        ("provider", &fields.provider_name),
        ("key", &fields.key_id),
        ("from", &fields.remote_addr),
    ] {
        if !value.is_empty() {
            more.push_str(&format!(" {name}={}", plain(value)));
        }
    }
    let reset = paint(RESET);
    format!(
        "{dim}{}{reset} {}{verdict:<5}{reset} {:<22} {} → {}  {} {}{dim}{more}{reset}\n",
        plain(&event.ts),
        paint(verdict_color),
        plain(code),
        plain(who),
        plain(agent),
        plain(&fields.method),
        plain(&fields.path),
        dim = paint(DIM),
    )
}
