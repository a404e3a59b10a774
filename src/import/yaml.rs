//! Writes a config as YAML that people like to read: short values on one line, the rest in blocks, and comments.
//!
//! Strings are quoted wherever a reader of YAML 1.1 or 1.2 could take them for something else, and a dollar sign that
//! Lintel would follow is doubled.

/// Columns that a line of a comment, and a map on one line, has room for.
const WIDTH: usize = 110;

/// One line of a map, or the lines below it.
#[derive(Clone, Debug)]
pub struct Entry {
    key: String,
    value: Value,
    /// Behind the value; only of those on one line.
    note: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Value {
    /// As it is written.
    Written(String),
    /// On one line where it fits.
    Short(Vec<Entry>),
    Block(Vec<Entry>),
}

impl Entry {
    /// A text, quoted where it must be.
    pub fn text(key: &str, text: &str) -> Self {
        Self::written(key, scalar(text))
    }

    /// A number, a quantity or a word that is no text.
    pub fn written(key: &str, value: impl ToString) -> Self {
        Self { key: scalar(key), value: Value::Written(value.to_string()), note: None }
    }

    pub fn list(key: &str, texts: &[String]) -> Self {
        let items: Vec<_> = texts.iter().map(|text| scalar(text)).collect();
        Self::written(key, format!("[{}]", items.join(", ")))
    }

    /// A small map.
    pub fn short(key: &str, entries: Vec<Self>) -> Self {
        Self { key: scalar(key), value: Value::Short(entries), note: None }
    }

    pub fn block(key: &str, entries: Vec<Self>) -> Self {
        Self { key: scalar(key), value: Value::Block(entries), note: None }
    }

    pub fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    fn on_one_line(&self) -> String {
        let value = match &self.value {
            Value::Written(value) => value.clone(),
            Value::Short(entries) | Value::Block(entries) => {
                let entries: Vec<_> = entries.iter().map(Self::on_one_line).collect();
                format!("{{ {} }}", entries.join(", "))
            }
        };
        format!("{}: {value}", self.key)
    }
}

/// Adds the lines of a map's entries, `indent` spaces from the left.
pub fn block(text: &mut String, indent: usize, entries: &[Entry]) {
    for entry in entries {
        let line = entry.on_one_line();
        match &entry.value {
            Value::Block(below) => lines_below(text, indent, &entry.key, below),
            Value::Short(below) if indent + line.chars().count() > WIDTH => {
                lines_below(text, indent, &entry.key, below);
            }
            _ => {
                let note = entry.note.map_or(String::new(), |note| format!("  # {note}"));
                *text += &format!("{:indent$}{line}{note}\n", "");
            }
        }
    }
}

fn lines_below(text: &mut String, indent: usize, key: &str, entries: &[Entry]) {
    *text += &format!("{:indent$}{key}:\n", "");
    block(text, indent + 2, entries);
}

/// Adds a comment; what does not fit on a line goes on in the next one, below the words.
pub fn comment(text: &mut String, indent: usize, words: &str) {
    let words: String = words.chars().map(|c| if is_printable(c) { c } else { ' ' }).collect();
    let mut line = format!("{:indent$}#", "");
    let mut is_begun = false;
    for word in words.split_whitespace() {
        if is_begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            *text += &format!("{line}\n");
            line = format!("{:indent$}#  ", "");
        }
        line = format!("{line} {word}");
        is_begun = true;
    }
    *text += &format!("{line}\n");
}

/// A string, quoted where it must be.
pub fn scalar(text: &str) -> String {
    let text = escape_dollars(text);
    if is_plain(&text) {
        return text;
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted += "\\\"",
            '\\' => quoted += "\\\\",
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            '\r' => quoted += "\\r",
            c if is_printable(c) => quoted.push(c),
            c if u32::from(c) <= 0xff => quoted += &format!("\\x{:02x}", u32::from(c)),
            c if u32::from(c) <= 0xffff => quoted += &format!("\\u{:04x}", u32::from(c)),
            c => quoted += &format!("\\U{:08x}", u32::from(c)),
        }
    }
    quoted + "\""
}

/// Doubles a dollar sign that would begin a reference or is taken for a doubled one.
fn escape_dollars(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        escaped.push(c);
        if c == '$' && rest.peek().is_some_and(|next| matches!(next, '$' | '{')) {
            escaped.push('$');
        }
    }
    escaped
}

/// Whether a string is that string without quotes too, inside brackets as well.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "_-./:@=+~%^ ()".contains(c);
    let begins_well = first.is_ascii_alphanumeric() || matches!(first, '/' | '.' | '_' | '(');
    if !begins_well || !text.chars().all(is_fine) || text.ends_with([' ', ':']) || text.contains(": ") {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let is_word_of_yaml =
        ["true", "false", "yes", "no", "on", "off", "y", "n", "null"].contains(&lower.as_str());
    // Numbers of every base, times of day and dates.
    let begins_as_number = first.is_ascii_digit() || first == '.';
    let may_be_number =
        begins_as_number && lower.chars().all(|c| c.is_ascii_hexdigit() || "._:+-xotz ".contains(c));
    let is_odd_float = matches!(lower.as_str(), ".inf" | ".nan");
    !(is_word_of_yaml || may_be_number && lower.chars().any(|c| c.is_ascii_digit()) || is_odd_float)
}

/// What YAML lets stand as it is, less what people cannot see.
fn is_printable(c: char) -> bool {
    let is_mark = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    // Marks that turn the direction of writing can make a line look like another one.
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !(c.is_control() || is_mark || turns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn strings_are_quoted_where_they_would_be_something_else() {
        for plain in
            ["node dist/server.js", "./logs", "/srv/app", "production", "a=b", "500MiB", "v1.2", "a:b"]
        {
            assert_eq!(scalar(plain), plain);
        }
        for (text, quoted) in [
            ("", r#""""#),
            ("3000", r#""3000""#),
            ("1e3", r#""1e3""#),
            ("0x1F", r#""0x1F""#),
            ("2026-11-22", r#""2026-11-22""#),
            ("12:30", r#""12:30""#),
            (".5", r#"".5""#),
            ("yes", r#""yes""#),
            ("Off", r#""Off""#),
            ("null", r#""null""#),
            ("~", r#""~""#),
            ("-c", r#""-c""#),
            ("* * *", r#""* * *""#),
            ("a: b", r#""a: b""#),
            ("a #b", r##""a #b""##),
            ("[a]", r#""[a]""#),
            (" a", r#"" a""#),
            ("it's", r#""it's""#),
            ("a\\b\"c\n\u{7}", r#""a\\b\"c\n\x07""#),
            ("${HOME} $$ $5", r#""$${HOME} $$$ $5""#),
        ] {
            assert_eq!(scalar(text), quoted, "{text:?}");
        }
    }

    #[test]
    fn a_comment_is_broken_between_words_and_never_ends_early() {
        let mut text = String::new();
        comment(&mut text, 2, &format!("one\nlisteners: {} end", "word ".repeat(30)));
        assert!(text.lines().count() == 2 && text.lines().all(|line| line.starts_with("  #")), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn a_map_that_is_too_long_for_a_line_gets_several() {
        let long = "x".repeat(WIDTH);
        let mut text = String::new();
        block(
            &mut text,
            2,
            &[
                Entry::short("stop", vec![Entry::text("signal", "SIGINT"), Entry::written("timeout", "5s")]),
                Entry::short("a", vec![Entry::text("b", &long)]),
                Entry::written("instances", 2).note("two"),
            ],
        );
        let expected = format!(
            "  stop: {{ signal: SIGINT, timeout: 5s }}\n  a:\n    b: {long}\n  instances: 2  # two\n"
        );
        assert_eq!(text, expected);
    }

    proptest! {
        /// What is written comes back from the reader of configs.
        #[test]
        fn any_string_comes_back(value in r#"[ -~]{0,12}|\PC{0,6}|[\x00-\u{ff}]{0,6}|[-+.0-9eExo:_$\{]{0,6}"#, name in "[!-~]{1,8}|[0-9.~]{1,3}") {
            let app = vec![Entry::text("command", "node a.js"), Entry::block("env", vec![Entry::text(&name, &value)])];
            let mut text = "listeners: { http: { address: \":8080\" } }\nroutes: [{ to: a }]\npools:\n  a:\n".to_owned();
            block(&mut text, 4, &[Entry::block("app", app)]);
            prop_assume!(!name.contains(['=', '$']) && !value.contains('\0'));
            match crate::config::load_text("a.yaml", "/srv".into(), text.clone(), &|_| None) {
                Ok(loaded) => {
                    let app = loaded.file.pools["a"].app.clone().unwrap();
                    prop_assert_eq!(app.env.get(&name), Some(&value), "{}", text);
                }
                Err(problems) => prop_assert!(false, "{}\n{}", text, problems),
            }
        }
    }
}
