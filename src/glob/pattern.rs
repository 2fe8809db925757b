//! One glob.

use super::GlobErrorKind;

/// A glob, taken apart: what it must start and end with, and what may stand between.
#[derive(Debug)]
pub(super) struct Pattern {
    /// The characters before the first that is not literal; all of them for a glob without any such.
    pub prefix: String,
    /// The literal characters behind the last that is not.
    pub suffix: String,
    middle: Middle,
}

/// What stands between prefix and suffix.
#[derive(Debug)]
enum Middle {
    /// Nothing: the prefix is the whole.
    Nothing,
    /// One `*`.
    Star,
    /// `*`, and each of these texts followed by another.
    Texts(Vec<String>),
    /// Anything else.
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    /// Any sequence without `/`.
    Star,
    /// Any character but `/`.
    Any,
    /// A character in one of these ranges, or in none of them.
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
}

impl Pattern {
    pub(super) fn parse(glob: &str) -> Result<Self, GlobErrorKind> {
        let tokens = tokens(glob)?;
        let not_char = |t: &Token| !matches!(t, Token::Char(_));
        let Some(first) = tokens.iter().position(not_char) else {
            return Ok(Self {
                prefix: literal(&tokens),
                suffix: String::new(),
                middle: Middle::Nothing,
            });
        };
        let last = tokens.iter().rposition(not_char).unwrap_or(first);
        let suffix = literal(tokens.get(last + 1..).unwrap_or_default());
        let prefix = literal(tokens.get(..first).unwrap_or_default());
        let middle = tokens.into_iter().take(last + 1).skip(first).collect();
        Ok(Self {
            prefix,
            suffix,
            middle: Middle::of(middle),
        })
    }

    /// Whether it has no special character at all.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self.middle, Middle::Nothing)
    }

    /// Whether it matches the whole of `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        let Some(rest) = text.strip_prefix(self.prefix.as_str()) else {
            return false;
        };
        let Some(rest) = rest.strip_suffix(self.suffix.as_str()) else {
            return false;
        };
        match &self.middle {
            Middle::Nothing => rest.is_empty(),
            Middle::Star => !rest.contains('/'),
            Middle::Texts(texts) => texts_match(texts, rest),
            Middle::Tokens(tokens) => tokens_match(tokens, rest),
        }
    }
}

impl Middle {
    /// `tokens` begins and ends with something that is not literal.
    fn of(tokens: Vec<Token>) -> Self {
        if tokens == [Token::Star] {
            return Self::Star;
        }
        let simple = |t: &Token| matches!(t, Token::Char(_) | Token::Star);
        if tokens.first() != Some(&Token::Star)
            || tokens.last() != Some(&Token::Star)
            || !tokens.iter().all(simple)
        {
            return Self::Tokens(tokens);
        }
        Self::Texts(
            tokens
                .split(|t| *t == Token::Star)
                .map(literal)
                .filter(|text| !text.is_empty())
                .collect(),
        )
    }
}

fn literal(tokens: &[Token]) -> String {
    tokens
        .iter()
        .filter_map(|t| match t {
            Token::Char(c) => Some(*c),
            _ => None,
        })
        .collect()
}

/// The first place for each text is the best: it leaves the most to those behind, and what it leaves has no `/` that a
/// later place would have avoided, because a `*` can't have crossed one to get there.
fn texts_match(texts: &[String], mut rest: &str) -> bool {
    for text in texts {
        let Some(at) = rest.find(text.as_str()) else {
            return false;
        };
        let (skipped, found) = rest.split_at(at);
        if skipped.contains('/') {
            return false;
        }
        rest = found.strip_prefix(text.as_str()).unwrap_or_default();
    }
    !rest.contains('/')
}

/// Follows all ways at once, so the time is the product of both lengths, whatever the glob.
fn tokens_match(tokens: &[Token], text: &str) -> bool {
    // `at[i]`: some way has used up exactly the tokens before i.
    let mut at = vec![false; tokens.len() + 1];
    let mut next = at.clone();
    if let Some(start) = at.first_mut() {
        *start = true;
    }
    skip_stars(tokens, &mut at);
    for c in text.chars() {
        next.fill(false);
        for (i, token) in tokens.iter().enumerate() {
            if at.get(i) != Some(&true) {
                continue;
            }
            let to = match token {
                Token::Star if c != '/' => i,
                Token::Any if c != '/' => i + 1,
                Token::Char(own) if *own == c => i + 1,
                Token::Class { ranges, negated } => {
                    let inside = ranges.iter().any(|(from, to)| (from..=to).contains(&&c));
                    if inside == *negated {
                        continue;
                    }
                    i + 1
                }
                _ => continue,
            };
            if let Some(reached) = next.get_mut(to) {
                *reached = true;
            }
        }
        skip_stars(tokens, &mut next);
        std::mem::swap(&mut at, &mut next);
    }
    at.last() == Some(&true)
}

/// A `*` may match nothing.
fn skip_stars(tokens: &[Token], at: &mut [bool]) {
    let mut before = false;
    for (i, reached) in at.iter_mut().enumerate() {
        *reached |= before;
        before = *reached && tokens.get(i) == Some(&Token::Star);
    }
}

fn tokens(glob: &str) -> Result<Vec<Token>, GlobErrorKind> {
    let mut chars = glob.chars().peekable();
    let mut out = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '*' if out.last() == Some(&Token::Star) => {}
            '*' => out.push(Token::Star),
            '?' => out.push(Token::Any),
            '[' => out.push(class(&mut chars)?),
            '\\' => out.push(Token::Char(
                chars.next().ok_or(GlobErrorKind::TrailingBackslash)?,
            )),
            c => out.push(Token::Char(c)),
        }
    }
    Ok(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The class after its `[`.
fn class(chars: &mut Chars<'_>) -> Result<Token, GlobErrorKind> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let from = match chars.next().ok_or(GlobErrorKind::UnclosedClass)? {
            ']' if ranges.is_empty() => return Err(GlobErrorKind::EmptyClass),
            ']' => return Ok(Token::Class { ranges, negated }),
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
        ranges.push((from, to));
    }
}

fn class_char(c: char, chars: &mut Chars<'_>) -> Result<char, GlobErrorKind> {
    match c {
        '-' => Err(GlobErrorKind::StrayHyphen),
        '\\' => chars.next().ok_or(GlobErrorKind::TrailingBackslash),
        c => Ok(c),
    }
}
