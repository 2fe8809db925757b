use super::*;
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The documented meaning of `path.Match`, by trying everything: `None` for a bad glob.
fn reference(glob: &[char], text: &[char]) -> Option<bool> {
    let Some((first, rest)) = glob.split_first() else {
        return Some(text.is_empty());
    };
    match first {
        '*' => {
            let mut matched = false;
            for taken in 0..=text.len() {
                matched |= reference(rest, &text[taken..])?;
                if text.get(taken) == Some(&'/') {
                    break;
                }
            }
            Some(matched)
        }
        '?' => {
            let hit = text.first().is_some_and(|c| *c != '/');
            Some(reference(rest, text.get(1..).unwrap_or(&[]))? && hit)
        }
        '[' => {
            let mut rest = rest;
            let negated = rest.first() == Some(&'^');
            if negated {
                rest = &rest[1..];
            }
            let (mut count, mut inside) = (0, false);
            loop {
                if count > 0 && rest.first() == Some(&']') {
                    rest = &rest[1..];
                    break;
                }
                let from = reference_class_char(&mut rest)?;
                let mut to = from;
                if rest.first() == Some(&'-') {
                    rest = &rest[1..];
                    to = reference_class_char(&mut rest)?;
                }
                if to < from {
                    return None;
                }
                inside |= text.first().is_some_and(|c| (from..=to).contains(c));
                count += 1;
            }
            let hit = !text.is_empty() && inside != negated;
            Some(reference(rest, text.get(1..).unwrap_or(&[]))? && hit)
        }
        '\\' => {
            let (c, rest) = rest.split_first()?;
            let hit = text.first() == Some(c);
            Some(reference(rest, text.get(1..).unwrap_or(&[]))? && hit)
        }
        c => {
            let hit = text.first() == Some(c);
            Some(reference(rest, text.get(1..).unwrap_or(&[]))? && hit)
        }
    }
}

/// Go's `getEsc`.
fn reference_class_char(rest: &mut &[char]) -> Option<char> {
    let (mut c, mut tail) = rest.split_first()?;
    if *c == '-' || *c == ']' {
        return None;
    }
    if *c == '\\' {
        (c, tail) = tail.split_first()?;
    }
    *rest = tail;
    (!tail.is_empty()).then_some(*c)
}

fn reference_match(glob: &str, text: &str) -> Option<bool> {
    let glob: Vec<char> = glob.chars().collect();
    let text: Vec<char> = text.chars().collect();
    reference(&glob, &text)
}

fn is_match(glob: &str, text: &str) -> Option<bool> {
    Globs::new([glob]).ok().map(|globs| globs.is_match(text))
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
    fn text(&mut self, alphabet: &[&str], max: usize) -> String {
        let len = self.below(max + 1);
        (0..len)
            .map(|_| alphabet[self.below(alphabet.len())])
            .collect()
    }
}

/// Go's own table (path/match_test.go), `None` for ErrBadPattern.
#[test]
fn the_table_of_path_match() {
    let table: &[(&str, &str, Option<bool>)] = &[
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("ab[^b-d]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        ("a\\*b", "a*b", Some(true)),
        ("a\\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("a[^a][^a][^a]b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a*b", "a/b", Some(false)),
        ("[\\]a]", "]", Some(true)),
        ("[\\-]", "-", Some(true)),
        ("[x\\-]", "x", Some(true)),
        ("[x\\-]", "-", Some(true)),
        ("[x\\-]", "z", Some(false)),
        ("[\\-x]", "x", Some(true)),
        ("[\\-x]", "-", Some(true)),
        ("[\\-x]", "a", Some(false)),
        ("[]a]", "]", None),
        ("[-]", "-", None),
        ("[x-]", "x", None),
        ("[x-]", "-", None),
        ("[x-]", "z", None),
        ("[-x]", "x", None),
        ("[-x]", "-", None),
        ("[-x]", "a", None),
        ("\\", "a", None),
        ("[a-b-c]", "a", None),
        ("[", "a", None),
        ("[^", "a", None),
        ("[^bc", "a", None),
        ("a[", "a", None),
        ("a[", "ab", None),
        ("a[", "x", None),
        ("a/b[", "x", None),
        ("*x", "xxx", Some(true)),
    ];
    for (glob, text, expected) in table {
        assert_eq!(is_match(glob, text), *expected, "{glob} on {text}");
        assert_eq!(reference_match(glob, text), *expected, "{glob} on {text}");
    }
}

#[test]
fn nothing_else_is_special() {
    let table: &[(&str, &str, bool)] = &[
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("a,b", "a,b", true),
        ("**", "a/b", false),
        ("**", "ab", true),
        ("**/a", "a", false),
        ("**/a", "/a", true),
        ("a/**", "a/b/c", false),
        ("a/**", "a/", true),
        ("a/**/b", "a/b", false),
        ("!a", "!a", true),
        ("[!a]", "!", true),
        ("[!a]", "a", true),
        ("[!a]", "b", false),
        ("[a^]", "^", true),
        ("[[]", "[", true),
        ("[/]", "/", true),
        ("[^a]", "/", true),
        ("a]", "a]", true),
        ("#*", "#x", true),
        ("*.", "..", true),
        ("?.", "..", true),
        ("a/*.", "a/..", true),
        ("*.com", "a.com", true),
        ("*.com", ".com", true),
        ("*.com", "a.com/", false),
        ("*.com", "x/a.com", false),
        ("*", "", true),
        ("?", "", false),
        ("", "", true),
        ("", "a", false),
        ("*", "a\nb", true),
        ("a?b", "a\nb", true),
        ("a*", "a\n", true),
        ("a", "a\n", false),
        ("*b", "b\n", false),
        ("[^\u{f}]", "\u{f}", false),
        ("[\u{f}]", "\u{f}", true),
        ("\u{f}\u{10}\u{10}\u{10}\u{10}\u{1e}\u{19}", "é", false),
        ("?", "\u{f}", true),
        ("\u{f}*", "é", false),
        ("[a-\u{10ffff}]", "\u{10ffff}", true),
        ("??", "日", false),
        ("*??", "日", false),
        ("?????", "日本日本日", true),
        (
            "arn:aws:iam::*:role/*",
            "arn:aws:iam::123456789012:role/x",
            true,
        ),
        (
            "arn:aws:iam::*:role/*",
            "arn:aws:iam::123456789012:role/a/x",
            false,
        ),
        (
            "*@agent-fleet-prod.iam.gserviceaccount.com",
            "a@agent-fleet-prod.iam.gserviceaccount.com",
            true,
        ),
        (
            "*@agent-fleet-prod.iam.gserviceaccount.com",
            "a@agent-fleet-prod.iam.gserviceaccount.com.evil.example",
            false,
        ),
        (
            "*@agent-fleet-prod.iam.gserviceaccount.com",
            "a@agent-fleet-prodXiam.gserviceaccount.com",
            false,
        ),
    ];
    for (glob, text, expected) in table {
        assert_eq!(is_match(glob, text), Some(*expected), "{glob} on {text}");
        assert_eq!(
            reference_match(glob, text),
            Some(*expected),
            "{glob} on {text}"
        );
    }
}

/// Where the documentation and Go's implementation part, we follow the documentation.
#[test]
fn comes_back_to_a_star_after_a_class_took_a_slash() {
    assert_eq!(is_match("*[^a]*x", "b/cx"), Some(true));
}

#[test]
fn says_what_is_wrong_and_where() {
    let error = |glob: &str| Globs::new(["fine", glob]).unwrap_err();
    let table = [
        ("[a", GlobErrorKind::UnclosedClass),
        ("[", GlobErrorKind::UnclosedClass),
        ("[a-", GlobErrorKind::UnclosedClass),
        ("[]", GlobErrorKind::EmptyClass),
        ("[^]", GlobErrorKind::EmptyClass),
        ("[-a]", GlobErrorKind::StrayHyphen),
        ("[a-]", GlobErrorKind::StrayHyphen),
        ("[z-a]", GlobErrorKind::ReversedRange('z', 'a')),
        ("a\\", GlobErrorKind::TrailingBackslash),
        ("[\\", GlobErrorKind::TrailingBackslash),
    ];
    for (glob, kind) in table {
        assert_eq!(error(glob), GlobError { index: 1, kind }, "{glob}");
    }
}

#[test]
fn agrees_with_the_reference_on_generated_globs() {
    let tokens = [
        "a",
        "b",
        "é",
        "日",
        "*",
        "*",
        "?",
        "/",
        ".",
        "..",
        "[a-c]",
        "[^a]",
        "[!a]",
        "[^/b]",
        "[é-日]",
        "[^b-ö]",
        "[\\]-]",
        "[a",
        "]",
        "{",
        "}",
        ",",
        "!",
        "\\",
        "\\*",
        "@",
        ":",
        "-",
        "\n",
        "\u{f}",
        "\u{f}\u{10}\u{10}\u{10}\u{10}\u{1e}\u{19}",
        "[\u{0}-\u{7f}]",
        "[--/]",
        "[^\u{f}]",
        "[+-\\-]",
        "[Z-a]",
    ];
    let letters = [
        "a", "a", "b", "b", "c", "é", "日", "😀", "/", "/", ".", "..", "*", "?", "[", "]", "{",
        "}", ",", "!", "^", "-", "\\", "@", ":", "\n", "\u{0}", "\u{f}", "\u{1e}", "ö", "Z", "_",
    ];
    let mut random = Random(20_261_122);
    let (mut good, mut hits) = (0, 0);
    for _ in 0..2_000 {
        let glob = random.text(&tokens, 6);
        let compiled = Globs::new([&glob]).ok();
        assert_eq!(
            compiled.is_some(),
            reference_match(&glob, "").is_some(),
            "validity of {glob:?}"
        );
        let Some(globs) = compiled else { continue };
        good += 1;
        for _ in 0..30 {
            let text = random.text(&letters, 6);
            let expected = reference_match(&glob, &text) == Some(true);
            hits += usize::from(expected);
            assert_eq!(globs.is_match(&text), expected, "{glob:?} on {text:?}");
        }
        // The glob's own text, changed at most once, hits far more often than random text does.
        for _ in 0..10 {
            let mut text: Vec<char> = glob.chars().filter(|c| *c != '\\').collect();
            if !text.is_empty() {
                let at = random.below(text.len());
                text[at] = ['a', 'é', '/', '.', 'b'][random.below(5)];
            }
            let text: String = text.into_iter().collect();
            let expected = reference_match(&glob, &text) == Some(true);
            hits += usize::from(expected);
            assert_eq!(globs.is_match(&text), expected, "{glob:?} on {text:?}");
        }
    }
    assert!(good > 500, "{good} good globs are too few to mean anything");
    assert!(hits > 1_000, "{hits} hits are too few to mean anything");
}

#[test]
fn a_set_matches_what_one_of_its_globs_matches() {
    let tokens = ["a", "b", ".", "*", "?", "/", "[ab]", "é"];
    let letters = ["a", "b", ".", "/", "é"];
    let mut random = Random(7);
    for _ in 0..200 {
        let globs: Vec<String> = (0..8).map(|_| random.text(&tokens, 4)).collect();
        let set = Globs::new(&globs).unwrap();
        for _ in 0..30 {
            let text = random.text(&letters, 4);
            let first = globs
                .iter()
                .find(|g| reference_match(g, &text) == Some(true));
            assert_eq!(
                set.is_match(&text),
                first.is_some(),
                "{globs:?} on {text:?}"
            );
            assert_eq!(set.matching(&text), first.map(String::as_str));
        }
    }
}

/// Every border of the code points' digits, so that a range is neither too wide nor too narrow.
#[test]
fn classes_are_exact_at_their_borders() {
    let points = [
        0u32, 1, 0xe, 0xf, 0x10, 0x1f, 0x20, 0x2e, 0x2f, 0x30, 0x5a, 0x7f, 0x80, 0x81, 0xff, 0x100,
        0xfff, 0x1000, 0x10fff, 0x11000, 0xd7ff, 0xe000, 0xffff, 0x10000, 0xfffff, 0x10_0000,
        0x10_fffe, 0x10_ffff,
    ];
    let chars: Vec<char> = points.iter().filter_map(|p| char::from_u32(*p)).collect();
    for from in &chars {
        for to in chars.iter().filter(|to| *to >= from) {
            let inside = Globs::new([format!("[\\{from}-\\{to}]")]).unwrap();
            let outside = Globs::new([format!("[^\\{from}-\\{to}]")]).unwrap();
            for c in &chars {
                let text = c.to_string();
                let expected = (from..=to).contains(&c);
                assert_eq!(inside.is_match(&text), expected, "{c:?} in {from:?}-{to:?}");
                assert_eq!(
                    outside.is_match(&text),
                    !expected,
                    "{c:?} in ^{from:?}-{to:?}"
                );
            }
        }
    }
}

#[test]
fn ten_thousand_globs_are_one_set() {
    let globs = (0..10_000).map(|n| format!("*@agents-{n}.iam.gserviceaccount.com"));
    let set = Globs::new(globs).unwrap();
    assert!(set.is_match("orders@agents-9999.iam.gserviceaccount.com"));
    assert_eq!(
        set.matching("orders@agents-7.iam.gserviceaccount.com"),
        Some("*@agents-7.iam.gserviceaccount.com")
    );
    assert!(!set.is_match("orders@agents-10000.iam.gserviceaccount.com"));
    assert!(!set.is_match("orders@agents-7.iam.gserviceaccount.com.evil.example"));
}

#[test]
fn no_globs_match_nothing() {
    let set = Globs::new(Vec::<String>::new()).unwrap();
    assert!(!set.is_match(""));
}

/// Sets large enough for every level of the index.
#[test]
fn a_large_set_matches_what_one_of_its_globs_matches() {
    let starts = ["", "", "arn:", "arn:aws:", "é", "a/"];
    let middles = ["*", "*", "?", "[ab]*", "*/*", "*b*", "", "*:role/*"];
    let ends = ["", "", "x", "@b", "/é", ":role/a"];
    let mut random = Random(11);
    let mut hits = 0;
    for _ in 0..40 {
        let part = |random: &mut Random| {
            let mut pick = |list: &[&'static str]| list[random.below(list.len())];
            format!("{}{}{}", pick(&starts), pick(&middles), pick(&ends))
        };
        let globs: Vec<String> = (0..120).map(|_| part(&mut random)).collect();
        let set = Globs::new(&globs).unwrap();
        for _ in 0..100 {
            let star = ["", "b", "/"][random.below(3)];
            let text = part(&mut random)
                .replace('*', star)
                .replace(['[', ']', '?'], "a");
            let first = globs
                .iter()
                .find(|g| reference_match(g, &text) == Some(true));
            hits += usize::from(first.is_some());
            assert_eq!(
                set.is_match(&text),
                first.is_some(),
                "{globs:?} on {text:?}"
            );
            assert_eq!(set.matching(&text), first.map(String::as_str), "{text:?}");
        }
    }
    assert!(hits > 1_000, "{hits} hits are too few to mean anything");
}

#[test]
fn no_glob_makes_matching_explode() {
    let set = Globs::new(["a*".repeat(200) + "[b]", "*[^/]".repeat(100)]).unwrap();
    assert!(!set.is_match(&("a".repeat(2000) + "/")));
}
