//! Who may import whom: floors, cycles between modules, and outside crates fenced into their rooms.
//!
//! It reads tokens, not resolved names: `crate::name`, `lintel::name` and chains of `super` that leave their module.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use super::tree::{File, Problem, Tree, attributes, is_for_tests};

/// The modules by floor; a module imports from its own floor and from those below.
const FLOORS: [&[&str]; 10] = [
    &["clock", "life", "net", "units"],
    &["wire", "server", "reply", "observe"],
    &["discovery", "filter", "health", "listener", "pool", "route", "tls", "upstream", "worker", "keeper"],
    &["config"],
    &["snapshot", "import"],
    &["control", "proxy"],
    &["admin"],
    &["boot"],
    &["cli"],
    &["main"],
];

/// Outside crates and the modules they are fenced into; `cli/boot` alone would be a file, a name is a module.
const FENCES: [(&str, &[&str]); 6] = [
    ("serde_saphyr", &["config"]),
    ("granit_parser", &["config"]),
    ("prometheus", &["observe"]),
    ("anyhow", &["cli", "boot", "main"]),
    ("pingora_core", &["life", "net", "wire", "upstream", "listener", "tls", "boot"]),
    ("rustls", &["net", "tls", "upstream", "main", "cli", "boot"]),
];

/// An import of one module by another.
struct Import {
    to: String,
    line: usize,
}

/// Every import goes to the same floor or down.
pub fn imports(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.below("src/", "rs") {
        let Some(from) = module_of(&file.path) else { continue };
        let Some(floor) = floor_of(&from) else {
            problems.push(
                file.problem(1, format!("module `{from}` has no floor; give it one in tests/tidy/floors.rs")),
            );
            continue;
        };
        for import in imports_of(file) {
            match floor_of(&import.to) {
                Some(below) if below > floor => problems.push(file.problem(
                    import.line,
                    format!(
                        "`{from}` (floor {floor}) imports `{}` (floor {below}); imports go down",
                        import.to
                    ),
                )),
                _ => {}
            }
        }
    }
    problems
}

/// Modules of one floor may know each other, but not in a circle.
pub fn cycles(tree: &Tree) -> Vec<Problem> {
    let mut edges: BTreeMap<String, BTreeMap<String, (String, usize)>> = BTreeMap::new();
    for file in tree.below("src/", "rs") {
        let Some(from) = module_of(&file.path) else { continue };
        for import in served_imports_of(file).into_iter().filter(|import| import.to != from) {
            let place = (file.path.clone(), import.line);
            edges.entry(from.clone()).or_default().entry(import.to).or_insert(place);
        }
    }
    let mut problems = Vec::new();
    for (from, targets) in &edges {
        for (to, (path, line)) in targets {
            // Each circle is told once, from its first module by name.
            if floor_of(from) == floor_of(to) && from < to && reaches(&edges, to, from) {
                let message =
                    format!("`{from}` and `{to}` import each other, in the end; one of the two must not");
                problems.push(Problem { path: path.clone(), line: *line, message });
            }
        }
    }
    problems
}

fn reaches(edges: &BTreeMap<String, BTreeMap<String, (String, usize)>>, start: &str, wanted: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(module) = open.pop() {
        if module == wanted {
            return true;
        }
        if seen.insert(module.clone()) {
            open.extend(edges.get(&module).into_iter().flat_map(|targets| targets.keys().cloned()));
        }
    }
    false
}

/// Crates whose types must not spread stay in their modules.
pub fn fences(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.below("src/", "rs") {
        let Some(module) = module_of(&file.path) else { continue };
        for (line, name) in path_roots(&tokens_of(file)) {
            let fence = FENCES.iter().find(|(outside, _)| *outside == name);
            if let Some((outside, rooms)) = fence.filter(|(_, rooms)| !rooms.contains(&module.as_str())) {
                problems
                    .push(file.problem(line, format!("`{outside}` belongs in {} only", rooms.join(", "))));
            }
        }
    }
    problems
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The top-level module of a file; none for lib.rs, which names them all.
fn module_of(path: &str) -> Option<String> {
    let rest = path.strip_prefix("src/")?;
    let first = rest.split('/').next()?.trim_end_matches(".rs");
    (first != "lib").then(|| first.to_owned())
}

/// How many `super` lead from a file to the root of the crate.
fn depth_of(path: &str) -> usize {
    let rest = path.trim_start_matches("src/").trim_end_matches(".rs");
    rest.split('/').filter(|part| *part != "mod").count()
}

fn tokens_of(file: &File) -> TokenStream {
    file.text.parse().unwrap_or_default()
}

/// Tokens without the items that are for tests alone.
fn served_tokens_of(file: &File) -> TokenStream {
    let mut syntax = file.syntax();
    syntax.items.retain(|item| !is_for_tests(attributes(item)));
    quote::quote!(#syntax)
}

/// All imports, those of tests too.
fn imports_of(file: &File) -> Vec<Import> {
    let mut found = Vec::new();
    root_imports(&flatten(tokens_of(file)), &mut found);
    super_imports(&flatten(served_tokens_of(file)), depth_of(&file.path), &mut found);
    found.retain(|import| floor_of(&import.to).is_some());
    found
}

/// The imports of the program itself.
fn served_imports_of(file: &File) -> Vec<Import> {
    let mut found = Vec::new();
    let flat = flatten(served_tokens_of(file));
    root_imports(&flat, &mut found);
    super_imports(&flat, depth_of(&file.path), &mut found);
    found.retain(|import| floor_of(&import.to).is_some());
    found
}

fn root_imports(flat: &[Flat], found: &mut Vec<Import>) {
    for (index, token) in flat.iter().enumerate() {
        let is_root = matches!(token.text.as_str(), "crate" | "lintel") && followed_by_path(flat, index);
        // A macro's `$crate::` and a path such as `other::lintel::` are not the crate's root.
        if is_root && !preceded_by_path(flat, index) {
            names_after(flat, index + 3, found);
        }
    }
}

/// Chains of `super` that are long enough to reach the root.
fn super_imports(flat: &[Flat], depth: usize, found: &mut Vec<Import>) {
    let mut index = 0;
    while index < flat.len() {
        let mut supers = 0;
        while flat.get(index + 3 * supers).is_some_and(|token| token.text == "super")
            && followed_by_path(flat, index + 3 * supers)
        {
            supers += 1;
        }
        if supers >= depth && supers > 0 {
            names_after(flat, index + 3 * supers, found);
        }
        index += 3 * supers + 1;
    }
}

/// A token or a brace, in reading order.
struct Flat {
    text: String,
    line: usize,
}

fn flatten(stream: TokenStream) -> Vec<Flat> {
    let mut flat = Vec::new();
    flatten_into(stream, &mut flat);
    flat
}

fn flatten_into(stream: TokenStream, flat: &mut Vec<Flat>) {
    for token in stream {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    proc_macro2::Delimiter::Brace => ("{", "}"),
                    proc_macro2::Delimiter::Parenthesis => ("(", ")"),
                    proc_macro2::Delimiter::Bracket => ("[", "]"),
                    proc_macro2::Delimiter::None => ("", ""),
                };
                flat.push(Flat { text: open.into(), line });
                flatten_into(group.stream(), flat);
                flat.push(Flat { text: close.into(), line: group.span_close().end().line });
            }
            TokenTree::Literal(_) => flat.push(Flat { text: "\"\"".into(), line }),
            other => flat.push(Flat { text: other.to_string(), line }),
        }
    }
}

fn followed_by_path(flat: &[Flat], index: usize) -> bool {
    let text = |at: usize| flat.get(at).map_or("", |token| token.text.as_str());
    text(index + 1) == ":" && text(index + 2) == ":"
}

fn preceded_by_path(flat: &[Flat], index: usize) -> bool {
    let text = |back: usize| index.checked_sub(back).map_or("", |at| flat[at].text.as_str());
    text(1) == "$" || (text(1) == ":" && text(2) == ":")
}

/// The first names of a path's rest: `a::b` gives `a`, `{a::{b, c}, d}` gives `a` and `d`.
fn names_after(flat: &[Flat], start: usize, found: &mut Vec<Import>) {
    let Some(first) = flat.get(start) else { return };
    if first.text != "{" {
        found.push(Import { to: first.text.clone(), line: first.line });
        return;
    }
    let mut depth = 0;
    let mut is_first = false;
    for token in &flat[start..] {
        match token.text.as_str() {
            "{" => {
                depth += 1;
                is_first = depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            "," if depth == 1 => is_first = true,
            name if is_first => {
                found.push(Import { to: name.to_owned(), line: token.line });
                is_first = false;
            }
            _ => {}
        }
    }
}

/// The first names of all paths and of all `use` items, with their lines.
fn path_roots(stream: &TokenStream) -> Vec<(usize, String)> {
    let flat = flatten(stream.clone());
    let mut roots = Vec::new();
    for (index, token) in flat.iter().enumerate() {
        let after_use = index > 0 && matches!(flat[index - 1].text.as_str(), "use" | "crate_name");
        let starts_path = followed_by_path(&flat, index) && !preceded_by_path(&flat, index);
        if after_use || starts_path {
            roots.push((token.line, token.text.clone()));
        }
        // `::name::..` starts at the outside.
        let outside = token.text == ":" && index > 0 && flat[index - 1].text == ":";
        let global = index < 2 || !is_word(&flat[index - 2].text);
        if let Some(next) = flat.get(index + 1).filter(|_| outside && global) {
            roots.push((next.line, next.text.clone()));
        }
    }
    roots
}

fn is_word(text: &str) -> bool {
    text == ">" || text.chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(rule: fn(&Tree) -> Vec<Problem>, files: &[(&str, &str)]) -> Vec<String> {
        rule(&Tree::of(files)).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn an_import_upward_is_caught_in_every_form() {
        for code in [
            "use crate::config::File;",
            "use crate::{units, config::File};",
            "use crate::{units::{Bytes, Percent}, config};",
            "fn f() { crate::config::load() }",
            "fn f() { println!(\"{}\", crate::config::NAME) }",
            "use super::config;",
            "fn f() { let a = super::config::NAME; }",
            "#[cfg(test)] mod tests { use lintel::config; }",
        ] {
            assert_eq!(messages(imports, &[("src/pool/mod.rs", code)]).len(), 1, "{code}");
        }
        let nested = [("src/pool/balance/ring.rs", "use super::super::super::config;")];
        assert_eq!(messages(imports, &nested).len(), 1);
    }

    #[test]
    fn an_import_downward_or_beside_is_allowed() {
        for code in [
            "use crate::units::Bytes; use crate::health; use crate::{server, net::{self, Address}};",
            "mod tests { use super::*; }",
            "#[cfg(test)] mod tests { use super::config; }",
            "// use crate::config;\nconst A: &str = \"crate::config::File\";",
            "use super::spec; use other::crate_::config;",
        ] {
            assert_eq!(messages(imports, &[("src/pool/pick.rs", code)]), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn a_module_without_a_floor_is_caught() {
        assert_eq!(messages(imports, &[("src/attic.rs", "")]).len(), 1);
        assert!(messages(imports, &[("src/lib.rs", "use crate::cli;")]).is_empty());
    }

    #[test]
    fn a_circle_on_one_floor_is_caught_once() {
        let circle = [("src/pool.rs", "use crate::route;"), ("src/route.rs", "use crate::pool;")];
        assert_eq!(messages(cycles, &circle).len(), 1);
        let long = [
            ("src/pool.rs", "use crate::route;"),
            ("src/route.rs", "use crate::tls;"),
            ("src/tls.rs", "use crate::pool;"),
        ];
        assert!(!messages(cycles, &long).is_empty());
        let line =
            [("src/pool.rs", "use crate::route;"), ("src/route.rs", "use crate::tls;"), ("src/tls.rs", "")];
        assert!(messages(cycles, &line).is_empty());
    }

    #[test]
    fn a_fenced_crate_outside_its_rooms_is_caught() {
        for code in [
            "use prometheus::Counter;",
            "fn f() -> prometheus::Counter { todo() }",
            "use prometheus as p;",
            "fn f() { ::prometheus::gather(); }",
        ] {
            assert!(!messages(fences, &[("src/pool/mod.rs", code)]).is_empty(), "{code}");
            assert!(messages(fences, &[("src/observe/metrics.rs", code)]).is_empty(), "{code}");
        }
        assert!(
            messages(fences, &[("src/pool/mod.rs", "use self::prometheus::A; // prometheus::B")]).is_empty()
        );
        assert!(messages(fences, &[("src/proxy/mod.rs", "use tokio_rustls::rustls::X;")]).is_empty());
    }
}
