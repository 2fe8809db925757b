//! What every request has done to its texts, in ways that a machine does sixteen octets at a time.

/// Whether any octet is of that kind. Looks at all of them, since that is quicker than stopping early: hardly any text has one.
pub(crate) fn any(text: &str, kind: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(0, |any, b| any | u8::from(kind(b))) != 0
}

/// How often an octet occurs.
pub(crate) fn count(text: &str, octet: u8) -> usize {
    // In parts whose count fits an octet.
    let parts = text.as_bytes().chunks(255);
    parts
        .map(|part| usize::from(part.iter().map(|b| u8::from(*b == octet)).sum::<u8>()))
        .sum()
}

/// Appends a text as a JSON string (RFC 8259 section 7).
pub(crate) fn push_json(out: &mut String, text: &str) {
    if any(text, |b| b < 0x20 || b == b'"' || b == b'\\') {
        // Of a string it can't fail; and nothing said is better than something forged.
        out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_text_is_read_back() {
        let all: String = (0..0x180_u32).filter_map(char::from_u32).collect();
        let each = all.chars().map(String::from);
        for text in ["", "plain", "/a\"b\\c", "grün 🔑", &all]
            .map(String::from)
            .into_iter()
            .chain(each)
        {
            let mut json = String::new();
            push_json(&mut json, &text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert!(!json.bytes().any(|b| b < 0x20), "{json}");
        }
    }

    #[test]
    fn counts_all_of_them() {
        for n in [0, 1, 254, 255, 256, 1000] {
            let text = format!("{}x{}", ".".repeat(n), ".".repeat(n));
            assert_eq!(count(&text, b'.'), 2 * n);
            assert!(any(&text, |b| b == b'x'));
            assert!(!any(&text, |b| b == b'y'));
        }
    }
}
