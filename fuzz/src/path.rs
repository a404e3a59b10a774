//! Paths brought to their normal form, against a slow reading segment by segment; hosts that read as themselves.

use lintel::route::{Host, NormalPath, PathError, split_target};

pub fn check(input: &[u8]) {
    let (raw, query) = split_target(input);
    match query {
        Some(query) => assert_eq!([raw, b"?", query].concat(), input),
        None => assert_eq!(raw, input),
    }
    check_path(raw);
    check_host(input);
}

fn check_path(raw: &[u8]) {
    let wanted = reference(raw);
    let path = match NormalPath::of(raw) {
        Ok(path) => path,
        Err(error) => {
            // Only readings that the plain one leaves out may refuse what it takes.
            let Some(text) = wanted else { return };
            assert!(matches!(error, PathError::AboveRoot | PathError::TooManyReadings), "{error}: {text}");
            assert!(raw.windows(2).any(|two| two == b"//") || raw.contains(&b'%'));
            return;
        }
    };
    let text = path.as_str();
    assert_eq!(Some(text), wanted.as_deref());
    if text == "*" {
        return;
    }
    assert!(text.starts_with('/') && !text.contains("//"));
    assert!(!text.split('/').any(|segment| matches!(segment, "." | "..")));
    assert!(!text.chars().any(|character| character.is_control() && character.is_ascii()));
    let readings: Vec<&str> = path.readings().collect();
    assert!(readings.len() <= 17 && readings[0] == text);
    for (place, reading) in readings.iter().enumerate() {
        assert!(reading.starts_with('/') && !readings[..place].contains(reading), "{readings:?}");
    }
    // Escaped again it is the same path, read the same by everyone but for encoded separators.
    let escaped = escape(text);
    let again = NormalPath::of(&escaped).expect("a normal path is a path");
    assert_eq!(again.as_str(), text);
    assert!(again.is_unambiguous() || text.contains("%2F") || text.contains("%5C"));
}

fn check_host(text: &[u8]) {
    let Ok(host) = Host::of(text) else { return };
    assert_eq!(Host::of(host.to_string().as_bytes()), Ok(host.clone()));
    let name = host.name();
    assert!(
        !name.is_empty()
            && !name.bytes().any(|b| b.is_ascii_uppercase() || b <= b' ' || b"/@,\\?#%".contains(&b))
    );
    assert!(text.to_ascii_lowercase().starts_with(name.as_bytes()) || host.is_ipv6());
}

fn escape(text: &str) -> Vec<u8> {
    let mut raw = Vec::new();
    for byte in text.bytes() {
        match byte {
            b'/' | b'%' => raw.push(byte),
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) => raw.push(byte),
            _ => raw.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    raw
}

/// One segment decoded once, and whether a dot of it was escaped.
fn segment(raw: &[u8]) -> Option<(String, bool)> {
    let mut bytes = Vec::new();
    let mut escaped_dot = false;
    let mut at = 0;
    while at < raw.len() {
        let byte = raw[at];
        at += 1;
        if byte != b'%' {
            if byte <= 0x20 || byte == 0x7f || b"\\?#".contains(&byte) {
                return None;
            }
            bytes.push(byte);
            continue;
        }
        let digits = std::str::from_utf8(raw.get(at..at + 2)?).ok()?;
        if !digits.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        at += 2;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        escaped_dot |= byte == b'.';
        match byte {
            0..0x20 | 0x7f => return None,
            b'%' | b'/' | b'\\' => bytes.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            _ => bytes.push(byte),
        }
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        chunk.invalid().iter().for_each(|byte| text += &format!("%{byte:02X}"));
    }
    Some((text, escaped_dot))
}

/// Slow and plain: segment by segment, nothing shared with Lintel's own.
fn reference(raw: &[u8]) -> Option<String> {
    if raw == b"*" {
        return Some("*".to_owned());
    }
    let segments = raw.strip_prefix(b"/")?.split(|byte| *byte == b'/').map(segment);
    let segments: Vec<(String, bool)> = segments.collect::<Option<_>>()?;
    let pieces = |text: &str| text.replace("%5C", "%2F").split("%2F").map(str::to_owned).collect::<Vec<_>>();
    let any_piece =
        |test: &dyn Fn(&str) -> bool| segments.iter().any(|(text, _)| pieces(text).iter().any(|p| test(p)));
    let is_dot = |text: &str| text == "." || text == "..";
    let twice = |text: &str| {
        text.to_lowercase().contains("%252e") && is_dot(&text.to_lowercase().replace("%252e", "."))
    };
    if any_piece(&|piece| piece.starts_with(".;") || piece.starts_with("..;")) || any_piece(&twice) {
        return None;
    }
    if any_piece(&is_dot) {
        let plain = segments.iter().any(|(text, escaped)| is_dot(text) && !escaped);
        let escaped = segments.iter().any(|(text, escaped)| is_dot(text) && *escaped);
        let encoded = segments.iter().any(|(text, _)| pieces(text).len() > 1);
        if (plain && escaped) || encoded {
            return None;
        }
    }
    let ends_open = segments.last().is_some_and(|(text, _)| text.is_empty() || is_dot(text));
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
