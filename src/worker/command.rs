//! A command as a user writes it: a list of words, or one text that is split into words the way a shell does it.
//!
//! Quotes and backslashes mean what POSIX says (Shell Command Language, 2.2). There is no shell behind it, so whatever
//! only a shell could do is refused with a word on what to write instead, never passed on to the program as it stands.

use std::borrow::Cow;
use std::fmt;
use std::iter::Peekable;
use std::str::CharIndices;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// A program and its arguments; the program is never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Command(Vec<String>);

/// Why a text or a list is no command; the message says what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseCommandError {
    #[error("a command needs a program, such as `node server.js`")]
    Empty,
    /// Places count characters from 1.
    #[error("the quote {quote} at character {place} is never closed")]
    UnclosedQuote { quote: char, place: usize },
    #[error("the backslash at the end has nothing after it")]
    LoneBackslash,
    #[error(
        "`{sign}` at character {place} is for a shell, and there is none; put it in single quotes if the program is to \
         see it, or run a shell yourself: [sh, -c, \"...\"]"
    )]
    ForAShell { sign: char, place: usize },
    #[error(
        "variables are not filled in here; `$` at character {place} belongs in single quotes if the program is to see it"
    )]
    Variable { place: usize },
    #[error("`{0}=` before the program sets a variable in a shell only; write it under `env`")]
    Assignment(String),
    #[error("a zero character cannot be part of a command")]
    Zero,
}

impl Command {
    /// Splits a text.
    pub fn parse(text: &str) -> Result<Self, ParseCommandError> {
        let words = Splitter::new(text).words()?;
        if let Some(name) = words.first().and_then(|word| assigned_name(word)) {
            return Err(ParseCommandError::Assignment(name.to_owned()));
        }
        Self::of_words(words)
    }

    /// Takes words as they are.
    pub fn of_words(words: Vec<String>) -> Result<Self, ParseCommandError> {
        if words.first().is_none_or(String::is_empty) {
            return Err(ParseCommandError::Empty);
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(ParseCommandError::Zero);
        }
        Ok(Self(words))
    }

    /// The program first; never empty.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// The program as it is written: a path, or a name to look up in PATH.
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Command;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as text, or as a list of its words")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Command, E> {
                Command::parse(text).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Command, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Command::of_words(words).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl JsonSchema for Command {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        ]})
    }
}

/// The name in a word such as `NODE_ENV=production`.
fn assigned_name(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name.then_some(name)
}

/// Reads a text once, from left to right.
struct Splitter<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    words: Vec<String>,
    /// The word that is being read; `''` makes an empty one.
    word: Option<String>,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, rest: text.char_indices().peekable(), words: Vec::new(), word: None }
    }

    fn words(mut self) -> Result<Vec<String>, ParseCommandError> {
        while let Some((at, c)) = self.rest.next() {
            match c {
                ' ' | '\t' | '\n' | '\r' => self.words.extend(self.word.take()),
                '\'' => self.single_quoted(at)?,
                '"' => self.double_quoted(at)?,
                '\\' => match self.rest.next() {
                    // A line that goes on in the next one.
                    Some((_, '\n')) => {}
                    Some((_, c)) => self.push(c),
                    None => return Err(ParseCommandError::LoneBackslash),
                },
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                    return Err(ParseCommandError::ForAShell { sign: c, place: self.place(at) });
                }
                '$' => return Err(ParseCommandError::Variable { place: self.place(at) }),
                c => self.push(c),
            }
        }
        self.words.extend(self.word.take());
        Ok(self.words)
    }

    /// Everything up to the next single quote is what it is.
    fn single_quoted(&mut self, start: usize) -> Result<(), ParseCommandError> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some((_, '\'')) => return Ok(()),
                Some((_, c)) => self.push(c),
                None => return Err(self.unclosed('\'', start)),
            }
        }
    }

    /// A backslash escapes only what would mean something between double quotes; before others it is itself.
    fn double_quoted(&mut self, start: usize) -> Result<(), ParseCommandError> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some((_, '"')) => return Ok(()),
                Some((_, '\\')) => match self.rest.next_if(|(_, c)| "\"\\$`\n".contains(*c)) {
                    Some((_, '\n')) => {}
                    Some((_, c)) => self.push(c),
                    None => self.push('\\'),
                },
                Some((at, '`')) => {
                    return Err(ParseCommandError::ForAShell { sign: '`', place: self.place(at) });
                }
                Some((at, '$')) => return Err(ParseCommandError::Variable { place: self.place(at) }),
                Some((_, c)) => self.push(c),
                None => return Err(self.unclosed('"', start)),
            }
        }
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn unclosed(&self, quote: char, start: usize) -> ParseCommandError {
        ParseCommandError::UnclosedQuote { quote, place: self.place(start) }
    }

    /// The place of a byte as a person counts.
    fn place(&self, at: usize) -> usize {
        self.text.get(..at).map_or(0, |before| before.chars().count()) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        Command::parse(text).unwrap().words().to_vec()
    }

    fn refusal(text: &str) -> String {
        Command::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_text_is_split_as_a_shell_splits_it() {
        assert_eq!(words("node dist/server.js"), ["node", "dist/server.js"]);
        assert_eq!(
            words("  node\t--enable-source-maps \n app.js "),
            ["node", "--enable-source-maps", "app.js"]
        );
        assert_eq!(
            words(r#"node "my app/server.js" --name='a "b"'"#),
            ["node", "my app/server.js", r#"--name=a "b""#]
        );
        assert_eq!(words(r#"a\ b "c\"d\e" 'f\g' h""i"#), ["a b", r#"c"d\e"#, r"f\g", "hi"]);
        assert_eq!(words("node '' \"\""), ["node", "", ""]);
        assert_eq!(words("node a\\\nb \\\n c"), ["node", "ab", "c"]);
        assert_eq!(words(r#"x '$HOME|&;' "\$HOME\`" \$1 \|"#), ["x", "$HOME|&;", "$HOME`", "$1", "|"]);
        assert_eq!(
            words("node grün.js --url=http://x/?a=1#b ~/x *"),
            ["node", "grün.js", "--url=http://x/?a=1#b", "~/x", "*"]
        );
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_place() {
        assert_eq!(refusal("node 'app.js"), "the quote ' at character 6 is never closed");
        assert_eq!(refusal("grün \"a\\\""), "the quote \" at character 6 is never closed");
        assert_eq!(refusal("node app.js \\"), "the backslash at the end has nothing after it");
        for text in ["", "  \n", "''", "\"\" app.js"] {
            assert_eq!(refusal(text), "a command needs a program, such as `node server.js`", "{text:?}");
        }
        assert_eq!(refusal("node a\0b"), "a zero character cannot be part of a command");
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused() {
        for (text, place) in
            [("cd app && node a", 8), ("node a | tee b", 8), ("node a>b", 7), ("echo `date`", 6)]
        {
            let error = Command::parse(text).unwrap_err();
            assert!(
                matches!(error, ParseCommandError::ForAShell { place: at, .. } if at == place),
                "{error}"
            );
        }
        for (text, place) in [("node $APP", 6), ("node \"${APP}\"", 7)] {
            assert_eq!(Command::parse(text), Err(ParseCommandError::Variable { place }));
        }
        assert_eq!(
            refusal("NODE_ENV=production node app.js"),
            "`NODE_ENV=` before the program sets a variable in a shell only; write it under `env`"
        );
        assert_eq!(words("./a=b --c=d"), ["./a=b", "--c=d"]);
    }

    #[test]
    fn a_list_is_taken_word_by_word() {
        let command: Command = serde_json::from_str(r#"["sh", "-c", "cd app && exec node $APP"]"#).unwrap();
        assert_eq!(command.program(), "sh");
        assert_eq!(command.words().len(), 3);
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);
        assert!(serde_json::from_str::<Command>("[]").is_err());
        assert!(serde_json::from_str::<Command>(r#"["", "a"]"#).is_err());
        assert!(serde_json::from_str::<Command>("3").is_err());
    }

    proptest! {
        /// Whatever is put in single quotes comes out whole.
        #[test]
        fn quoted_words_come_out_as_they_went_in(list in prop::collection::vec("[^\0]{0,12}", 0..6)) {
            let list = [vec!["node".to_owned()], list].concat();
            let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
            let text = list.iter().map(quote).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&text), list);
        }

        #[test]
        fn any_text_is_split_or_refused(text in r#"[ a'"\\$|=\n]{0,24}|\PC*"#) {
            if let Ok(command) = Command::parse(&text) {
                prop_assert!(!command.program().is_empty());
            }
        }
    }
}
