//! `include`: further files whose listeners, pools, policies and routes join those of the main file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::parse::{Surroundings, parse};
use super::problem::{MOST_PROBLEMS, Problem, nearest_of, quoted};
use super::tree::{Entry, NodeId, Origin, Scalar, SourceFile, Tree, Value};

/// Bytes of one file.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// Bytes of all files of a config.
const LARGEST_WHOLE: usize = 32 * 1024 * 1024;
/// Files that one config may include.
const MOST_FILES: usize = 1000;

/// Keys of an included file that join those of the main file, and the one whose list is appended to.
const MAPS: [&str; 3] = ["listeners", "pools", "policies"];
const LIST: &str = "routes";

/// Reads a file of the config. The message of the error says why it cannot be.
pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| reason(&error))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("it is larger than {} MiB", LARGEST_FILE >> 20));
    }
    match String::from_utf8(bytes) {
        // A byte order mark is no part of the text.
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(format!("it is not UTF-8 text: line {line} has a byte that is not part of a character"))
        }
    }
}

/// The system's words without its number.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// A root that has everything of the main file and of the files that it includes. `include` itself is taken out.
pub(super) fn join(tree: &mut Tree, root: NodeId, around: &mut Surroundings<'_>) -> NodeId {
    let Some(entry) = tree.entry(root, "include") else { return root };
    let mut roots = Vec::new();
    for pattern in patterns(tree, entry, around) {
        if around.problems.len() >= MOST_PROBLEMS {
            break;
        }
        for path in files(tree, pattern, around) {
            if tree.files.len() > MOST_FILES {
                let spot = tree.spot(tree.node(pattern).place);
                around
                    .problems
                    .push(Problem::error(spot, format!("more than {MOST_FILES} files are included")));
                break;
            }
            roots.extend(read_included(tree, pattern, &path, around));
        }
    }
    let mut entries: Vec<_> = tree.entries(root).iter().copied().filter(|e| e.key != entry.key).collect();
    for included in roots {
        add(tree, &mut entries, included, around);
    }
    let place = tree.node(root).place;
    tree.add(place, Value::Map(entries))
}

/// The nodes of all patterns: one text, or a list.
fn patterns(tree: &Tree, entry: Entry, around: &mut Surroundings<'_>) -> Vec<NodeId> {
    let candidates = match &tree.node(entry.value).value {
        Value::List(items) => items.clone(),
        _ => vec![entry.value],
    };
    let mut good = Vec::new();
    for id in candidates.into_iter().take(MOST_FILES).filter(|id| !around.broken.is_poisoned(*id)) {
        let spot = || tree.spot(tree.node(id).place);
        match &tree.node(id).value {
            // The name of a file is shown with each problem in it; what the environment gives is never shown.
            Value::Scalar(Scalar { origin: Origin::Environment, .. }) => around
                .problems
                .push(Problem::error(spot(), "`include` takes no variables").help("write the path itself")),
            Value::Scalar(Scalar { text, .. }) if !text.is_empty() => good.push(id),
            _ => around.problems.push(
                Problem::error(spot(), "expected a path such as `conf.d/*.yaml`, or a list of them")
                    .help("write it as text"),
            ),
        }
    }
    good
}

/// The files that a pattern names, sorted by name, as they are to be shown.
fn files(tree: &Tree, pattern: NodeId, around: &mut Surroundings<'_>) -> Vec<PathBuf> {
    let text = tree.text(pattern);
    let main = &tree.files[0];
    // Shown as the main file is: beside it.
    let shown_folder = Path::new(&main.name).parent().unwrap_or(Path::new("")).to_owned();
    let path = Path::new(text);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent = shown_folder.join(path.parent().unwrap_or(Path::new("")));
    let is_wild = |text: &str| text.contains(['*', '?']);
    let mut wrong = |message: &str, help: &str| {
        let spot = tree.spot(tree.node(pattern).place);
        around.problems.push(Problem::error(spot, message).help(help));
        Vec::new()
    };
    if path.parent().is_some_and(|folder| is_wild(&folder.to_string_lossy())) {
        return wrong(
            "`*` and `?` are taken in the name of a file only",
            "write one pattern for each folder",
        );
    }
    if !is_wild(&name) {
        let same =
            main.folder.join(path) == main.folder.join(Path::new(&main.name).file_name().unwrap_or_default());
        if same {
            return wrong("this file includes itself", "take it out");
        }
        around.read.push(main.folder.join(path));
        return vec![shown_folder.join(path)];
    }
    let folder = main.folder.join(path.parent().unwrap_or(Path::new("")));
    let listed = std::fs::read_dir(&folder);
    around.read.push(folder);
    let Ok(listed) = listed else {
        return wrong("the folder of this pattern cannot be read", "make it, or take the pattern out");
    };
    let main_name = Path::new(&main.name).file_name().map(|name| name.to_string_lossy().into_owned());
    let mut names: Vec<_> = listed
        .filter_map(Result::ok)
        .filter(|file| file.path().is_file())
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|found| !found.starts_with('.') && matches_wild(name.as_bytes(), found.as_bytes()))
        .filter(|found| parent != shown_folder || Some(found) != main_name.as_ref())
        .collect();
    names.sort();
    names.into_iter().map(|name| parent.join(name)).collect()
}

/// `*` is any text, `?` any one byte.
fn matches_wild(pattern: &[u8], name: &[u8]) -> bool {
    // Remembering the last star is enough, and keeps it quadratic at worst.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

fn read_included(
    tree: &mut Tree,
    pattern: NodeId,
    shown: &Path,
    around: &mut Surroundings<'_>,
) -> Option<NodeId> {
    let main = &tree.files[0];
    let below = shown.strip_prefix(Path::new(&main.name).parent().unwrap_or(Path::new(""))).unwrap_or(shown);
    let real = main.folder.join(below);
    let name = shown.to_string_lossy().into_owned();
    match read_file(&real) {
        Err(why) => {
            let spot = tree.spot(tree.node(pattern).place);
            around.problems.push(Problem::error(spot, format!("cannot read {}: {why}", quoted(&name))));
            None
        }
        Ok(text)
            if tree.files.iter().map(|file| file.text.len()).sum::<usize>() + text.len() > LARGEST_WHOLE =>
        {
            let spot = tree.spot(tree.node(pattern).place);
            let message = format!("all files together are larger than {} MiB", LARGEST_WHOLE >> 20);
            around.problems.push(Problem::error(spot, message));
            None
        }
        Ok(text) => {
            around.read.push(real.clone());
            let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
            tree.files.push(SourceFile::new(name, folder, text));
            let file = u32::try_from(tree.files.len() - 1).unwrap_or(u32::MAX);
            parse(tree, file, around)
        }
    }
}

/// Adds what an included file has.
fn add(tree: &mut Tree, entries: &mut Vec<Entry>, included: NodeId, around: &mut Surroundings<'_>) {
    if !tree.is_map(included) {
        let spot = tree.spot(tree.node(included).place);
        let help = "write `listeners`, `pools`, `policies` or `routes`";
        around.problems.push(Problem::error(spot, "expected a map").help(help));
        return;
    }
    for theirs in tree.entries(included).to_vec() {
        let name = tree.text(theirs.key).to_owned();
        if !MAPS.contains(&name.as_str()) && name != LIST {
            around.problems.push(stranger(tree, theirs, &name));
            continue;
        }
        let Some(ours) = entries.iter().position(|entry| tree.text(entry.key) == name) else {
            entries.push(theirs);
            continue;
        };
        let joined = match (&tree.node(entries[ours].value).value, &tree.node(theirs.value).value) {
            (Value::List(a), Value::List(b)) => Value::List(a.iter().chain(b).copied().collect()),
            (Value::Map(a), Value::Map(b)) => Value::Map(union(tree, a, b, &mut around.problems)),
            // One of them is of the wrong kind, which is told when it is read; the later one may be it.
            (Value::Scalar(_), _) => continue,
            _ => {
                let spot = tree.spot(tree.node(theirs.key).place);
                let kind = if name == LIST { "a list" } else { "a map" };
                around.problems.push(Problem::error(spot, format!("expected {kind} under `{name}`")));
                continue;
            }
        };
        let place = tree.node(entries[ours].value).place;
        entries[ours].value = tree.add(place, joined);
    }
}

/// The entries of both maps; a name of both is a problem.
fn union(tree: &Tree, ours: &[Entry], theirs: &[Entry], problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = ours.to_vec();
    let known: std::collections::HashMap<_, _> = ours.iter().map(|e| (tree.text(e.key), e.key)).collect();
    for entry in theirs {
        let name = tree.text(entry.key);
        match known.get(name) {
            None => entries.push(*entry),
            Some(first) => {
                let spot = tree.spot(tree.node(entry.key).place);
                let first = tree.spot(tree.node(*first).place);
                problems.push(
                    Problem::error(spot, format!("the name {} is taken", quoted(name)))
                        .help("choose another one")
                        .also(first, "has it"),
                );
            }
        }
    }
    entries
}

/// The problem for a key that an included file cannot have.
fn stranger(tree: &Tree, entry: Entry, name: &str) -> Problem {
    let spot = tree.spot(tree.node(entry.key).place);
    match name {
        "include" => {
            Problem::error(spot, "an included file cannot include others").help("list it in the main file")
        }
        "defaults" | "observability" | "admin" | "runtime" => {
            Problem::error(spot, format!("`{name}` belongs in the main file")).help("move it there")
        }
        _ => {
            let known = MAPS.into_iter().chain([LIST]);
            let problem = Problem::error(spot, format!("unknown key {}", quoted(name)));
            match nearest_of(name, known) {
                Some(help) => problem.help(help),
                None => problem,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        let matches = |pattern: &str, name: &str| matches_wild(pattern.as_bytes(), name.as_bytes());
        assert!(matches("*.yaml", "a.yaml") && matches("*", "") && matches("a*b*c", "a-b-b-c"));
        assert!(matches("?.yaml", "a.yaml") && !matches("?.yaml", ".yaml"));
        assert!(!matches("*.yaml", "a.yml") && !matches("a*b", "a-c"));
    }
}
