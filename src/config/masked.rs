//! What a line of a config must not show when a problem points at it: values whose name is a secret's, passwords in URLs.
//!
//! It reads text and not the tree: what is no YAML has no tree, and must not be shown either. Where in doubt it hides; a
//! value that stands lines below its name is only found when it begins on the next one.

use std::ops::Range;

use super::key_path::sounds_secret;
use super::problem::Problem;
use super::shown::{HIDDEN, without_password};

/// What stands for each character, so that carets stay below what they point at.
const MASK: char = '*';

/// Keys of Lintel's own that sound like a secret and name a file, a cookie, or what is hashed.
const OWN: [&str; 2] = ["key", "cookie"];

/// Shorter ones may be a part of ordinary words.
const SHORTEST: usize = 4;

/// A line without its secrets, as long as before, and the secrets.
pub(super) fn masked(line: &str, before: &str) -> (String, Vec<String>) {
    let secrets = secrets(line, before);
    let is_hidden = |at: usize| secrets.iter().any(|secret| secret.contains(&at));
    let text = line.char_indices().map(|(at, char)| if is_hidden(at) { MASK } else { char }).collect();
    let hidden = secrets.iter().filter_map(|secret| line.get(secret.clone())).map(str::to_owned).collect();
    (text, hidden)
}

/// Takes the secrets of the lines that it points at out of what a problem says.
pub(super) fn hide(problem: &mut Problem) {
    let Problem { spot, also, message, help, .. } = problem;
    let spots = spot.iter().chain(also.iter().map(|(spot, _)| spot));
    let hidden: Vec<String> = spots.flat_map(|spot| spot.hidden.iter().cloned()).collect();
    for text in std::iter::once(message).chain(help) {
        for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
            *text = text.replace(&format!("`{secret}`"), &format!("`{HIDDEN}`"));
            if secret.len() >= SHORTEST {
                *text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        *text = without_password(text);
    }
}

fn secrets(line: &str, before: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = passwords(line).collect();
    for (colon, _) in line.match_indices(':') {
        let after = line.get(colon + 1..).unwrap_or_default();
        if after.is_empty() || after.starts_with([' ', '\t']) {
            let is_of_secret = is_secret_name(name_before(line, colon));
            found.extend(value_at(line, colon + 1).filter(|value| {
                is_of_secret || name_before(line, colon) == "cookie" && holds_pair(line, value)
            }));
        }
    }
    // A value below its name.
    let name = before.trim_end().strip_suffix(':').map(|name| name_before(name, name.len()));
    if name.is_some_and(|name| is_secret_name(name) && !["secret", "token"].contains(&name)) {
        let start = line.len() - line.trim_start_matches([' ', '-']).len();
        let start = start + line.get(start..).and_then(|rest| rest.strip_prefix("regex:")).map_or(0, |_| 6);
        found.extend(value_at(line, start));
    }
    found
}

fn is_secret_name(name: &str) -> bool {
    sounds_secret(name) && !OWN.contains(&name)
}

/// `NAME=VALUE`, as a cookie of a header has it and the name of a cookie does not.
fn holds_pair(line: &str, value: &Range<usize>) -> bool {
    line.get(value.clone()).is_some_and(|value| value.contains('='))
}

/// The word that ends here, without its quotes.
fn name_before(line: &str, end: usize) -> &str {
    let text = line.get(..end).unwrap_or_default().trim_end().trim_end_matches(['"', '\'']);
    let start = text.rfind([' ', '\t', '{', '[', ',', '"', '\'']).map_or(0, |at| at + 1);
    text.get(start..).unwrap_or_default()
}

/// The text of the value that begins here, up to the end of its line at most.
fn value_at(line: &str, from: usize) -> Option<Range<usize>> {
    let rest = line.get(from..)?;
    let start = from + (rest.len() - rest.trim_start().len());
    let rest = line.get(start..)?;
    let until = |open: usize, end: Option<usize>| Some(start + open..start + end.unwrap_or(rest.len()));
    let range = match rest.chars().next()? {
        '{' => {
            let inner = rest.get(1..)?.trim_start();
            let below = inner.strip_prefix("regex:")?;
            return value_at(line, line.len() - below.len());
        }
        '[' if rest.get(1..)?.trim_start().starts_with('{') => return None,
        '[' => until(1, rest.find(']'))?,
        '"' => until(1, closing(rest, '"'))?,
        '\'' => until(1, closing(rest, '\''))?,
        '|' | '>' | '~' | '#' => return None,
        _ => {
            let is_flow = line.get(..start)?.contains(['{', '[']);
            let end = if is_flow { rest.find([',', '}', ']']) } else { rest.find(" #") };
            until(0, end)?
        }
    };
    let text = line.get(range.clone())?.trim_end();
    let is_reference = text.starts_with("${") && text.ends_with('}') && !text.contains(":-");
    (!text.is_empty() && text != "null" && !is_reference).then(|| range.start..range.start + text.len())
}

/// Where a quoted text ends: at the first quote that is not escaped.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, char)| {
        let ends = char == quote && !escaped;
        escaped = char == '\\' && quote == '"' && !escaped;
        ends.then_some(at)
    })
}

/// `PASSWORD` of each `://USER:PASSWORD@`.
fn passwords(line: &str) -> impl Iterator<Item = Range<usize>> {
    line.match_indices("://").filter_map(|(at, _)| {
        let start = at + 3;
        let authority = line.get(start..)?.split(['/', '?', '#', ' ', '"', '\'']).next()?;
        let (account, _) = authority.rsplit_once('@')?;
        let (user, password) = account.split_once(':')?;
        let start = start + user.len() + 1;
        Some(start..start + password.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load_text, render};

    #[test]
    fn values_of_secret_names_are_hidden_and_nothing_moves() {
        for (line, expected) in [
            ("  DB_PASSWORD: hunter2 # ours", "  DB_PASSWORD: ******* # ours"),
            ("  DB_PASSWORD: a, b", "  DB_PASSWORD: ****"),
            ("env: { API_KEY: \"hu, \\\" er\", B: c }", "env: { API_KEY: \"*********\", B: c }"),
            ("set: { 'Authorization': 'Bearer x', x: y }", "set: { 'Authorization': '********', x: y }"),
            ("x-token: { regex: \"hunter2(\" }", "x-token: { regex: \"********\" }"),
            ("env: { PASSWORDS: [a, b], X: [c] }", "env: { PASSWORDS: [****], X: [c] }"),
            ("secret: hünter2", "secret: *******"),
            ("set: { cookie: a=b }", "set: { cookie: *** }"),
            ("URL: redis://user:p@ss@host/1", "URL: redis://user:****@host/1"),
            ("TOKEN: ${T:-hunter2}", "TOKEN: *************"),
        ] {
            assert_eq!(masked(line, "").0, expected);
        }
        for line in [
            "sticky: { cookie: lintel, secret: { file: sticky.key } }",
            "certificates: [{ cert: a.crt, key: a.key }]",
            "private: [{ headers: {} }]",
            "tokens: { servers: [\"127.0.0.1:1\"] }",
            "API_TOKEN: ${API_TOKEN}",
            "timeouts: { server_keep_alive: 4s }",
            "to: https://a.test/x:y@z",
            "PASSWORD:",
            "a:b:c",
            "",
        ] {
            assert_eq!(masked(line, ""), (line.to_owned(), Vec::new()));
        }
        assert_eq!(masked("    regex: abcd", "  x-token:").0, "    regex: ****");
        assert_eq!(masked("    - abcd", "  PASSWORDS:").0, "    - ****");
        assert_eq!(masked("    file: abcd", "  secret:").0, "    file: abcd");
    }

    const BAD: &str = r#"
listeners: { http: { address: "127.0.0.1:0" } }
pools:
  web: { servers: ["redis://user:hunter2@h:1"], sticky: { cookie: x, secret: hunter2 } }
  jobs: { app: { command: x, env: { DB_PASSWORD: [hunter2], TOKEN: hunter2, "B C": { a: b } } } }
policies:
  a: [{ headers: { request: { set: { Authorization: "Bearer hunter2", Cookie: "a=hunter2", te: x }, adds: {} } } }]
routes:
  - { match: { headers: { x-token: { regex: "hunter2(" } } }, to: web, respond: { headers: { set-cookie: "hunter2\u0001" } } }
  - { match: { query: { token: hunter2 } }, to: nowhere }
  - { match: { query: { token: hunter2 } }, to: web }
admin: { address: "127.0.0.1:0", token: hunter2 }
"#;

    #[test]
    fn problems_of_a_config_show_no_secret_of_it() {
        let problems = |text: &str| {
            load_text("lintel.yaml", "/".into(), text.to_owned(), &|_| None).map(drop).unwrap_err()
        };
        let found = problems(BAD);
        assert!(found.0.len() > 6, "{found}");
        let lines: Vec<String> = found.0.iter().map(render::line).collect();
        assert!(!format!("{found} {lines:?}").contains("hunter2"), "{found}\n{lines:#?}");
        let found = problems("pools: { web: { app: { command: x, env: { DB_PASSWORD: hunter2, ] } }\n");
        assert!(!found.to_string().contains("hunter2"), "{found}");
    }

    proptest::proptest! {
        #[test]
        fn any_line_keeps_its_length(line in "[-a-zA-Z:{}\\[\\]\"'\\\\ #$|@/,ü]{0,60}TOKEN: ?[^\n]{0,30}", before in "[a-zT: ]{0,12}") {
            let (text, hidden) = masked(&line, &before);
            proptest::prop_assert_eq!(text.chars().count(), line.chars().count());
            proptest::prop_assert!(hidden.iter().all(|secret| line.contains(secret)));
        }
    }
}
