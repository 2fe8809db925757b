//! `path.Match` globs, in sets that cost about the same whether they hold one or ten thousand.
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
//! Two corners differ from what Go's implementation does, not from what it documents: Go does not
//! come back to an earlier `*` after a class that took a `/` (`*[^a]*x` against `b/cx`), and it
//! may split a character outside ASCII into bytes after a `*`. One is stricter than both: a range
//! whose end comes before its start can't match and is an error.
//!
//! `pattern` matches one glob, `index` finds the few of a set that are worth trying. Why this is not `globset`:
//! docs/decisions/0006-globs.md.

mod index;
mod pattern;

use std::fmt;

use self::index::Index;
use self::pattern::Pattern;

/// A compiled set of globs.
pub struct Globs {
    /// The globs as they were written.
    globs: Vec<String>,
    index: Index,
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
        let mut patterns = Vec::with_capacity(globs.len());
        for (index, glob) in globs.iter().enumerate() {
            patterns.push(Pattern::parse(glob).map_err(|kind| GlobError { index, kind })?);
        }
        Ok(Self {
            index: Index::new(patterns),
            globs,
        })
    }

    /// Whether any glob matches the whole of `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.index.any(text)
    }

    /// The first glob, as it was written, that matches the whole of `text`. Slower than
    /// [`Globs::is_match`]; for explanations.
    pub fn matching(&self, text: &str) -> Option<&str> {
        let first = self.index.first(text)?;
        self.globs.get(first).map(String::as_str)
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
        }
    }
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for GlobError {}

#[cfg(test)]
mod tests;
