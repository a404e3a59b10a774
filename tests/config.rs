//! The config as a user meets it: every problem, byte for byte; every example good; no text that panics.
//!
//! A file in tests/config is YAML, the ruler, then what `lintel check` says of it, or the plan that it makes.
//! `UPDATE_GOLDEN=1` writes the last part anew; read the difference before you commit it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write;
use std::path::{Path, PathBuf};

use lintel::config::{self, Loaded, Problems, render};
use proptest::prelude::*;

const RULER: &str = "\n# ---------------- what lintel says ----------------\n";
/// Begins the text of a further file of the same case.
const FILE: &str = "# ---------------- file: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some("hunter2-from-the-environment".to_owned()),
        "NUMBER" => Some("7".to_owned()),
        "WORD" => Some("api".to_owned()),
        "EMPTY" => Some(String::new()),
        "ODD" => Some("`hunter2`\u{1b}[31m \"\n\tü".to_owned()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Loaded, Problems> {
    config::load_text("lintel.yaml", "/etc/lintel".into(), text.to_owned(), &environment)
}

/// Loads a case that consists of several files, from a folder of its own.
fn load_files(text: &str) -> (Result<Loaded, Problems>, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = text.split(FILE);
    let main = folder.path().join("lintel.yaml");
    std::fs::write(&main, parts.next().unwrap()).unwrap();
    for part in parts {
        let (name, text) =
            part.split_once(" ----------------\n").expect("a file's name and a line of dashes");
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    (config::load(&main, &environment), folder.path().to_owned())
}

/// What `lintel check` would say, and for a good config its plan.
fn outcome(text: &str) -> String {
    let (result, folder) =
        if text.contains(FILE) { load_files(text) } else { (load(text), PathBuf::from("/etc/lintel")) };
    let said = match result {
        Err(problems) => render::plain(&problems.0),
        Ok(loaded) => {
            let mut said = render::plain(&loaded.warnings.0);
            let plan =
                serde_json::to_string_pretty(&written(serde_json::to_value(&loaded.file).unwrap())).unwrap();
            let _ = writeln!(said, "{plan}");
            said
        }
    };
    let folder = folder.display().to_string();
    let relative = |line: &str| match line.trim_start().starts_with('"') {
        // In a plan, absolute paths are the point.
        true => format!("{}\n", line.replace(&folder, "FOLDER")),
        false => format!("{}\n", line.replace(&format!("{folder}/"), "")),
    };
    said.lines().map(relative).collect()
}

/// A plan without what it lacks.
fn written(plan: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match plan {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key, written(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(written).collect()),
        other => other,
    }
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<_> = listed.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

#[test]
fn each_golden_config_says_what_it_said() {
    let mut wrong = String::new();
    for path in yaml_files("tests/config") {
        let text = std::fs::read_to_string(&path).unwrap();
        let (yaml, expected) = text.split_once(RULER).unwrap_or((text.trim_end_matches('\n'), ""));
        let said = outcome(&format!("{yaml}\n"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{yaml}{RULER}{said}")).unwrap();
        } else if said != expected {
            let name = path.file_name().unwrap().to_string_lossy();
            let _ = writeln!(wrong, "=== {name}: expected\n{expected}--- found\n{said}");
        }
        let again = outcome(&format!("{yaml}\n"));
        assert_eq!(said, again, "the same text is answered alike");
        assert!(!said.contains("hunter2"), "{}: a value of the environment is shown", path.display());
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 writes them anew\n{wrong}");
}

#[test]
fn every_example_config_is_good() {
    for path in yaml_files("conf") {
        if let Err(problems) = config::load(&path, &|_| None) {
            panic!("{}\n{problems}", path.display());
        }
    }
}

#[test]
fn every_config_in_the_documentation_is_good() {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages =
        docs.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"));
    for page in pages.filter(|path| path.exists()) {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if !block.lines().any(|line| line.starts_with("listeners:")) {
                continue;
            }
            if let Err(problems) = load(block) {
                panic!("{}\n{block}\n{problems}", page.display());
            }
        }
    }
}

#[test]
fn the_reference_is_fresh() {
    let path = root().join("docs/reference.md");
    let page = config::reference::markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page,
        "docs/reference.md is stale: UPDATE_REFERENCE=1 cargo test --test config reference"
    );
}

#[test]
fn a_problem_found_later_is_shown_where_its_key_is_written() {
    let text = std::fs::read_to_string(root().join("conf/full.yaml")).unwrap().replace("include:", "#");
    let loaded = load(&text).unwrap();
    let line = |key_path: &str| loaded.source.problem_at(key_path, "x").spot.unwrap().text;
    assert!(line("listeners.https.tls.certificates[0].key").contains("localhost.key"));
    assert!(line("pools.api.tls.ca").contains("ca: ../certs-dev/ca.crt"));
    assert!(line("pools.api.health_check.timeout").contains("timeout: 2s"), "an inherited value");
    assert!(line("pools.api.servers[1].address").contains("app.internal"), "a short form");
    assert!(line("pools.chat.timeouts.connect").contains("chat:"), "a default that nobody wrote");
    assert!(line("policies.branded[0].headers.response.set.x-served-by").contains("x-served-by"));
}

#[test]
fn paths_start_at_the_folder_of_their_file() {
    let text = std::fs::read_to_string(root().join("conf/full.yaml")).unwrap().replace("include:", "#");
    let file = load(&text).unwrap().file;
    let tls = file.listeners["https"].tls.as_ref().unwrap();
    assert_eq!(tls.certificates[0].cert, Path::new("/etc/lintel/../certs-dev/localhost.crt"));
    assert_eq!(file.observability.access_log.path, Path::new("stdout"));
    assert_eq!(file.runtime.state_directory.as_deref(), Some(Path::new("/var/lib/lintel")));
}

#[test]
fn a_bomb_of_aliases_is_refused_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        let _ = writeln!(text, "a{level}: &a{level} [{}]", before.trim_end_matches(", "));
    }
    let started = std::time::Instant::now();
    let problems = load(&text).unwrap_err().to_string();
    assert!(problems.contains("when its aliases are followed"), "{problems}");
    assert!(started.elapsed().as_secs() < 5);
}

#[test]
fn large_and_deep_texts_do_not_hang() {
    let repeated = [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        "a: &a [*a]\n".repeat(20_000),
        "a: 1\n".repeat(100_000),
        (0..100_000).map(|n| format!("key{n}: x\n")).collect(),
        format!("listeners: {{{}}}", "x: {}, ".repeat(50_000)),
        format!("include: [{}]", "nothing, ".repeat(50_000)),
        format!("\"{}", "\\x41".repeat(200_000)),
        "&a ".repeat(50_000),
        format!(
            "listeners: {{a: {{address: \":1\"}}}}\npools:\n{}routes:\n{}",
            pools(10_000),
            routes(10_000)
        ),
        format!("defaults: {{retries: {{on: [{}]}}}}\npools:\n{}", "502, ".repeat(5_000), pools(5_000)),
    ];
    for text in repeated {
        let started = std::time::Instant::now();
        let _ = load(&text);
        // What takes a second here would take hours if it grew with the square: a hang, however busy the machine.
        assert!(started.elapsed().as_secs() < 120, "{:.60} took {:?}", text, started.elapsed());
    }
}

fn pools(count: usize) -> String {
    (0..count).map(|n| format!("  p{n}: {{servers: [\"10.0.0.1:1\"]}}\n")).collect()
}

fn routes(count: usize) -> String {
    (0..count).map(|n| format!("  - {{match: {{path: /p{n}}}, to: p{n}, wrong: {n}}}\n")).collect()
}

/// What the schema says of a value: `None` when it takes it. As much of JSON Schema as ours uses.
fn refusal(schema: &serde_json::Value, value: &serde_json::Value, at: &str) -> Option<String> {
    use serde_json::Value;
    let no = |why: String| Some(format!("{at}: {why}"));
    if let Some(forms) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
        let refused: Vec<_> = forms.iter().map_while(|form| refusal(form, value, at)).collect();
        return (refused.len() == forms.len()).then(|| refused.join(" | "));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return no(format!("{value} is not {}", schema["const"]));
    }
    if let Some(Value::Array(values)) = schema.get("enum")
        && !values.contains(value)
    {
        return no(format!("{value} is not one of {values:?}"));
    }
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Null => "null",
    };
    if schema.get("type").is_some_and(|wanted| wanted != kind) {
        return no(format!("{value} is not of type {}", schema["type"]));
    }
    if let (Some(Value::String(pattern)), Value::String(text)) = (schema.get("pattern"), value)
        && !regex::Regex::new(pattern).unwrap().is_match(text)
    {
        return no(format!("{text} does not match {pattern}"));
    }
    match value {
        Value::Array(items) => {
            items.iter().find_map(|item| refusal(schema.get("items")?, item, &format!("{at}[]")))
        }
        Value::Object(fields) => {
            let missing = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let missing = missing.filter_map(Value::as_str).find(|key| !fields.contains_key(*key));
            missing.map(|key| format!("{at}: `{key}` is missing")).or_else(|| {
                fields.iter().find_map(|(key, value)| {
                    let known = schema.get("properties").and_then(|known| known.get(key));
                    match known.or(schema.get("additionalProperties")) {
                        Some(Value::Bool(false)) => Some(format!("{at}: unknown key `{key}`")),
                        Some(schema) => refusal(schema, value, &format!("{at}.{key}")),
                        None => None,
                    }
                })
            })
        }
        _ => None,
    }
}

#[test]
fn the_schema_takes_what_lintel_takes_in_all_its_forms() {
    let schema = serde_json::to_value(config::schema()).unwrap();
    // As YAML 1.2 has it, and editors: `off` is text.
    let strict = serde_saphyr::options! { strict_booleans: true };
    let golden = yaml_files("tests/config");
    let good = golden.iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("good-"));
    for path in good.chain(&yaml_files("conf")) {
        let text = std::fs::read_to_string(path).unwrap();
        let yaml = text.split(RULER).next().unwrap().split(FILE).next().unwrap();
        let value: serde_json::Value = serde_saphyr::from_str_with_options(yaml, strict.clone()).unwrap();
        assert_eq!(refusal(&schema, &value, ""), None, "{}", path.display());
    }
    let bad =
        serde_json::json!({ "listeners": { "http": { "address": ":80", "limits": { "hed": "1KiB" } } } });
    assert_eq!(refusal(&schema, &bad, "").as_deref(), Some(".listeners.http.limits: unknown key `hed`"));
    let bad = serde_json::json!({ "listeners": {}, "defaults": { "health_check": 5 } });
    assert!(refusal(&schema, &bad, "").is_some());
}

/// Pieces that configs are made of, for texts that come close to one.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "listeners",
        "pools",
        "routes",
        "defaults",
        "policies",
        "include",
        "web",
        "to",
        "match",
        "host",
        "path",
        "servers",
        "address",
        "tls",
        "health_check",
        "off",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "*",
        "&a",
        "*a",
        "${SECRET}",
        "${NONE:-x}",
        "${",
        "$$",
        "1.2",
        "5s",
        "0x1f",
        "~",
        "null",
        "true",
        "!!str ",
        "|",
        ">",
        "#",
        "%",
        "@",
        "\t",
        "\r",
        "\u{0}",
        "ü",
        "\u{feff}",
        "---",
        "...",
        "<<",
        "10.0.0.1:1",
        "/a/*",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*|[\\x00-\\x7f\\n]{0,200}") {
        let _ = load(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn pieces_of_configs_never_panic(text in pieces()) {
        let _ = load(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn a_good_config_with_something_else_in_it_never_panics(
        at in 0.0..1.0f64, gone in 0usize..40, instead in pieces(),
    ) {
        let good = include_str!("../conf/full.yaml").replace("include:", "#");
        let floor = |at: usize| (0..=at.min(good.len())).rev().find(|at| good.is_char_boundary(*at)).unwrap_or(0);
        let start = floor((good.len() as f64 * at) as usize);
        let text = format!("{}{instead}{}", &good[..start], &good[floor(start + gone)..]);
        if let Err(problems) = load(&text) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(!problems.to_string().contains("hunter2"));
        }
    }

    #[test]
    fn a_value_of_the_environment_is_never_shown(
        key in 0usize..200, variable in prop::sample::select(vec!["SECRET", "ODD"]),
    ) {
        // Each value in turn comes from the environment and does not fit.
        let good = include_str!("../conf/full.yaml").replace("include:", "#");
        let lines: Vec<_> = good.lines().collect();
        let key = key % lines.len();
        let changed: Vec<_> = lines.iter().enumerate().map(|(n, line)| match line.split_once(": ") {
            Some((name, _)) if n == key => format!("{name}: \"${{{variable}}}\""),
            _ => (*line).to_owned(),
        }).collect();
        if let Err(problems) = load(&changed.join("\n")) {
            prop_assert!(!problems.to_string().contains("hunter2"), "{problems}");
        }
    }
}

/// A config in a folder of its own, for the command line.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lintel.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

fn lintel(args: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lintel"))
        .args(args)
        .current_dir(root())
        .env_remove("LINTEL_LOG")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_praises_a_good_config_and_exits_with_0() {
    let (code, answer, errors) = lintel(&["check", "-c", "conf/minimal.yaml"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert_eq!(answer, "conf/minimal.yaml is good: 1 listener, 1 pool, 2 servers, 1 route\n");
    let (code, answer, _) = lintel(&["check", "-c", "conf/minimal.yaml", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["good"], &answer["counts"]["servers"]), (Some(0), &true.into(), &2.into()));
}

#[test]
fn check_counts_programs_apart_from_servers() {
    let (_folder, path) = file(
        "listeners: { http: { address: \":0\" } }\npools: { api: { app: { command: node server.js } } }\nroutes: [{ name: all, to: api }]\n",
    );
    let (code, answer, errors) = lintel(&["check", "-c", &path]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(answer.ends_with(" is good: 1 listener, 1 pool, 1 app, 1 route\n"), "{answer}");
}

#[test]
fn check_shows_all_problems_on_stderr_without_colours_and_exits_with_1() {
    let (_folder, path) = file("listeners:\n  http: { adress: \":8080\" }\nroutes: [{ respond: {} }]\n");
    let (code, answer, errors) = lintel(&["check", "--config", &path]);
    assert_eq!((code, answer.as_str()), (Some(1), ""));
    assert!(
        errors.contains(":2:11: unknown key `adress`\n") && errors.contains("^^^^^^ did you mean"),
        "{errors}"
    );
    assert!(!errors.contains('\u{1b}'));
    let (code, answer, _) = lintel(&["check", "-c", &path, "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let first = &answer["problems"][0];
    assert_eq!((code, &answer["good"]), (Some(1), &false.into()));
    assert_eq!((&first["place"]["line"], &first["help"]), (&2.into(), &"did you mean `address`?".into()));
}

#[test]
fn a_start_with_a_bad_config_exits_with_1_and_wrong_usage_with_2() {
    let (_folder, path) = file("listeners: {}\n");
    let (code, _, errors) = lintel(&["run", "-c", &path]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("there is no listener"), "{errors}");
    let (code, _, errors) = lintel(&["run", "-c", "no/such/file.yaml"]);
    assert_eq!((code, errors.as_str()), (Some(1), "cannot read no/such/file.yaml: there is no such file\n"));
    assert_eq!(lintel(&["run", "--wrong"]).0, Some(2));
    assert_eq!(lintel(&[]).0, Some(2));
    assert_eq!(lintel(&["--version"]).1, concat!("lintel ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(lintel(&["--help"]).1.contains("Exit codes:"));
}

#[test]
fn schema_and_completions_are_printed() {
    let (code, schema, _) = lintel(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!((code, schema["type"].as_str()), (Some(0), Some("object")));
    let (code, script, _) = lintel(&["completions", "bash"]);
    assert!(code == Some(0) && script.contains("complete"));
}
