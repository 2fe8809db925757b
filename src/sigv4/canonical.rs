//! The canonical request: one spelling of method, path, query, headers and payload hash (IAM User Guide, "Create a canonical
//! request").

/// How a service spells paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRules {
    /// Remove empty, `.` and `..` segments. S3 does not: its keys may have them.
    pub normalize: bool,
    /// Encode what is on the wire once more. S3 does not.
    pub double_encode: bool,
}

/// The canonical URI of a path as on the wire, without query.
///
/// As the signers do it, a trailing `/` stays, and only a literal one: `/a/.` is `/a`.
pub fn uri(path: &[u8], rules: PathRules) -> String {
    let mut out = String::with_capacity(path.len() + 16);
    if rules.normalize {
        let mut segments: Vec<&[u8]> = Vec::new();
        for segment in path.split(|b| *b == b'/') {
            match segment {
                b"" | b"." => {}
                b".." => {
                    segments.pop();
                }
                other => segments.push(other),
            }
        }
        for segment in &segments {
            out.push('/');
            encode_path(segment, rules.double_encode, &mut out);
        }
        if segments.is_empty() || path.ends_with(b"/") {
            out.push('/');
        }
    } else {
        encode_path(path, rules.double_encode, &mut out);
        if out.is_empty() {
            out.push('/');
        }
    }
    out
}

/// Encodes a path. Unless `double`, an escape stays one: `%2f` becomes `%2F` and never `/`, so that the signature of one key does not
/// fit another's.
fn encode_path(path: &[u8], double: bool, out: &mut String) {
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'/' => out.push('/'),
            b'%' if !double => match escape(tail) {
                Some((value, tail)) => {
                    encode_byte(value, out);
                    rest = tail;
                }
                None => encode_byte(b'%', out),
            },
            other => encode_byte(*other, out),
        }
    }
}

/// One query parameter, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value; empty also where there was no `=`.
    pub value: Vec<u8>,
}

/// The parameters of a query as on the wire. `+` is a plus and `;` separates nothing; an escape that is none stands for itself.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = Parameter> {
    query
        .split(|b| *b == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let mut next = || decode(halves.next().unwrap_or_default());
            Parameter {
                name: next(),
                value: next(),
            }
        })
}

/// The canonical query: encoded, then sorted by name and value.
pub fn query<'p>(parameters: impl Iterator<Item = &'p Parameter>) -> String {
    let encoded = |bytes: &[u8]| {
        let mut out = String::with_capacity(bytes.len() + 8);
        bytes.iter().for_each(|b| encode_byte(*b, &mut out));
        out
    };
    let mut pairs: Vec<(String, String)> = parameters
        .map(|p| (encoded(&p.name), encoded(&p.value)))
        .collect();
    pairs.sort_unstable();
    let mut out = String::new();
    for (name, value) in &pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// Adds one line of the canonical headers: the values in the order they came in, joined by commas, each trimmed and with one space
/// for every run of white space.
pub fn header_line<'v>(name: &str, values: impl Iterator<Item = &'v [u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let words = value
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        for (i, word) in words.enumerate() {
            if i > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
}

/// The canonical request, but for its last line: the payload's hash.
pub fn request_head(
    method: &[u8],
    uri: &str,
    query: &str,
    header_lines: &[u8],
    signed_headers: &str,
) -> Vec<u8> {
    let len = method.len() + uri.len() + query.len() + header_lines.len() + signed_headers.len();
    let mut out = Vec::with_capacity(len + 8);
    for line in [method, uri.as_bytes(), query.as_bytes(), header_lines] {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(signed_headers.as_bytes());
    out.push(b'\n');
    out
}

fn encode_byte(byte: u8, out: &mut String) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(char::from(byte));
    } else {
        out.push('%');
        for digit in [byte >> 4, byte & 15] {
            out.push(HEX.get(usize::from(digit)).copied().unwrap_or('0'));
        }
    }
}

fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, escape(tail)) {
            (b'%', Some((value, tail))) => {
                out.push(value);
                rest = tail;
            }
            _ => out.push(*byte),
        }
    }
    out
}

/// The octet that two hexadecimal digits stand for, and what follows them.
fn escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let ([high, low], rest) = after_percent.split_first_chunk::<2>()?;
    let digit = |b: &u8| char::from(*b).to_digit(16);
    let value = digit(high)? * 16 + digit(low)?;
    Some((u8::try_from(value).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn paths() {
        let table = [
            // path, normalised and encoded twice, as it is and once
            ("/", "/", "/"),
            ("", "/", "/"),
            ("//", "/", "//"),
            ("/a//b/", "/a/b/", "/a//b/"),
            ("/a/./b/../c", "/a/c", "/a/./b/../c"),
            ("/..", "/", "/.."),
            ("/a/..", "/", "/a/.."),
            ("/a/.", "/a", "/a/."),
            ("/a%20b", "/a%2520b", "/a%20b"),
            ("/a%2fb", "/a%252fb", "/a%2Fb"),
            ("/a%7Eb~", "/a%257Eb~", "/a~b~"),
            ("/a$b:c", "/a%24b%3Ac", "/a%24b%3Ac"),
            ("/a%zz", "/a%25zz", "/a%25zz"),
            ("/é", "/%C3%A9", "/%C3%A9"),
        ];
        for (path, twice, once) in table {
            let rules = |on| PathRules {
                normalize: on,
                double_encode: on,
            };
            assert_eq!(uri(path.as_bytes(), rules(true)), twice, "{path}");
            assert_eq!(uri(path.as_bytes(), rules(false)), once, "{path}");
        }
    }

    #[test]
    fn queries() {
        let table = [
            ("", ""),
            ("a", "a="),
            ("&&a=&", "a="),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1&A=3", "A=3&a=1&a=2"),
            ("a=%2f&b=%62", "a=%2F&b=b"),
            ("a=b=c", "a=b%3Dc"),
            ("a=b+c;d", "a=b%2Bc%3Bd"),
            ("a=%zz", "a=%25zz"),
            // Sorted as encoded: `%` comes before `-`.
            ("a-=1&a%C3%A9=2&a=3", "a=3&a%C3%A9=2&a-=1"),
        ];
        for (wire, canonical) in table {
            let all: Vec<Parameter> = parameters(wire.as_bytes()).collect();
            assert_eq!(query(all.iter()), canonical, "{wire}");
        }
    }

    #[test]
    fn header_values_are_trimmed_and_joined() {
        let mut out = Vec::new();
        let values: [&[u8]; 3] = [b"  a \t b  ", b"", b"\"c   d\""];
        header_line("my-header", values.into_iter(), &mut out);
        assert_eq!(out, b"my-header:a b,,\"c d\"\n");
    }
}
