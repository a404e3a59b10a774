//! Config text: no text makes it panic or hang, every problem says where, and no value of the environment is shown.

use lintel::config::{self, Loaded, Problem, Problems, render};
use lintel::observe::metrics::Metrics;
use lintel::snapshot::{self, build::Surroundings};

/// Found nowhere but in the environment.
const SECRET: &str = "canary-7b1e0f9a44";

/// A folder that is not there: what is included is found missing, and nothing is read.
const FOLDER: &str = "/nonexistent/lintel-fuzz";

pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if may_read(text) || text.contains(SECRET) {
        return;
    }
    let lookup = |name: &str| match name {
        "SECRET" => Some(SECRET.to_owned()),
        "NUMBER" => Some("7".to_owned()),
        "WORD" => Some("api".to_owned()),
        "EMPTY" => Some(String::new()),
        "ODD" => Some("`tick`\u{1b}[31m \"\n\tü".to_owned()),
        _ => None,
    };
    match config::load_text("lintel.yaml", FOLDER.into(), text.to_owned(), &lookup) {
        Err(problems) => {
            assert!(!problems.0.is_empty(), "refused without a word");
            check_problems(&problems, text);
        }
        Ok(loaded) => {
            check_problems(&loaded.warnings, text);
            check_loaded(&loaded, text);
        }
    }
}

/// Whether it could name a file outside of the folder that is not there. Escapes may hide a slash.
fn may_read(text: &str) -> bool {
    let names_other_folders = text.contains(['/', '\\']) || text.contains("..");
    names_other_folders && (text.contains("include") || text.contains('\\'))
}

fn check_problems(problems: &Problems, text: &str) {
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
    for problem in &problems.0 {
        check_problem(problem, lines);
    }
    let said = render::plain(&problems.0) + &render::coloured(&problems.0);
    assert!(!said.contains(SECRET), "a value of the environment is shown: {said}");
}

fn check_problem(problem: &Problem, lines: usize) {
    assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{problem:?}");
    let spot = problem.spot.as_ref().unwrap_or_else(|| panic!("no place: {}", problem.message));
    for spot in std::iter::once(spot).chain(problem.also.iter().map(|(spot, _)| spot)) {
        assert!(spot.file == "lintel.yaml" && (1..=lines).contains(&spot.line), "{spot:?} of {lines}");
        assert!(spot.column > spot.skipped && spot.width >= 1, "{spot:?}");
        let length = spot.text.chars().count();
        assert!(spot.column - spot.skipped <= length + 1, "the column is outside of its text: {spot:?}");
    }
}

/// The plan, where building it reads no file.
fn check_loaded(loaded: &Loaded, text: &str) {
    let shown = loaded.shown().to_string();
    assert!(loaded.file.admin.token.is_some() || !shown.is_empty());
    let reads = !loaded.file.files().is_empty()
        || loaded.file.pools.values().any(|pool| pool.tls.is_some() || pool.app.is_some());
    if reads {
        return;
    }
    let surroundings =
        Surroundings { metrics: Metrics::new("0"), access_log: None, state_directory: None, before: None };
    if let Err(problems) = snapshot::build(&loaded.file, &surroundings) {
        let located = problems.iter().map(|problem| loaded.source.problem_at(&problem.at, &problem.message));
        check_problems(&Problems(located.collect()), text);
    }
}
