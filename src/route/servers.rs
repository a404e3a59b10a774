//! Test only: how the servers behind Lintel read a raw path, and that none of them can be led past a route.
//!
//! Each model is written after the program it names and shares nothing with `path.rs`. They answer the raw path that the
//! server matches its own routes on, or nothing where the server refuses.

use proptest::prelude::*;

use super::path::NormalPath;
use super::rewrite::Rewrite;
use super::spec::{MatchSpec, PathSpec, RewriteSpec};
use super::table::{FindError, Query, Table};
use crate::wire::head::Head;

type Model = fn(&str) -> Option<String>;

const SERVERS: [(&str, Model); 10] = [
    ("express: nothing is decoded", |raw| Some(raw.to_owned())),
    ("express: parameters are decoded after the path is cut", |raw| Some(decode(raw, "/"))),
    ("go: slashes merged, dots removed, nothing decoded", |raw| Some(without_dots(&merged(raw), ""))),
    ("nginx", |raw| Some(without_dots(&merged(&decode(raw, "")), ""))),
    ("nginx with merge_slashes off", |raw| Some(without_dots(&decode(raw, ""), ""))),
    ("new URL()", |raw| Some(whatwg(raw))),
    ("new URL(), then decodeURIComponent()", |raw| Some(decode(&whatwg(raw), ""))),
    ("new URL(), then slashes merged", |raw| Some(merged(&whatwg(raw)))),
    ("windows: decoded, then backslashes are slashes", |raw| {
        Some(without_dots(&merged(&decode(raw, "").replace('\\', "/")), ""))
    }),
    ("decodeURIComponent(), then new URL()", |raw| Some(whatwg(&decode(raw, "")))),
];

/// Decodes every escape but those of the bytes in `keep`.
fn decode(raw: &str, keep: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let escape = raw.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if !keep.as_bytes().contains(&byte) => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn merged(path: &str) -> String {
    let mut path = path.to_owned();
    while path.contains("//") {
        path = path.replace("//", "/");
    }
    path
}

/// Removes `.` and `..`, also where the dots are spelled as `dot`; above the root it stays at the root.
fn without_dots(path: &str, dot: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let count = path.split('/').count();
    for (place, segment) in path.split('/').enumerate().skip(1) {
        let lower = segment.to_ascii_lowercase();
        let plain = if dot.is_empty() { lower } else { lower.replace(dot, ".") };
        let is_last = place + 1 == count;
        match plain.as_str() {
            "." | ".." => {
                if plain == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// `new URL(path, 'http://base').pathname`.
fn whatwg(raw: &str) -> String {
    let path = raw.replace('\\', "/");
    let path = if path.starts_with("//") {
        let authority = path.trim_start_matches('/');
        authority.find('/').map_or("/".to_owned(), |at| authority[at..].to_owned())
    } else {
        path
    };
    without_dots(&path, "%2e")
}

/// The plainest matching there is: the longest of these paths that the text is, or is below of.
fn naive(routes: &[(String, bool)], path: &str) -> Option<usize> {
    let takes = |(route, is_prefix): &(String, bool)| match is_prefix {
        true => path == route || path.starts_with(&format!("{route}/")),
        false => path == route,
    };
    let fitting = routes.iter().enumerate().filter(|(_, route)| takes(route));
    fitting.max_by_key(|(_, (route, is_prefix))| (!is_prefix, route.len())).map(|(place, _)| place)
}

fn table(routes: &[(String, bool)]) -> Option<Table<()>> {
    let spec = |(path, is_prefix): &(String, bool)| {
        let text = if *is_prefix { format!("{path}/*") } else { path.clone() };
        (MatchSpec { path: Some(PathSpec::Text(text)), ..Default::default() }, ())
    };
    Table::build(routes.iter().map(spec)).ok()
}

/// The route, none, or a refusal.
fn find(table: &Table<()>, raw: &str) -> Result<Option<usize>, ()> {
    let path = NormalPath::of(raw.as_bytes()).map_err(|_| ())?;
    let query = Query { host: None, path: &path, head: &Head::new(), listener: "" };
    match table.find(&query) {
        Ok((route, ())) => Ok(Some(route)),
        Err(FindError::NoRoute) => Ok(None),
        Err(FindError::AmbiguousPath) => Err(()),
    }
}

fn routes() -> impl Strategy<Value = Vec<(String, bool)>> {
    let segment = prop::sample::select(vec!["a", "b", "admin", "@"]);
    let path = prop::collection::vec(segment, 1..4).prop_map(|segments| format!("/{}", segments.join("/")));
    let named = prop::collection::vec((path, any::<bool>()), 1..8);
    (named, any::<bool>()).prop_map(|(mut routes, has_rest)| {
        if has_rest {
            routes.push((String::new(), true));
        }
        routes.sort();
        routes.dedup();
        routes
    })
}

fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "/", "/", "a", "b", "a/b", "admin", "%61dmin", "adm%69n", "/a/", "/b/", "//", ".", "..",
        "/..", "/../", "/./", "%2e", "%2E%2e", ".%2e", "%2f", "%2F", "%5c", "\\", ";", "..;", "%25", "%252f",
        "%252e", "@", "%40", "x", "%C3%A9", "%ff", "%61", "%62",
    ]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn every_server_reads_the_path_that_was_routed(routes in routes(), raw in raw_path()) {
        let Some(table) = table(&routes) else { return Ok(()) };
        if let Ok(found) = find(&table, &raw) {
            for (name, server) in SERVERS {
                let Some(read) = server(&raw) else { continue };
                prop_assert_eq!(naive(&routes, &read), found, "{} reads {} as {}", name, raw, read);
            }
        }
    }

    #[test]
    fn a_stripped_path_leads_no_server_where_another_route_leads(raw in raw_path()) {
        let routes = [("/a", true), ("/a/admin", true), ("", true)].map(|(path, is_prefix)| (path.to_owned(), is_prefix));
        let table = table(&routes).unwrap();
        let strip_prefix = Some("/a".to_owned());
        let rewrite = Rewrite::compile(&RewriteSpec { strip_prefix, ..Default::default() }).unwrap();
        if find(&table, &raw) == Ok(Some(0)) {
            let stripped = String::from_utf8(rewrite.target(raw.as_bytes()).into_owned()).unwrap();
            // The last server makes a host of an escaped slash wherever a path begins: nobody can serve it safely.
            for (name, server) in &SERVERS[..SERVERS.len() - 1] {
                let Some(read) = server(&stripped) else { continue };
                let below = format!("/a{read}");
                prop_assert_eq!(naive(&routes, &below), Some(0), "{} reads {} as {}", name, stripped, read);
            }
        }
    }
}

#[test]
fn no_spelling_of_a_guarded_path_slips_past_its_guard() {
    let guarded = [("/admin", true), ("", true)].map(|(path, is_prefix)| (path.to_owned(), is_prefix));
    let table = table(&guarded).unwrap();
    for raw in [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/x/%2e%2e/admin/x",
        "/%61dmin/x",
        "/admin%2fx",
        "/admin%2Fx",
        "/admin%5cx",
        "/admin\\x",
        "/x/..%2fadmin/x",
        "/x%2f..%2fadmin/x",
        "/x/..;/admin/x",
        "/admin/../x",
        "/admin/%2e%2e/x",
        "/admin//../x",
        "/admin/..%2fx",
        "//x/admin/x",
        "/\\x/admin/x",
        "/%5cx/admin/x",
        "/%2Fadmin/x",
        "/admin%00/x",
        "/admin%zz/x",
        "/admin#/x",
        "/admin%09",
        "/.//admin/x",
        "/x/..//admin/x",
    ] {
        assert_ne!(find(&table, raw), Ok(Some(1)), "{raw}");
    }
    // What is not below it is not refused for looking like it.
    for raw in [
        "/administrator",
        "/Admin",
        "/x/admin",
        "/@scope%2fname",
        "/x//y",
        "/caf%C3%A9",
        "/a%20b",
        "/x/%2e%2e/y",
    ] {
        assert_eq!(find(&table, raw), Ok(Some(1)), "{raw}");
    }
}
