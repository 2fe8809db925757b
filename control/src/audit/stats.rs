//! `portcullis audit stats`: how much of what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::path::Path;

use serde_json::{Value, json};

use super::caller;
use super::event::{Event, plain};
use super::read::{Fold, Reading, fold};
use super::{Source, StatsArgs};
use crate::output;

/// Rows of one table while it is made. Whoever presents nothing but made-up agents must not fill the memory.
const ROWS: usize = 100_000;
/// Addresses and agents that are told of one key.
const LISTED: usize = 20;

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Of one group of requests.
#[derive(Clone, Debug, Default)]
struct Row {
    allowed: u64,
    refused: u64,
    first: String,
    last: String,
}

impl Row {
    fn take(&mut self, event: &Event<'_>) {
        if event.is_refusal() {
            self.refused += 1;
        } else {
            self.allowed += 1;
        }
        let ts = &*event.ts;
        if self.first.is_empty() || ts < self.first.as_str() {
            ts.clone_into(&mut self.first);
        }
        if ts > self.last.as_str() {
            ts.clone_into(&mut self.last);
        }
    }

    fn merge(&mut self, other: Self) {
        self.allowed += other.allowed;
        self.refused += other.refused;
        if !other.first.is_empty() && (self.first.is_empty() || other.first < self.first) {
            self.first = other.first;
        }
        if other.last > self.last {
            self.last = other.last;
        }
    }

    fn all(&self) -> u64 {
        self.allowed + self.refused
    }
}

/// What is known of one API key.
#[derive(Clone, Debug, Default)]
struct Key {
    row: Row,
    agents: BTreeSet<String>,
    addresses: BTreeSet<String>,
}

/// Rows by what they are about, and how many requests found no room for theirs.
#[derive(Debug)]
struct Table<K, V> {
    rows: Map<K, V>,
    beyond: u64,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: Map::default(),
            beyond: 0,
        }
    }
}

impl<K: Eq + Hash, V: Default> Table<K, V> {
    /// The row of `key`. `make` is asked for a key of its own only when there is no row yet.
    fn row<Q>(&mut self, key: &Q, make: impl FnOnce() -> K) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if !self.rows.contains_key(key) {
            if self.rows.len() >= ROWS {
                self.beyond += 1;
                return None;
            }
            self.rows.insert(make(), V::default());
        }
        self.rows.get_mut(key)
    }

    fn merge(&mut self, other: Self, join: impl Fn(&mut V, V)) {
        self.beyond += other.beyond;
        for (key, value) in other.rows {
            join(self.rows.entry(key).or_default(), value);
        }
    }
}

struct Stats<'s> {
    source: &'s Source,
    all: Row,
    /// By code; the reason beside it.
    codes: Table<String, (String, Row)>,
    /// Refusals by code and minute.
    minutes: Table<(String, String), u64>,
    agents: Table<String, Row>,
    callers: Table<String, Row>,
    /// Proven and refused: provider, code, caller.
    refused: Table<(String, String, String), Row>,
    keys: Table<String, Key>,
}

impl<'s> Stats<'s> {
    fn new(source: &'s Source) -> Self {
        Self {
            source,
            all: Row::default(),
            codes: Table::default(),
            minutes: Table::default(),
            agents: Table::default(),
            callers: Table::default(),
            refused: Table::default(),
            keys: Table::default(),
        }
    }
}

impl Fold for Stats<'_> {
    fn take(&mut self, event: &Event<'_>) {
        if !self.source.takes(event) {
            return;
        }
        let fields = &event.fields;
        self.all.take(event);
        if let Some(row) = self
            .agents
            .row(&*fields.agent, || fields.agent.clone().into_owned())
        {
            row.take(event);
        }
        let name = caller::name(fields);
        if let Some(name) = &name
            && let Some(row) = self.callers.row(&**name, || name.clone().into_owned())
        {
            row.take(event);
        }
        if event.is_refusal() {
            if let Some((reason, row)) = self
                .codes
                .row(&*fields.code, || fields.code.clone().into_owned())
            {
                fields.reason.as_ref().clone_into(reason);
                row.take(event);
            }
            // 2026-11-22T17:00
            let minute = event.ts.get(..16).unwrap_or_default();
            let key = (fields.code.clone().into_owned(), minute.to_owned());
            if let Some(count) = self.minutes.row(&key.clone(), || key) {
                *count += 1;
            }
            if !fields.user_id.is_empty() {
                let provider = if fields.provider_name.is_empty() {
                    &fields.provider
                } else {
                    &fields.provider_name
                };
                let who = if fields.email.is_empty() && fields.claims.app.is_empty() {
                    fields.user_id.to_string()
                } else {
                    format!("{} ({})", fields.user_id, name.unwrap_or_default())
                };
                let key = (provider.to_string(), fields.code.to_string(), who);
                if let Some(row) = self.refused.row(&key.clone(), || key) {
                    row.take(event);
                }
            }
        }
        if !fields.key_id.is_empty()
            && let Some(key) = self
                .keys
                .row(&*fields.key_id, || fields.key_id.clone().into_owned())
        {
            key.row.take(event);
            note(&mut key.agents, &fields.agent);
            // Without the port, which says nothing.
            note(&mut key.addresses, address(&fields.remote_addr));
        }
    }

    fn merge(&mut self, other: Self) {
        self.all.merge(other.all);
        self.codes
            .merge(other.codes, |(reason, row), (other, more)| {
                *reason = other;
                row.merge(more);
            });
        self.minutes.merge(other.minutes, |a, b| *a += b);
        self.agents.merge(other.agents, Row::merge);
        self.callers.merge(other.callers, Row::merge);
        self.refused.merge(other.refused, Row::merge);
        self.keys.merge(other.keys, |key, other| {
            key.row.merge(other.row);
            for (all, more) in [
                (&mut key.agents, other.agents),
                (&mut key.addresses, other.addresses),
            ] {
                for one in more {
                    note(all, &one);
                }
            }
        });
    }
}

fn note(all: &mut BTreeSet<String>, one: &str) {
    if !one.is_empty() && all.len() < LISTED && !all.contains(one) {
        all.insert(one.to_owned());
    }
}

/// `10.0.0.1:4711` and `[::1]:4711` without their ports.
fn address(peer: &str) -> &str {
    match peer.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') || host.ends_with(']') => host,
        _ => peer,
    }
}

pub fn run(args: &StatsArgs) -> Result<Reading, String> {
    let unused = |seen: &Map<String, Key>| match &args.keys {
        Some(file) => unused_keys(file, seen).map(Some),
        None => Ok(None),
    };
    let (stats, reading) = fold(&args.source.files, || Stats::new(&args.source))?;
    let unused = unused(&stats.keys.rows)?;
    output::result(&if args.json {
        format!("{:#}\n", to_json(&stats, &reading, unused.as_deref()))
    } else {
        text(&stats, &reading, unused.as_deref(), args.top)
    });
    Ok(reading)
}

/// The ids in a key file that the log does not have.
fn unused_keys(file: &Path, seen: &Map<String, Key>) -> Result<Vec<String>, String> {
    let at = file.display();
    let text = std::fs::read(file).map_err(|e| format!("{at} can't be read: {e}"))?;
    let value: Value = serde_json::from_slice(&text).map_err(|e| {
        format!(
            "{at} is not JSON (line {}, column {})",
            e.line(),
            e.column()
        )
    })?;
    let records = value.get("keys").and_then(Value::as_array);
    let records = records.ok_or_else(|| format!("{at} is no key file: `keys` is missing"))?;
    let ids = records.iter().filter_map(|r| r.get("id")?.as_str());
    Ok(ids
        .filter(|id| !seen.contains_key(*id))
        .map(str::to_owned)
        .collect())
}

/// The rows, most of `by` first, then by name.
fn sorted<K: Ord, V>(table: &Table<K, V>, by: impl Fn(&V) -> u64) -> Vec<(&K, &V)> {
    let mut rows: Vec<_> = table.rows.iter().collect();
    rows.sort_by(|a, b| by(b.1).cmp(&by(a.1)).then_with(|| a.0.cmp(b.0)));
    rows
}

/// The minute with most refusals of each code.
fn peaks<'t>(stats: &'t Stats<'_>) -> BTreeMap<&'t str, (u64, &'t str)> {
    let mut peaks: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for ((code, minute), count) in &stats.minutes.rows {
        let peak = peaks.entry(code).or_default();
        if (*count, std::cmp::Reverse(minute.as_str())) > (peak.0, std::cmp::Reverse(peak.1)) {
            *peak = (*count, minute);
        }
    }
    peaks
}

fn to_json(stats: &Stats<'_>, reading: &Reading, unused: Option<&[String]>) -> Value {
    let row = |row: &Row| json!({"allowed": row.allowed, "refused": row.refused, "first": row.first, "last": row.last});
    let named = |table: &Table<String, Row>, name: &str| -> Vec<Value> {
        sorted(table, Row::all)
            .into_iter()
            .map(|(key, value)| with(row(value), name, json!(key)))
            .collect()
    };
    let peaks = peaks(stats);
    let codes: Vec<_> = sorted(&stats.codes, |(_, row)| row.refused)
        .into_iter()
        .map(|(code, (reason, counts))| {
            let (peak, minute) = peaks.get(code.as_str()).copied().unwrap_or_default();
            json!({"code": code, "reason": reason, "count": counts.refused, "first": counts.first, "last": counts.last,
                "peak": {"minute": minute, "count": peak}})
        })
        .collect();
    let refused: Vec<_> = sorted(&stats.refused, Row::all)
        .into_iter()
        .map(|((provider, code, who), counts)| {
            json!({"provider": provider, "code": code, "caller": who, "count": counts.refused, "first": counts.first, "last": counts.last})
        })
        .collect();
    let keys: Vec<_> = sorted(&stats.keys, |k| k.row.all())
        .into_iter()
        .map(|(id, key)| {
            let value = with(row(&key.row), "key_id", json!(id));
            let value = with(value, "agents", json!(key.agents));
            with(value, "addresses", json!(key.addresses))
        })
        .collect();
    let mut out = json!({
        "bytes": reading.bytes, "lines": reading.lines, "events": reading.events, "bad_lines": reading.bad,
        "allowed": stats.all.allowed, "refused": stats.all.refused, "first": stats.all.first, "last": stats.all.last,
        "codes": codes, "refused_callers": refused, "callers": named(&stats.callers, "caller"),
        "agents": named(&stats.agents, "agent"), "keys": keys,
    });
    if let Some(unused) = unused {
        out = with(out, "unused_keys", json!(unused));
    }
    out
}

fn with(mut value: Value, name: &str, more: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), more);
    }
    value
}

fn text(stats: &Stats<'_>, reading: &Reading, unused: Option<&[String]>, top: usize) -> String {
    let all = &stats.all;
    let mut out = format!(
        "{} events of {} lines: {} allowed, {} refused\n",
        all.all(),
        reading.lines,
        all.allowed,
        all.refused
    );
    if all.all() > 0 {
        out.push_str(&format!(
            "from {} to {}\n",
            plain(&all.first),
            plain(&all.last)
        ));
    }
    let peaks = peaks(stats);
    let codes = sorted(&stats.codes, |(_, row)| row.refused)
        .into_iter()
        .map(|(code, (reason, row))| {
            let (peak, minute) = peaks.get(code.as_str()).copied().unwrap_or_default();
            vec![
                row.refused.to_string(),
                code.clone(),
                reason.clone(),
                format!("{peak} at {minute}"),
                row.last.clone(),
            ]
        });
    let columns = ["refused", "code", "reason", "worst minute", "last"];
    table(
        &mut out,
        "Refusals",
        &columns,
        codes.collect(),
        top,
        stats.codes.beyond,
    );
    let refused =
        sorted(&stats.refused, Row::all)
            .into_iter()
            .map(|((provider, code, who), row)| {
                vec![
                    row.refused.to_string(),
                    provider.clone(),
                    code.clone(),
                    who.clone(),
                    row.last.clone(),
                ]
            });
    let columns = ["refused", "provider", "code", "proven caller", "last"];
    table(
        &mut out,
        "Refused though proven",
        &columns,
        refused.collect(),
        top,
        stats.refused.beyond,
    );
    for (title, name, rows) in [
        ("Callers", "caller", &stats.callers),
        ("Agents", "agent", &stats.agents),
    ] {
        let cells = sorted(rows, Row::all).into_iter().map(|(key, row)| {
            vec![
                row.allowed.to_string(),
                row.refused.to_string(),
                key.clone(),
                row.last.clone(),
            ]
        });
        table(
            &mut out,
            title,
            &["allowed", "refused", name, "last"],
            cells.collect(),
            top,
            rows.beyond,
        );
    }
    let joined = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(" ");
    let keys = sorted(&stats.keys, |k| k.row.all())
        .into_iter()
        .map(|(id, key)| {
            vec![
                key.row.allowed.to_string(),
                key.row.refused.to_string(),
                id.clone(),
                joined(&key.agents),
                joined(&key.addresses),
                key.row.last.clone(),
            ]
        });
    let columns = ["allowed", "refused", "key", "agents", "from", "last"];
    table(
        &mut out,
        "API keys",
        &columns,
        keys.collect(),
        top,
        stats.keys.beyond,
    );
    if let Some(unused) = unused {
        out.push_str(&format!(
            "\nKeys that this log never saw: {}\n",
            unused.len()
        ));
        for id in unused {
            out.push_str(&format!("  {}\n", plain(id)));
        }
    }
    out
}

/// Adds a table; nothing when it has no rows.
fn table(
    out: &mut String,
    title: &str,
    columns: &[&str],
    rows: Vec<Vec<String>>,
    top: usize,
    beyond: u64,
) {
    if rows.is_empty() {
        return;
    }
    let count = rows.len();
    let shown = if top == 0 { count } else { top.min(count) };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|c| (*c).to_owned()).collect()];
    for row in rows.into_iter().take(shown) {
        lines.push(
            row.iter()
                .map(|cell| {
                    if cell.is_empty() {
                        "-".to_owned()
                    } else {
                        plain(cell).into_owned()
                    }
                })
                .collect(),
        );
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            lines
                .iter()
                .filter_map(|l| l.get(i))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    out.push_str(&format!("\n{title}\n"));
    for line in lines {
        let mut row = String::from(" ");
        for (i, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let number = columns
                .get(i)
                .is_some_and(|c| matches!(*c, "allowed" | "refused"));
            row.push_str(&if number {
                format!(" {cell:>width$}")
            } else {
                format!(" {cell:<width$}")
            });
        }
        out.push_str(row.trim_end());
        out.push('\n');
    }
    if shown < count {
        out.push_str(&format!("  … {} more (--top 0 shows all)\n", count - shown));
    }
    if beyond > 0 {
        out.push_str(&format!(
            "  … and {beyond} requests of more than {ROWS} rows, which were not told apart\n"
        ));
    }
}
