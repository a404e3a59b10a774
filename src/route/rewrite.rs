//! Changes of the target and host that a request takes to its server.
//!
//! Pure: from a raw target to a new one. The raw spelling is kept wherever it can be cut safely, and the query always
//! is. It relies on routing before it: a path that `NormalPath` refuses is left as it is.

use std::borrow::Cow;

use super::CompileProblem;
use super::host::Host;
use super::matcher::plain_path;
use super::path::{NormalPath, escape, segment_is, split_target};
use super::spec::RewriteSpec;

/// A compiled rewrite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Normal text without a slash at its end.
    strip: Option<Box<str>>,
    /// A raw path without a slash at its end; empty adds nothing.
    add: Box<[u8]>,
    host: Option<Box<str>>,
}

impl Rewrite {
    pub fn compile(spec: &RewriteSpec) -> Result<Self, Vec<CompileProblem>> {
        let mut problems = Vec::new();
        let mut prefix = |at: &str, text: Option<&str>| {
            let path = text.filter(|text| *text != "/").map(|text| match text.strip_suffix("/*") {
                Some(plain) => Err(format!("`{text}` is a match; write `{plain}`")),
                None => plain_path(text),
            });
            path.transpose().unwrap_or_else(|message| {
                problems.push(CompileProblem::new(at, message));
                None
            })
        };
        let strip = prefix("rewrite.strip_prefix", spec.strip_prefix.as_deref());
        let add = prefix("rewrite.add_prefix", spec.add_prefix.as_deref());
        let host = spec.host.as_deref().map(|text| match Host::of(text.as_bytes()) {
            Ok(_) => Ok(text.into()),
            Err(error) => Err(format!("`{text}` is not a host: {error}")),
        });
        let host = host.transpose().unwrap_or_else(|message| {
            problems.push(CompileProblem::new("rewrite.host", message));
            None
        });
        let add = add.map(|path| escape(&path).into()).unwrap_or_default();
        if problems.is_empty() { Ok(Self { strip, add, host }) } else { Err(problems) }
    }

    /// The Host that the server gets instead of the client's, as written.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The target that the server gets; borrowed where nothing changes, and always for `*`.
    pub fn target<'a>(&self, raw: &'a [u8]) -> Cow<'a, [u8]> {
        let (path, _) = split_target(raw);
        if !path.starts_with(b"/") {
            return Cow::Borrowed(raw);
        }
        let rest = self.strip.as_deref().and_then(|prefix| strip(prefix, path));
        if rest.is_none() && self.add.is_empty() {
            return Cow::Borrowed(raw);
        }
        let rest = rest.unwrap_or(Cow::Borrowed(path));
        let mut target = Vec::with_capacity(self.add.len() + raw.len() + 1);
        target.extend_from_slice(&self.add);
        target.extend_from_slice(&rest);
        if target.is_empty() {
            target.push(b'/');
        }
        target.extend_from_slice(&raw[path.len()..]);
        Cow::Owned(target)
    }
}

/// What follows a prefix (normal text) in a raw path: empty or from a slash on. None where the path is not below it.
///
/// The raw spelling is kept unless it has empty or dot segments: cutting those would leave a path such as `//host/x` or
/// `/../x` that no match has seen, so the rest of the normal path takes its place, escaped anew.
pub(super) fn strip<'a>(prefix: &str, raw: &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let path = NormalPath::of(raw).ok().filter(|_| raw != b"*")?;
    if path.is_tangled {
        let rest = path.as_str().strip_prefix(prefix)?;
        return (rest.is_empty() || rest.starts_with('/')).then(|| Cow::Owned(escape(rest)));
    }
    let mut rest = raw;
    for wanted in prefix.split('/').skip(1) {
        let segment = rest.strip_prefix(b"/")?;
        let end = memchr::memchr(b'/', segment).unwrap_or(segment.len());
        if !segment_is(&segment[..end], wanted) {
            return None;
        }
        rest = &segment[end..];
    }
    Some(Cow::Borrowed(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(strip: &str, add: &str) -> Rewrite {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Rewrite::compile(&RewriteSpec { strip_prefix: text(strip), add_prefix: text(add), host: None })
            .unwrap()
    }

    fn target(strip: &str, add: &str, raw: &str) -> String {
        String::from_utf8(rewrite(strip, add).target(raw.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_prefix_is_cut_and_put_on_segment_boundaries() {
        for (strip, add, raw, result) in [
            ("/api", "", "/api/x?y=/api", "/x?y=/api"),
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/api?x", "/?x"),
            ("/api", "", "/apix", "/apix"),
            ("/api", "", "/x/api", "/x/api"),
            ("/a/b", "", "/a/b/c", "/c"),
            ("", "/v1", "/x?y", "/v1/x?y"),
            ("", "/v1", "/", "/v1/"),
            ("/api", "/v1", "/api/x", "/v1/x"),
            ("/api", "/v1", "/api", "/v1"),
            ("/api", "/v1", "/api/", "/v1/"),
            ("/api", "/v1", "/other", "/v1/other"),
            ("/", "/", "/x", "/x"),
            ("", "/caf\u{e9} x".trim_end_matches(" x"), "/x", "/caf%C3%A9/x"),
        ] {
            assert_eq!(target(strip, add, raw), result, "{strip} {add} {raw}");
        }
    }

    #[test]
    fn the_raw_spelling_is_kept_where_it_can_be_cut() {
        for (raw, result) in [
            ("/%61pi/%78?%79", "/%78?%79"),
            ("/api/a%2Fb", "/a%2Fb"),
            ("/api/a%20b;c", "/a%20b;c"),
            ("/api/%E9", "/%E9"),
        ] {
            assert_eq!(target("/api", "", raw), result, "{raw}");
        }
    }

    #[test]
    fn a_tangled_path_is_cut_from_its_normal_form() {
        for (raw, result) in [
            ("/api//evil/x", "/evil/x"),
            ("//api/x", "/x"),
            ("/api/./x", "/x"),
            ("/api/x/../%7Ey/?q", "/~y/?q"),
            ("/api/../x", "/api/../x"),
            ("/api//a%20%25%2F%22%E9", "/a%20%25%2F%22%E9"),
        ] {
            assert_eq!(target("/api", "", raw), result, "{raw}");
        }
    }

    #[test]
    fn what_needs_no_change_is_borrowed() {
        assert!(matches!(Rewrite::default().target(b"//x/../y?z"), Cow::Borrowed(b"//x/../y?z")));
        assert!(matches!(rewrite("/api", "").target(b"/x"), Cow::Borrowed(b"/x")));
        assert!(matches!(rewrite("/api", "/v1").target(b"*"), Cow::Borrowed(b"*")));
    }

    #[test]
    fn a_wrong_rewrite_is_reported_at_its_key() {
        let spec = RewriteSpec {
            strip_prefix: Some("/api/*".into()),
            add_prefix: Some("v1".into()),
            host: Some("http://x".into()),
        };
        let at: Vec<_> = Rewrite::compile(&spec).unwrap_err().into_iter().map(|problem| problem.at).collect();
        assert_eq!(at, ["rewrite.strip_prefix", "rewrite.add_prefix", "rewrite.host"]);
        for wrong in ["/a/", "/a//b", "/a?b", "/../a", "/a/*/b", "//a"] {
            let spec = RewriteSpec { add_prefix: Some(wrong.into()), ..Default::default() };
            assert!(Rewrite::compile(&spec).is_err(), "{wrong}");
        }
        let spec = RewriteSpec { host: Some("api.internal:8080".into()), ..Default::default() };
        assert_eq!(Rewrite::compile(&spec).unwrap().host(), Some("api.internal:8080"));
    }
}
