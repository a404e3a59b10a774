//! `${VAR}`, `${VAR:-default}` and `$$` in one text. Pure; where the text stands is `parse`'s business.

/// What became of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub text: String,
    /// What the environment gave, and as what it was written. Never shown to anybody.
    pub from_env: Vec<EnvValue>,
    /// Whether a default was taken.
    pub has_default: bool,
    pub wrongs: Vec<Wrong>,
}

/// A value of the environment that a config uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EnvValue {
    pub value: String,
    /// `${VAR}` as written.
    pub written: String,
}

/// A reference that cannot be followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The reference as written, from its `$`.
    pub written: String,
    pub message: String,
    pub help: String,
}

/// Replaces the references in a text; `lookup` gives the value of a variable.
pub(super) fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Interpolated {
    let mut result = Interpolated::default();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, reference) = rest.split_at(at);
        result.text.push_str(before);
        rest = match reference.as_bytes().get(1) {
            Some(b'$') => {
                result.text.push('$');
                &reference[2..]
            }
            Some(b'{') => follow(reference, lookup, &mut result),
            _ => {
                result.text.push('$');
                &reference[1..]
            }
        };
    }
    result.text.push_str(rest);
    result
}

/// Follows the reference at the start of `text` and gives what comes after it.
fn follow<'a>(text: &'a str, lookup: &dyn Fn(&str) -> Option<String>, result: &mut Interpolated) -> &'a str {
    let Some(end) = text.find('}') else {
        result.wrongs.push(Wrong {
            written: "${".to_owned(),
            message: "`${` is never closed".to_owned(),
            help: "write `${NAME}`, or `$$` for a dollar sign".to_owned(),
        });
        return "";
    };
    let (written, rest) = text.split_at(end + 1);
    let inside = &text[2..end];
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_variable_name(name) {
        result.wrongs.push(Wrong {
            written: written.to_owned(),
            message: format!("{} is not a reference to a variable", super::problem::quoted(written)),
            help: "write `${NAME}` or `${NAME:-default}`, or `$$` for a dollar sign".to_owned(),
        });
        return rest;
    }
    match (lookup(name), default) {
        (Some(value), Some(default)) if value.is_empty() => {
            result.text.push_str(default);
            result.has_default = true;
        }
        (Some(value), _) => {
            result.text.push_str(&value);
            result.from_env.push(EnvValue { value, written: written.to_owned() });
        }
        (None, Some(default)) => {
            result.text.push_str(default);
            result.has_default = true;
        }
        (None, None) => result.wrongs.push(Wrong {
            written: written.to_owned(),
            message: format!("the environment variable `{name}` is not set"),
            help: format!("set it, or write a default: `${{{name}:-...}}`"),
        }),
    }
    rest
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("db.internal".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn references_are_replaced_once() {
        let text = |written: &str| interpolate(written, &env).text;
        assert_eq!(text("plain"), "plain");
        assert_eq!(text("http://${HOST}:80/${HOST}"), "http://db.internal:80/db.internal");
        assert_eq!(text("${NONE:-fallback}"), "fallback");
        assert_eq!(text("${EMPTY:-fallback}|${EMPTY}|${NONE:-}"), "fallback||");
        assert_eq!(text("$${HOST} costs $5 or ^/a$"), "${HOST} costs $5 or ^/a$");
        assert_eq!(text("${TRICK}"), "${HOST}");
    }

    #[test]
    fn a_reference_that_cannot_be_followed_is_named() {
        for (text, message) in [
            ("a ${NONE} b", "the environment variable `NONE` is not set"),
            ("${", "`${` is never closed"),
            ("${}", "`${}` is not a reference to a variable"),
            ("${a b}", "`${a b}` is not a reference to a variable"),
            ("${NONE-x}", "`${NONE-x}` is not a reference to a variable"),
        ] {
            assert_eq!(interpolate(text, &env).wrongs[0].message, message);
        }
    }

    proptest::proptest! {
        #[test]
        fn text_without_a_dollar_sign_stays_as_it_is(text in "[^$]*") {
            proptest::prop_assert_eq!(interpolate(&text, &env).text, text);
        }
    }
}
