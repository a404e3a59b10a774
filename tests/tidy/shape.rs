//! The shape of files: how long files and functions are, what opens them, and what tests must not do.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::tree::{File, Problem, Tree, attributes, is_for_tests};

const LINES_OF_A_FILE: usize = 500;
const LINES_OF_A_FUNCTION: usize = 70;
const WORDS_OF_A_MODULE_DOC: usize = 5;

/// The one room that reads the calendar.
const CALENDAR: &str = "src/clock.rs";
/// Who may ask it. All but the last two only tell people, logs and other programs what time it is, or hold certificates
/// against it. Those that count hours by it (keys of session tickets outlive the process, files carry their time in their
/// names) take a clock that was turned back into account. Lengths of time go by `Instant`, which never jumps.
const CALENDAR_FOR: [&str; 13] = [
    "src/admin/locks.rs",
    "src/boot/reload.rs",
    "src/cli/status.rs",
    "src/control/workers/output.rs",
    "src/observe/events.rs",
    "src/observe/metrics/mod.rs",
    "src/observe/metrics/process.rs",
    "src/proxy/connection.rs",
    "src/proxy/engine.rs",
    "src/proxy/exchange.rs",
    "src/snapshot/build.rs",
    "src/control/workers/files.rs",
    "src/tls/tickets.rs",
];

/// Every Rust file parses, so that no rule passes by not reading.
pub fn parses(tree: &Tree) -> Vec<Problem> {
    let broken = |file: &File| {
        let error = syn::parse_file(&file.text).err()?;
        Some(file.problem(error.span().start().line, format!("does not parse: {error}")))
    };
    tree.rust().filter_map(broken).collect()
}

/// Files under 500 lines and functions under 70, tests not counted.
pub fn lengths(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.below("src/", "rs").filter(|file| !is_test_file(&file.path)) {
        let syntax = file.syntax();
        let tests: usize = syntax
            .items
            .iter()
            .filter(|item| is_for_tests(attributes(item)))
            .map(|item| lines_of(item.span()))
            .sum();
        let lines = file.text.lines().count().saturating_sub(tests);
        if lines > LINES_OF_A_FILE {
            problems
                .push(file.problem(1, format!("{lines} lines without its tests; at most {LINES_OF_A_FILE}")));
        }
        let mut functions = Functions { found: Vec::new() };
        functions.visit_file(&syntax);
        for (name, line, lines) in functions.found {
            if lines > LINES_OF_A_FUNCTION {
                let message = format!("`{name}` has {lines} lines; at most {LINES_OF_A_FUNCTION}");
                problems.push(file.problem(line, message));
            }
        }
    }
    problems
}

/// The calendar may jump, so it is read in one room and asked in a few: nothing waits by it.
pub fn calendar(tree: &Tree) -> Vec<Problem> {
    const READS: [&str; 5] =
        ["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now", "CLOCK_REALTIME"];
    let mut problems = Vec::new();
    for file in tree.below("src/", "rs").filter(|file| file.path != CALENDAR) {
        for (number, line) in file.lines() {
            if READS.iter().any(|read| line.contains(read)) {
                problems.push(file.problem(number, format!("reads the calendar; only {CALENDAR} does")));
            }
            if line.contains("clock::since_epoch") && !CALENDAR_FOR.contains(&file.path.as_str()) {
                let message = "asks the calendar, which may jump; lengths of time go by `Instant`";
                problems.push(file.problem(number, message));
            }
        }
    }
    problems
}

/// A file under src/ that holds only tests, declared with `#[cfg(test)] mod tests;`.
pub fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn lines_of(span: proc_macro2::Span) -> usize {
    span.end().line + 1 - span.start().line
}

/// Name, first line and length of every function that is not for tests.
struct Functions {
    found: Vec<(String, usize, usize)>,
}

impl Functions {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let start = signature.span().start().line;
        self.found.push((signature.ident.to_string(), start, block.span().end().line + 1 - start));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }
}

/// Every Rust file opens with `//!` and says in a sentence what it is for.
pub fn module_docs(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.rust() {
        let opening: Vec<&str> = file.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let words = opening.iter().flat_map(|line| line.trim_start_matches("//!").split_whitespace()).count();
        if opening.is_empty() {
            problems.push(file.problem(1, "does not open with `//!`: what is it for, what does it not do?"));
        } else if words < WORDS_OF_A_MODULE_DOC {
            problems.push(file.problem(1, "the `//!` says too little: what is it for, what does it not do?"));
        }
    }
    problems
}

/// `#[ignore]` says why: `#[ignore = "reason"]`.
pub fn ignored_tests(tree: &Tree) -> Vec<Problem> {
    struct Ignored(Vec<usize>);
    impl<'ast> Visit<'ast> for Ignored {
        fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
            if matches!(&attribute.meta, syn::Meta::Path(path) if path.is_ident("ignore")) {
                self.0.push(attribute.span().start().line);
            }
        }
    }
    let mut problems = Vec::new();
    for file in tree.rust() {
        let mut ignored = Ignored(Vec::new());
        ignored.visit_file(&file.syntax());
        problems.extend(ignored.0.iter().map(|line| file.problem(*line, "ignored without a reason")));
    }
    problems
}

/// What is left to be done has an owner, in parentheses behind the word.
pub fn owned_todos(tree: &Tree) -> Vec<Problem> {
    let pattern = regex::Regex::new(r"\b(TODO|FIXME)\b(\([a-z][a-z0-9_.-]*\))?").unwrap();
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| file.path != "tests/tidy/shape.rs") {
        for (line, text) in file.lines() {
            for found in pattern.captures_iter(text).filter(|found| found.get(2).is_none()) {
                problems.push(file.problem(line, format!("`{}` without an owner in parentheses", &found[1])));
            }
        }
    }
    problems
}

/// Tests wait for what they want to see, never for a while. `tests/support/time.rs` is the one place that knows time.
pub fn sleeps(tree: &Tree) -> Vec<Problem> {
    struct Sleeps {
        found: Vec<usize>,
        in_tests: usize,
    }
    impl Sleeps {
        fn note(&mut self, path: &syn::Path) {
            let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let last = names.last().map(String::as_str);
            if self.in_tests > 0 && matches!(last, Some("sleep" | "sleep_until" | "sleep_ms")) {
                self.found.push(path.span().start().line);
            }
        }
    }
    impl<'ast> Visit<'ast> for Sleeps {
        fn visit_item(&mut self, item: &'ast syn::Item) {
            let is_test = usize::from(is_for_tests(attributes(item)));
            self.in_tests += is_test;
            visit::visit_item(self, item);
            self.in_tests -= is_test;
        }
        fn visit_path(&mut self, path: &'ast syn::Path) {
            self.note(path);
            visit::visit_path(self, path);
        }
    }
    let mut problems = Vec::new();
    for file in tree.rust().filter(|file| file.path != "tests/support/time.rs") {
        let in_tests = usize::from(file.path.starts_with("tests/") || is_test_file(&file.path));
        let mut sleeps = Sleeps { found: Vec::new(), in_tests };
        sleeps.visit_file(&file.syntax());
        let message = "a test sleeps; await what it waits for with `eventually`, or pause tokio's clock";
        problems.extend(sleeps.found.iter().map(|line| file.problem(*line, message)));
    }
    problems
}

/// Tests bind port 0 and ask which it became.
pub fn fixed_ports(tree: &Tree) -> Vec<Problem> {
    let anywhere = regex::Regex::new(r"(127\.0\.0\.1|localhost|\[::1?\]|0\.0\.0\.0):[1-9][0-9]*").unwrap();
    let opened = regex::Regex::new(r#"(bind|connect|listen)\w*\([^)]*("|[^:"]):[1-9][0-9]*""#).unwrap();
    let mut problems = Vec::new();
    for file in &tree.files {
        let is_code = [".rs", ".js", ".mjs", ".cjs"].iter().any(|end| file.path.ends_with(end));
        let pattern = match file.path.split('/').next() {
            Some("tests") if is_code && file.path != "tests/tidy/shape.rs" => &anywhere,
            Some("src") if is_code => &opened,
            _ => continue,
        };
        // A Host field is a name in a message, not an address that is opened.
        let opens = |text: &str| pattern.is_match(&text.replace("Host: ", "").replace("[::1]:80", ""));
        for (line, _) in file.lines().filter(|(_, text)| opens(text)) {
            problems.push(file.problem(line, "a fixed port; bind port 0 and ask which it became"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(rule: fn(&Tree) -> Vec<Problem>, path: &str, text: &str) -> Vec<usize> {
        rule(&Tree::of(&[(path, text)])).iter().map(|problem| problem.line).collect()
    }

    #[test]
    fn a_file_that_does_not_parse_is_caught() {
        assert_eq!(caught(parses, "src/a.rs", "fn a() {\n  let = ;\n}"), [2]);
        assert!(caught(parses, "src/a.rs", "fn a() {}").is_empty());
    }

    #[test]
    fn a_long_file_is_caught_but_its_tests_do_not_count() {
        let code = "const A: u8 = 0;\n";
        assert_eq!(caught(lengths, "src/a.rs", &code.repeat(501)), [1]);
        assert!(caught(lengths, "src/a.rs", &code.repeat(500)).is_empty());
        let tests =
            format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", code.repeat(400), "// line\n".repeat(300));
        assert!(caught(lengths, "src/a.rs", &tests).is_empty());
        assert!(caught(lengths, "src/pool/tests.rs", &code.repeat(900)).is_empty());
    }

    #[test]
    fn a_long_function_is_caught_wherever_it_is() {
        let body = "    work();\n".repeat(69);
        assert_eq!(caught(lengths, "src/a.rs", &format!("\nfn a() {{\n{body}}}\n")), [2]);
        assert_eq!(caught(lengths, "src/a.rs", &format!("impl A {{\nfn a() {{\n{body}}}\n}}\n")), [2]);
        assert_eq!(caught(lengths, "src/a.rs", &format!("mod m {{\nfn a() {{\n{body}}}\n}}\n")), [2]);
        assert!(
            caught(
                lengths,
                "src/a.rs",
                &format!("/// Docs.\n/// More.\nfn a() {{\n{}}}\n", "    work();\n".repeat(68))
            )
            .is_empty()
        );
        assert!(caught(lengths, "src/a.rs", &format!("#[test]\nfn a() {{\n{body}}}\n")).is_empty());
    }

    #[test]
    fn a_missing_or_empty_module_doc_is_caught() {
        for text in [
            "fn a() {}",
            "// words of a comment\n",
            "//! (empty)\n",
            "\n//! Says what it is for, too late.\n",
        ] {
            assert_eq!(caught(module_docs, "src/a.rs", text), [1], "{text}");
        }
        assert!(caught(module_docs, "src/a.rs", "//! Says what this file is for.\n").is_empty());
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_caught() {
        assert_eq!(caught(ignored_tests, "tests/a.rs", "#[test]\n#[ignore]\nfn a() {}"), [2]);
        assert!(
            caught(ignored_tests, "tests/a.rs", "#[test]\n#[ignore = \"needs a browser\"]\nfn a() {}")
                .is_empty()
        );
    }

    #[test]
    fn work_left_without_an_owner_is_caught() {
        assert_eq!(caught(owned_todos, "src/a.rs", "fn a() {}\n// TODO: later\n"), [2]);
        assert_eq!(caught(owned_todos, "conf/a.yaml", "a: 1 # FIXME\n"), [1]);
        assert!(caught(owned_todos, "src/a.rs", "// TODO(ada): later\nlet mytodo = 1;").is_empty());
    }

    #[test]
    fn a_sleep_in_a_test_is_caught() {
        for code in [
            "#[test]\nfn a() { std::thread::sleep(d); }",
            "#[test]\nfn a() { x(async { tokio::time::sleep(d).await }); }",
            "\nuse x::y; fn f() { sleep(d) }",
        ] {
            assert_eq!(caught(sleeps, "tests/e2e/a.rs", code), [2], "{code}");
        }
        assert_eq!(
            caught(sleeps, "src/a.rs", "#[cfg(test)]\nmod tests { fn a() { tokio::time::sleep(d); } }"),
            [2]
        );
        assert!(caught(sleeps, "src/a.rs", "fn a() { tokio::time::sleep(d); }").is_empty());
        assert!(caught(sleeps, "tests/support/time.rs", "fn a() { tokio::time::sleep(d); }").is_empty());
    }

    #[test]
    fn whoever_counts_time_by_the_calendar_is_caught() {
        assert_eq!(caught(calendar, "src/a.rs", "//! A\nlet a = SystemTime::now();"), [2]);
        assert_eq!(caught(calendar, "src/proxy/engine.rs", "let a = jiff::Timestamp::now();"), [1]);
        assert_eq!(caught(calendar, "src/pool/queue.rs", "let a = clock::since_epoch();"), [1]);
        assert!(caught(calendar, "src/proxy/engine.rs", "let a = clock::since_epoch();").is_empty());
        assert!(caught(calendar, "src/clock.rs", "std::time::SystemTime::now()").is_empty());
        assert!(caught(calendar, "src/a.rs", "let a = Instant::now();").is_empty());
    }

    #[test]
    fn a_fixed_port_in_a_test_is_caught() {
        assert_eq!(caught(fixed_ports, "tests/a.rs", "let a = \"127.0.0.1:8080\";"), [1]);
        assert_eq!(caught(fixed_ports, "tests/e2e/node/a.mjs", "fetch('http://localhost:3000')"), [1]);
        assert_eq!(caught(fixed_ports, "src/a.rs", "TcpListener::bind(\"127.0.0.1:8080\")"), [1]);
        assert!(caught(fixed_ports, "tests/a.rs", "let a = \"127.0.0.1:0\";").is_empty());
        assert!(caught(fixed_ports, "src/a.rs", "\"127.0.0.1:8080\".parse()").is_empty());
        assert!(caught(fixed_ports, "src/a.rs", "connect((\"::1\", port))").is_empty());
    }
}
