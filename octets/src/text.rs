//! Questions about whole texts, and a text as JSON.
//!
//! Each looks at all octets, eight at a time in one number: in every octet of it the highest bit becomes the answer. An octet without its
//! highest bit and one of at most 0x80 added stay below 0x100, so that none carries into the next. Left to the compiler this would
//! be a matter of its mood: where code is made small, it takes them one by one.

const HIGHEST: u64 = every(0x80);

/// Whether all octets are visible ASCII (RFC 5234 `VCHAR`) and none is a comma: what a token in a header field is made of, when no
/// proxy has joined two of them.
#[inline(never)]
#[must_use]
pub fn is_token_like(text: &str) -> bool {
    let bad = words(text, b'a').fold(0, |bad, word| {
        let low = word & !HIGHEST;
        bad | word | !at_least(low, 0x21) | at_least(low, 0x7f) | !differs(low, b',')
    });
    bad & HIGHEST == 0
}

/// Appends a text as a JSON string (RFC 8259 section 7).
#[inline(never)]
pub fn push_json(out: &mut String, text: &str) {
    if needs_escape(text) {
        // Of a string it can't fail; and nothing said is better than something forged.
        out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// Whether any octet may not stand as it is in a JSON string (RFC 8259 section 7).
fn needs_escape(text: &str) -> bool {
    let found = words(text, b'a').fold(0, |found, word| {
        let low = word & !HIGHEST;
        let bad = !at_least(low, 0x20) | !differs(low, b'"') | !differs(low, b'\\');
        found | (bad & !word)
    });
    found & HIGHEST != 0
}

/// The octet eight times.
const fn every(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; 8])
}

/// Of octets below 0x80: the highest bit where one is no less than `least`, which is neither 0 nor more than 0x80.
const fn at_least(low: u64, least: u8) -> u64 {
    low.wrapping_add(every(0x80_u8.wrapping_sub(least)))
}

/// Of octets below 0x80: the highest bit where one is not `octet`, which is below 0x80 too.
const fn differs(low: u64, octet: u8) -> u64 {
    (low ^ every(octet)).wrapping_add(every(0x7f))
}

/// The text in eights, the last filled up with `filling`.
fn words(text: &str, filling: u8) -> impl Iterator<Item = u64> {
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let mut last = [filling; 8];
    for (place, octet) in last.iter_mut().zip(rest) {
        *place = *octet;
    }
    eights
        .iter()
        .copied()
        .chain(std::iter::once(last))
        .map(u64::from_ne_bytes)
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
    fn a_token_has_no_comma_and_nothing_invisible() {
        for n in [0, 1, 15, 16, 17, 254, 255, 256, 1000] {
            let good = "~!a.b-_=".repeat(n / 8 + 1);
            assert!(is_token_like(&good));
            for bad in [',', ' ', '\t', '\u{1f}', '\u{7f}', 'ü'] {
                assert!(
                    !is_token_like(&format!("{}{bad}", &good[..n])),
                    "{n} {bad:?}"
                );
                assert!(!is_token_like(&format!("{bad}{good}")), "{n} {bad:?}");
            }
        }
    }

    #[test]
    fn every_octet_at_every_place() {
        for place in 0..17 {
            for octet in 0..=0x7f_u8 {
                let mut text = "a".repeat(17);
                text.replace_range(place..=place, &char::from(octet).to_string());
                let visible = (0x21..0x7f).contains(&octet) && octet != b',';
                assert_eq!(is_token_like(&text), visible, "{octet:#x} at {place}");
                let escaped = octet < 0x20 || matches!(octet, b'"' | b'\\');
                assert_eq!(needs_escape(&text), escaped, "{octet:#x} at {place}");
            }
        }
        for text in [
            "ü",
            "aaaaaaaü",
            "\u{80}",
            "\u{a2}",
            "\u{dc}aaaaaaa",
            "\u{10ffff}",
        ] {
            assert!(!is_token_like(text), "{text}");
            assert!(!needs_escape(text), "{text}");
        }
    }
}
