//! `path.Match` globs, compiled with `globset` so that ten thousand cost about what one costs.
//!
//! The language is that of Go's `path.Match`, as documented there:
//!
//! ```text
//! *           any sequence of characters but '/'
//! ?           any one character but '/'
//! [a-z]       one character of the class; it may be '/'
//! [^a-z]      one character outside the class; it may be '/'
//! \c          the character c
//! c           the character c
//! ```
//!
//! Nothing else is special: `{`, `}`, `,`, `!` stand for themselves and `**` is `*` twice. A glob
//! matches the whole string, and a character is a Unicode scalar value.
//!
//! `globset` speaks a richer language, made for file names. So a glob is parsed here and written
//! anew in the part of globset's language that means the same:
//!
//! * never two `*` in a row, and every literal escaped;
//! * a character class becomes an alternation, because globset's classes know neither escapes nor
//!   characters outside ASCII (it matches bytes);
//! * for the same reason a string with characters outside ASCII is matched in an encoding in which
//!   each of them is `ESCAPE` and six digits; globs are written in it from the start. The digits
//!   are control characters, encoded themselves when they occur: no token but an encoded character
//!   starts with `ESCAPE` and none with a digit, so a `*` can't end in the middle of one;
//! * where a glob would be filed by its "file extension", its last literal becomes an alternation: for
//!   globset `..` has none, and the globs of one extension it tries one by one;
//! * a `*` before or behind a text, by far the commonest glob, is written with a `*` that crosses `/` and
//!   asked only of texts without `/`: that takes it from the automaton to a search for many texts at
//!   once, which is built a hundred times faster.
//!
//! Two corners differ from what Go's implementation does, not from what it documents: Go does not
//! come back to an earlier `*` after a class that took a `/` (`*[^a]*x` against `b/cx`), and it
//! may split a character outside ASCII into bytes after a `*`. One is stricter than both: a range
//! whose end comes before its start can't match and is an error.

use std::fmt;

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

/// Starts an encoded character.
const ESCAPE: char = '\u{f}';
/// The digits 0 to 15 of an encoded character are this and the 15 characters behind it.
const ZERO: u8 = 0x10;
/// Digits after `ESCAPE`: enough for U+10FFFF.
const DIGITS: u32 = 6;

/// A compiled set of globs.
pub struct Globs {
    /// The globs as they were written.
    globs: Vec<String>,
    /// At most one for plain texts, one for a `*` before or behind a text, and one for the rest; more
    /// of the last only where globset's bound on the size of one set forces it.
    parts: Vec<Part>,
}

/// Globs that are matched together.
struct Part {
    set: GlobSet,
    /// Where each stands in [`Globs::globs`].
    indices: Vec<usize>,
    /// Compiled with a `*` that crosses `/`: to be asked only of texts without one.
    flat: bool,
}

impl Globs {
    /// Compiles a set. A set without globs matches nothing.
    ///
    /// # Errors
    ///
    /// The first glob that is not one, with its index.
    pub fn new<I, S>(globs: I) -> Result<Self, GlobError>
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let globs: Vec<String> = globs.into_iter().map(Into::into).collect();
        let mut plain = Vec::new();
        let mut affixes = Vec::new();
        let mut others = Vec::new();
        for (index, glob) in globs.iter().enumerate() {
            let error = |kind| GlobError { index, kind };
            let Translated { text, shape } = translate(glob).map_err(error)?;
            let (list, separator) = match shape {
                Shape::Plain => (&mut plain, true),
                Shape::Affix => (&mut affixes, false),
                Shape::Other => (&mut others, true),
            };
            let one = GlobBuilder::new(&text)
                .literal_separator(separator)
                .backslash_escape(true)
                .build()
                .map_err(|_| error(GlobErrorKind::TooBig))?;
            list.push((index, one));
        }
        let mut parts = Vec::new();
        for (list, flat) in [(plain, false), (affixes, true)] {
            if !list.is_empty() {
                parts.push(Part::build(&list, flat)?);
            }
        }
        if !others.is_empty() {
            build(&others, &mut parts)?;
        }
        Ok(Self { globs, parts })
    }

    /// Whether any glob matches the whole of `text`.
    pub fn is_match(&self, text: &str) -> bool {
        let encoded = encode(text);
        let candidate = Candidate::from_bytes(encoded.as_deref().unwrap_or(text).as_bytes());
        self.asked(text)
            .any(|part| part.set.is_match_candidate(&candidate))
    }

    /// The first glob, as it was written, that matches the whole of `text`. Slower than
    /// [`Globs::is_match`]; for explanations.
    pub fn matching(&self, text: &str) -> Option<&str> {
        let encoded = encode(text);
        let candidate = Candidate::from_bytes(encoded.as_deref().unwrap_or(text).as_bytes());
        let first = self
            .asked(text)
            .flat_map(|part| {
                let hits = part.set.matches_candidate(&candidate);
                hits.into_iter().filter_map(|hit| part.indices.get(hit))
            })
            .min()?;
        self.globs.get(*first).map(String::as_str)
    }

    fn asked(&self, text: &str) -> impl Iterator<Item = &Part> {
        let flat = !text.contains('/');
        self.parts.iter().filter(move |part| flat || !part.flat)
    }

    /// The globs as they were written, in their order.
    pub fn as_written(&self) -> &[String] {
        &self.globs
    }
}

impl fmt::Debug for Globs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.globs).finish()
    }
}

/// A glob that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobError {
    /// Which glob of the list, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub kind: GlobErrorKind,
}

/// What is wrong with a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobErrorKind {
    /// A `[` without its `]`.
    UnclosedClass,
    /// `[]` or `[^]`; a literal `]` in a class is written `\]`.
    EmptyClass,
    /// A `-` in a class that is not between two characters; a literal one is written `\-`.
    StrayHyphen,
    /// A range that ends before it starts.
    ReversedRange(char, char),
    /// A `\` with nothing behind it.
    TrailingBackslash,
    /// Bigger than the matcher can be.
    TooBig,
}

impl fmt::Display for GlobErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnclosedClass => {
                f.write_str("`[` without its `]`; write `\\[` for the character itself")
            }
            Self::EmptyClass => {
                f.write_str("a class without characters; write `\\]` for a `]` in a class")
            }
            Self::StrayHyphen => f.write_str(
                "a `-` that is not between two characters; write `\\-` for the character itself",
            ),
            Self::ReversedRange(from, to) => {
                write!(f, "the range `{from}-{to}` ends before it starts")
            }
            Self::TrailingBackslash => {
                f.write_str("a `\\` with nothing behind it; write `\\\\` for the character itself")
            }
            Self::TooBig => f.write_str("too big to compile"),
        }
    }
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for GlobError {}

impl Part {
    fn build(globs: &[(usize, globset::Glob)], flat: bool) -> Result<Self, GlobError> {
        let mut builder = GlobSetBuilder::new();
        for (_, glob) in globs {
            builder.add(glob.clone());
        }
        let set = builder.build().map_err(|_| GlobError {
            index: globs.first().map_or(0, |(index, _)| *index),
            kind: GlobErrorKind::TooBig,
        })?;
        Ok(Self {
            set,
            indices: globs.iter().map(|(index, _)| *index).collect(),
            flat,
        })
    }
}

/// Compiles as few sets of automata as globset's bound on one set's size allows.
fn build(globs: &[(usize, globset::Glob)], parts: &mut Vec<Part>) -> Result<(), GlobError> {
    // The bound is 10 MiB of automaton, at very roughly 50 bytes for a byte of pattern: trying too
    // much first would cost the time of building it.
    const TRY_BYTES: usize = 160 * 1024;
    let size: usize = globs.iter().map(|(_, g)| g.glob().len()).sum();
    if size <= TRY_BYTES || globs.len() <= 1 {
        match Part::build(globs, false) {
            Ok(part) => {
                parts.push(part);
                return Ok(());
            }
            Err(error) if globs.len() <= 1 => return Err(error),
            Err(_) => {}
        }
    }
    let (head, tail) = globs.split_at(globs.len() / 2);
    build(head, parts)?;
    build(tail, parts)
}

/// The text as globs see it; `None` when that is the text itself.
fn encode(text: &str) -> Option<String> {
    if !text.chars().any(needs_encoding) {
        return None;
    }
    let mut out = String::with_capacity(text.len() * 3);
    for c in text.chars() {
        push_char(&mut out, c);
    }
    Some(out)
}

fn needs_encoding(c: char) -> bool {
    !c.is_ascii() || is_reserved(c)
}

fn is_reserved(c: char) -> bool {
    (ESCAPE..='\u{1f}').contains(&c)
}

fn push_char(out: &mut String, c: char) {
    if needs_encoding(c) {
        out.push(ESCAPE);
        push_digits(out, u32::from(c), DIGITS);
    } else {
        out.push(c);
    }
}

fn push_digits(out: &mut String, value: u32, digits: u32) {
    for place in (0..digits).rev() {
        let digit = ((value >> (4 * place)) & 0xf) as u8;
        out.push(char::from(ZERO + digit));
    }
}

/// A glob in globset's language.
struct Translated {
    text: String,
    shape: Shape,
}

/// How globset can file a glob, from cheap to dear.
enum Shape {
    /// A text, found by hash.
    Plain,
    /// One `*` before or behind a text without `/`, found by Aho-Corasick once `*` may cross a `/`. It
    /// can't match a text with one, so such texts are not shown to it.
    Affix,
    /// An automaton.
    Other,
}

/// Writes a `path.Match` glob in globset's language.
fn translate(glob: &str) -> Result<Translated, GlobErrorKind> {
    let mut chars = glob.chars().peekable();
    let mut out = String::with_capacity(glob.len() + 8);
    // Whether it has a `?` or a class, and how many `*`, of which two in a row count as one.
    let (mut one_of, mut stars) = (false, 0);
    let mut literals = Vec::new();
    // Where the last literal starts in `out`, when the glob ends in one.
    let mut last_literal = None;
    let mut after_star = false;
    while let Some(c) = chars.next() {
        let star = c == '*';
        match c {
            '*' => {
                last_literal = None;
                if !after_star {
                    stars += 1;
                    out.push('*');
                }
            }
            '?' => {
                one_of = true;
                last_literal = None;
                push_class(
                    &mut out,
                    &complement(vec![(u32::from('/'), u32::from('/'))]),
                );
            }
            '[' => {
                one_of = true;
                last_literal = None;
                push_class(&mut out, &parse_class(&mut chars)?);
            }
            c => {
                let c = match c {
                    '\\' => chars.next().ok_or(GlobErrorKind::TrailingBackslash)?,
                    c => c,
                };
                last_literal = Some(out.len());
                literals.push(c);
                push_literal(&mut out, c);
            }
        }
        after_star = star;
    }
    let at_an_end = out.starts_with('*') || after_star;
    let shape = if !one_of && stars == 0 {
        Shape::Plain
    } else if !one_of
        && stars == 1
        && at_an_end
        && !literals.is_empty()
        && !literals.contains(&'/')
        // Globset has no "file extension" for the text `..`.
        && literals != ['.']
    {
        Shape::Affix
    } else {
        if let Some(at) = last_literal {
            out.insert(at, '{');
            out.push('}');
        }
        Shape::Other
    };
    Ok(Translated { text: out, shape })
}

fn push_literal(out: &mut String, c: char) {
    if needs_encoding(c) {
        push_char(out, c);
    } else {
        if !c.is_ascii_alphanumeric() {
            out.push('\\');
        }
        out.push(c);
    }
}

/// The class after its `[`, as sorted ranges of code points.
fn parse_class(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<Vec<(u32, u32)>, GlobErrorKind> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().ok_or(GlobErrorKind::UnclosedClass)? {
            ']' if ranges.is_empty() => return Err(GlobErrorKind::EmptyClass),
            ']' => break,
            c => class_char(c, chars)?,
        };
        let to = if chars.next_if_eq(&'-').is_some() {
            match chars.next().ok_or(GlobErrorKind::UnclosedClass)? {
                ']' => return Err(GlobErrorKind::StrayHyphen),
                c => class_char(c, chars)?,
            }
        } else {
            from
        };
        if to < from {
            return Err(GlobErrorKind::ReversedRange(from, to));
        }
        ranges.push((u32::from(from), u32::from(to)));
    }
    Ok(if negated { complement(ranges) } else { ranges })
}

fn class_char(
    c: char,
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
) -> Result<char, GlobErrorKind> {
    match c {
        '-' => Err(GlobErrorKind::StrayHyphen),
        '\\' => chars.next().ok_or(GlobErrorKind::TrailingBackslash),
        c => Ok(c),
    }
}

fn complement(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut out = Vec::new();
    let mut next = 0;
    for (from, to) in ranges {
        if from > next {
            out.push((next, from - 1));
        }
        next = next.max(to + 1);
    }
    let last = u32::from(char::MAX);
    if next <= last {
        out.push((next, last));
    }
    out
}

/// Writes a class as an alternation of globset classes and encoded characters.
fn push_class(out: &mut String, ranges: &[(u32, u32)]) {
    let contains = |c: u32| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
    let mut branches: Vec<String> = Vec::new();

    // Within ASCII: one globset class, and by themselves those that mean something in one.
    let special = |c: char| matches!(c, '[' | ']' | '-' | '^' | '!' | '\\');
    let mut class = String::new();
    let mut run: Option<(char, char)> = None;
    for c in (0..128u8).map(char::from) {
        let inside = contains(u32::from(c)) && !is_reserved(c);
        if inside && !special(c) {
            run = Some((run.map_or(c, |(from, _)| from), c));
            continue;
        }
        push_run(&mut class, run.take());
        if inside {
            branches.push(format!("\\{c}"));
        }
    }
    push_run(&mut class, run);
    if !class.is_empty() {
        branches.push(format!("[{class}]"));
    }

    // Encoded: everything else. Mostly all of it: a `?`, a class such as `[^a]`.
    let covers = |first: u32, last: u32| {
        ranges
            .iter()
            .any(|(from, to)| *from <= first && last <= *to)
    };
    let (reserved, high) = ((u32::from(ESCAPE), 0x1f), (0x80, u32::from(char::MAX)));
    let all = covers(reserved.0, reserved.1) && covers(high.0, high.1);
    if all {
        branches.push(format!("{ESCAPE}??????"));
    }
    for (from, to) in ranges.iter().filter(|_| !all) {
        for (first, last) in [reserved, high] {
            let (from, to) = ((*from).max(first), (*to).min(last));
            if from <= to {
                split(from, to, DIGITS, &String::from(ESCAPE), &mut branches);
            }
        }
    }

    out.push('{');
    out.push_str(&branches.join(","));
    out.push('}');
}

fn push_run(class: &mut String, run: Option<(char, char)>) {
    let Some((from, to)) = run else { return };
    class.push(from);
    if to > from {
        class.push('-');
        class.push(to);
    }
}

/// Writes the numbers `from..=to` of so many base-16 digits as patterns on their digits.
fn split(from: u32, to: u32, digits: u32, prefix: &str, branches: &mut Vec<String>) {
    if digits == 0 {
        branches.push(prefix.to_owned());
        return;
    }
    let rest = digits - 1;
    let unit = 1u32 << (4 * rest);
    let (first, last) = (from / unit, to / unit);
    let mut one = |digit: u32, from: u32, to: u32| {
        let mut prefix = prefix.to_owned();
        push_digits(&mut prefix, digit, 1);
        split(from, to, rest, &prefix, branches);
    };
    // A digit whose numbers are all in the range needs no look at the digits behind it.
    let (starts_inside, ends_inside) = (from % unit, to % unit);
    let (cut_low, cut_high) = (starts_inside > 0, ends_inside + 1 < unit);
    if first == last && (cut_low || cut_high) {
        return one(first, starts_inside, ends_inside);
    }
    let mut whole = (first, last);
    if cut_low {
        one(first, starts_inside, unit - 1);
        whole.0 += 1;
    }
    if cut_high {
        one(last, 0, ends_inside);
        whole.1 -= 1;
    }
    if whole.0 <= whole.1 {
        let mut pattern = prefix.to_owned();
        pattern.push('{');
        for digit in whole.0..=whole.1 {
            if digit > whole.0 {
                pattern.push(',');
            }
            push_digits(&mut pattern, digit, 1);
        }
        pattern.push('}');
        pattern.extend((0..rest).map(|_| '?'));
        branches.push(pattern);
    }
}

#[cfg(test)]
mod tests;
