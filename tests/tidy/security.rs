//! SECURITY.md names tests that exist: each attack in its tables has one, as `FILE::NAME` or, in a table of cases,
//! `FILE#NAME`.

use super::tree::{File, Problem, Tree};

const PAGE: &str = "SECURITY.md";

/// Every named test is there, and every row of the tables of attacks names one.
pub fn tests(tree: &Tree) -> Vec<Problem> {
    let Some(page) = tree.file(PAGE) else {
        let message = "the page about security is missing".to_owned();
        return vec![Problem { path: PAGE.into(), line: 1, message }];
    };
    let mut problems = Vec::new();
    let mut in_table = false;
    for (line, text) in page.lines() {
        in_table = text.starts_with('|') && (in_table || text.starts_with("| Attack "));
        let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|span| is_test(span)).collect();
        problems.extend(
            named.iter().filter_map(|test| missing(tree, test)).map(|message| page.problem(line, message)),
        );
        let is_row = in_table && !text.starts_with("| Attack ") && !text.starts_with("| ---");
        if is_row && named.is_empty() {
            problems.push(page.problem(line, "an attack without a test"));
        }
    }
    problems
}

fn is_test(span: &str) -> bool {
    (span.starts_with("tests/") || span.starts_with("src/")) && span.contains([':', '#'])
}

fn missing(tree: &Tree, test: &str) -> Option<String> {
    let Some((path, name, is_case)) = test
        .split_once("::")
        .map(|(path, name)| (path, name, false))
        .or_else(|| test.split_once('#').map(|(path, name)| (path, name, true)))
    else {
        return Some(format!("`{test}` names no test"));
    };
    let Some(file) = tree.file(path) else { return Some(format!("there is no {path}")) };
    let is_there = if is_case { file.text.contains(&format!("\"{name}\"")) } else { has_test(file, name) };
    (!is_there).then(|| format!("{path} has no test `{name}`"))
}

/// Whether a function of this name has an attribute that makes it a test.
fn has_test(file: &File, name: &str) -> bool {
    let wanted = format!("fn {name}(");
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(place, line)| {
        let is_it = line.strip_prefix("async ").unwrap_or(line).starts_with(&wanted);
        let above = lines[..place].iter().rev();
        is_it && above.take_while(|line| line.starts_with("#[")).any(|line| line.contains("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_not_there_and_an_attack_without_one_are_caught() {
        let file =
            ("tests/a.rs", "#[tokio::test]\nasync fn is_there() {}\nfn is_none() {}\ncase(\"bad-length\")");
        let page =
            |rows: &str| format!("# Security\n| Attack | Met | Tests |\n| --- | --- | --- |\n{rows}\n");
        let count = |rows: &str| super::tests(&Tree::of(&[file, (PAGE, &page(rows))])).len();
        assert_eq!(count("| x | y | `tests/a.rs::is_there`, `tests/a.rs#bad-length` |"), 0);
        for row in [
            "| x | y | `tests/a.rs::is_none` |",
            "| x | y | `tests/a.rs::is` |",
            "| x | y | `tests/a.rs#bad` |",
            "| x | y | `tests/b.rs::is_there` |",
            "| x | y | none |",
        ] {
            assert_eq!(count(row), 1, "{row}");
        }
        assert_eq!(super::tests(&Tree::of(&[])).len(), 1);
    }
}
