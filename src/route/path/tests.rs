//! Paths brought to their normal form, and those that have none.

use super::*;
use proptest::prelude::*;

fn normal(raw: &str) -> Result<String, PathError> {
    NormalPath::of(raw.as_bytes()).map(|path| path.as_str().to_owned())
}

fn others(raw: &str) -> Vec<String> {
    let path = NormalPath::of(raw.as_bytes()).unwrap();
    path.readings().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_plain_path_is_borrowed_as_it_is() {
    for raw in
        ["/", "*", "/a", "/a/b.c/", "/a;b=1/c,d", "/~x/@y/(z)!$&'*+=:", "/a...", "/a/b..", "/{x}|^`\"<>[]"]
    {
        let path = NormalPath::of(raw.as_bytes()).unwrap();
        assert!(matches!(path.text, Cow::Borrowed(text) if text == raw), "{raw}");
        assert!(path.is_unambiguous() && !path.is_tangled);
    }
}

#[test]
fn escapes_are_decoded_once_and_only_where_that_is_clear() {
    for (raw, text) in [
        ("/%61%2Db%7e", "/a-b~"),
        ("/%40scope%3Ax", "/@scope:x"),
        ("/caf%C3%A9", "/caf\u{e9}"),
        ("/caf\u{e9}", "/caf\u{e9}"),
        ("/a%20b%22", "/a b\""),
        ("/100%25", "/100%25"),
        ("/a%252fb", "/a%252fb"),
        ("/a%252e%252e", "/a%252e%252e"),
        ("/%252e%252ea", "/%252e%252ea"),
        ("/a%2fb%5cc", "/a%2Fb%5Cc"),
        ("/a%3fb%23c", "/a?b#c"),
        ("/%e9%ff", "/%E9%FF"),
        ("/%c0%af", "/%C0%AF"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
    ] {
        assert_eq!(normal(raw).as_deref(), Ok(text), "{raw}");
    }
    assert_eq!(NormalPath::of(b"/\xff\xe9x").unwrap().as_str(), "/%FF%E9x");
}

#[test]
fn slashes_are_merged_and_dot_segments_removed() {
    for (raw, text) in [
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a/b/../", "/a/"),
        ("/a/..", "/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a//../b", "/b"),
        ("/a/..//b", "/b"),
        ("/a/%2e/b", "/a/b"),
    ] {
        assert_eq!(normal(raw).as_deref(), Ok(text), "{raw}");
    }
}

#[test]
fn each_way_to_read_a_path_is_kept() {
    assert_eq!(others("/a/%62"), ["/a/%62"]);
    assert_eq!(others("/a/../b"), ["/a/../b"]);
    assert_eq!(others("/a//b"), ["/a//b"]);
    assert_eq!(others("//a/b"), ["//a/b", "/b"]);
    assert_eq!(others("///a"), ["///a", "/"]);
    assert_eq!(others("/@a%2Fb"), ["/@a/b"]);
    assert_eq!(others("/a%5c"), ["/a/"]);
    assert_eq!(others("/%2Fa/b"), ["//a/b", "/a/b", "/b"]);
    assert_eq!(others("/a//../b"), ["/a//../b", "/a/../b", "/a/b"]);
    assert_eq!(others("/caf%C3%A9"), Vec::<String>::new());
    assert_eq!(others("/a%20%25"), Vec::<String>::new());
}

#[test]
fn what_no_honest_client_sends_is_refused() {
    use PathError::*;
    for (raw, error) in [
        ("", NotAbsolute),
        ("**", NotAbsolute),
        ("a/b", NotAbsolute),
        ("http://a/", NotAbsolute),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%zz", BadEscape),
        ("/%+1", BadEscape),
        ("/%u002e", BadEscape),
        ("/a%00", ControlCharacter),
        ("/a%0d%0aSet-Cookie", ControlCharacter),
        ("/a%7F", ControlCharacter),
        ("/a\0b", ControlCharacter),
        ("/a\tb", ControlCharacter),
        ("/a b", BadCharacter),
        ("/a\\b", BadCharacter),
        ("/\\a", BadCharacter),
        ("/a#b", BadCharacter),
        ("/a?b", BadCharacter),
        ("/..", AboveRoot),
        ("/../a", AboveRoot),
        ("/a/../../b", AboveRoot),
        ("/a/%2e%2e/%2E%2E/b", AboveRoot),
        ("/a/..%2fb", Tangled),
        ("/a%2f..%2fb", Tangled),
        ("/a%5c%2e%2e%5cb", Tangled),
        ("/a/..%5cb", Tangled),
        ("/a/../b%2fc", Tangled),
        ("//a/../b", AboveRoot),
        ("//a//b//c//d//e//f//g//h//i", TooManyReadings),
        ("/a/./b/%2e%2e/c", Tangled),
        ("/a/..;/b", Tangled),
        ("/a/..;x=1/b", Tangled),
        ("/a/%2e%2e%3b/b", Tangled),
        ("/.;/b", Tangled),
        ("/a/%252e%252E/b", Tangled),
        ("/a/.%252e", Tangled),
        ("/a%2f..;/b", Tangled),
    ] {
        assert_eq!(normal(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn a_target_is_cut_at_its_first_question_mark() {
    assert_eq!(split_target(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
    assert_eq!(split_target(b"/a?"), (&b"/a"[..], Some(&b""[..])));
    assert_eq!(split_target(b"/a"), (&b"/a"[..], None));
}

/// Slow and plain: segment by segment, nothing shared with the code above.
fn reference(raw: &[u8]) -> Option<String> {
    if raw == b"*" {
        return Some("*".to_owned());
    }
    let mut segments: Vec<(String, bool)> = Vec::new();
    for segment in raw.strip_prefix(b"/")?.split(|byte| *byte == b'/') {
        let mut bytes = Vec::new();
        let mut escaped_dot = false;
        let mut at = 0;
        while at < segment.len() {
            let byte = segment[at];
            at += 1;
            if byte != b'%' {
                if byte <= 0x20 || byte == 0x7f || b"\\?#".contains(&byte) {
                    return None;
                }
                bytes.push(vec![byte]);
                continue;
            }
            let digits = std::str::from_utf8(segment.get(at..at + 2)?).ok()?;
            if !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                return None;
            }
            at += 2;
            let byte = u8::from_str_radix(digits, 16).ok()?;
            escaped_dot |= byte == b'.';
            match byte {
                0..0x20 | 0x7f => return None,
                b'%' | b'/' | b'\\' => bytes.push(format!("%{byte:02X}").into_bytes()),
                _ => bytes.push(vec![byte]),
            }
        }
        let bytes = bytes.concat();
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text += chunk.valid();
            chunk.invalid().iter().for_each(|byte| text += &format!("%{byte:02X}"));
        }
        segments.push((text, escaped_dot));
    }
    let pieces = |text: &str| text.replace("%5C", "%2F").split("%2F").map(str::to_owned).collect::<Vec<_>>();
    if segments
        .iter()
        .any(|(text, _)| pieces(text).iter().any(|p| p.starts_with(".;") || p.starts_with("..;")))
    {
        return None;
    }
    let is_dot = |text: &str| text == "." || text == "..";
    let twice = |text: &str| {
        text.to_lowercase().contains("%252e") && is_dot(&text.to_lowercase().replace("%252e", "."))
    };
    if segments.iter().any(|(text, _)| pieces(text).iter().any(|piece| twice(piece))) {
        return None;
    }
    let ends_open = segments.last().is_some_and(|(text, _)| text.is_empty() || is_dot(text));
    if segments.iter().any(|(text, _)| pieces(text).iter().any(|piece| is_dot(piece))) {
        let plain = segments.iter().any(|(text, escaped)| is_dot(text) && !escaped);
        let escaped = segments.iter().any(|(text, escaped)| is_dot(text) && *escaped);
        let encoded = segments.iter().any(|(text, _)| pieces(text).len() > 1);
        if (plain && escaped) || encoded {
            return None;
        }
    }
    let mut kept: Vec<String> = Vec::new();
    for (text, _) in segments {
        match text.as_str() {
            "" | "." => {}
            ".." => drop(kept.pop()?),
            _ => kept.push(text),
        }
    }
    let path: String = kept.iter().map(|segment| format!("/{segment}")).collect();
    Some(if ends_open || kept.is_empty() { path + "/" } else { path })
}

fn tricky_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", "a", "b", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%61", "%25", "%20", ";",
        "%3b", "%C3%A9", "\u{e9}", "%ff", "%C3", "%252e", "@", "%40", "%", "%0a", "\\", "+", "~", "%7E", "?",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_normal_text_is_that_of_a_slow_and_plain_reading(
        raw in prop_oneof![9 => tricky_path(), 1 => prop::collection::vec(any::<u8>(), 0..40)],
    ) {
        match (NormalPath::of(&raw), reference(&raw)) {
            (Ok(path), wanted) => prop_assert_eq!(Some(path.as_str()), wanted.as_deref()),
            (Err(_), None) => {}
            // Only readings that the plain one leaves out may refuse what it takes.
            (Err(error), Some(text)) => {
                prop_assert!(matches!(error, PathError::AboveRoot | PathError::TooManyReadings), "{error} {text}");
                prop_assert!(raw.windows(2).any(|two| two == b"//") || raw.contains(&b'%'));
            }
        }
    }

    #[test]
    fn normal_text_keeps_its_promises(raw in tricky_path()) {
        if let Ok(path) = NormalPath::of(&raw) {
            let text = path.as_str();
            prop_assert!(text.starts_with('/') && !text.contains("//"));
            prop_assert!(!segments(text).any(|segment| matches!(segment, "." | "..")));
            // Escaped again it is the same path, read the same by everyone but for encoded separators.
            let escaped = escape(text);
            let again = NormalPath::of(&escaped).unwrap();
            prop_assert_eq!(again.as_str(), text);
            prop_assert!(!again.is_tangled);
            prop_assert!(again.is_unambiguous() || text.contains("%2F") || text.contains("%5C"));
        }
    }
}
