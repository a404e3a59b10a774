//! The file: its shape, its problems, and what is checked across its parts.
//!
//! In the order a file goes through: `include` and `parse` (YAML to a tree that knows places, `interpolate` on the way),
//! `merge` (defaults into pools), `read` and `deserialize` (tree to Specs), `check` (what no Spec can see alone). Problems
//! of all stages are collected, and `render` shows them. It opens config files only: certificates and the like are opened
//! by whoever builds the parts, which report through `Source`.

mod check;
mod deserialize;
pub mod file;
mod include;
mod interpolate;
mod key_path;
mod masked;
mod merge;
mod parse;
mod places;
mod problem;
mod read;
pub mod reference;
pub mod render;
mod schema;
mod shown;
mod source;
mod tree;

use std::path::{Path, PathBuf};

pub use file::File;
pub use key_path::KeyPath;
pub use places::{Places, places};
pub use problem::{Problem, Problems, Severity, Spot};
pub use schema::schema;
pub use shown::HIDDEN;
pub use source::Source;

use crate::net::Address;
use crate::pool;
use interpolate::EnvValue;
use parse::{MOST_VALUES, Surroundings};
use read::Broken;
use tree::{NodeId, SourceFile, Tree, Value};

/// Looks up a variable of the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Keys of the main file that are gone when the rest is read.
const READ_EARLIER: [&str; 2] = ["defaults", "include"];

/// A config without problems.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says: defaults merged, short forms written out, paths absolute.
    pub file: File,
    /// Where it says it.
    pub source: Source,
    /// What is likely not meant.
    pub warnings: Problems,
}

/// Reads a config and the files that it includes.
pub fn load(path: &Path, lookup: Lookup<'_>) -> Result<Loaded, Problems> {
    load_noting(path, lookup).0
}

/// The same, with every file that was or should have been read, and the folders that patterns look into; also where the
/// config has problems, so that it can be seen whether they are mended.
pub fn load_noting(path: &Path, lookup: Lookup<'_>) -> (Result<Loaded, Problems>, Vec<PathBuf>) {
    let name = path.to_string_lossy().into_owned();
    let unreadable = |why: String| Problems(vec![Problem::anywhere(format!("cannot read {name}: {why}"))]);
    let absolute = match std::path::absolute(path) {
        Ok(absolute) => absolute,
        Err(error) => return (Err(unreadable(error.to_string())), Vec::new()),
    };
    let text = match include::read_file(path) {
        Ok(text) => text,
        Err(why) => return (Err(unreadable(why)), vec![absolute]),
    };
    let folder = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    let mut read = vec![absolute];
    (read_text(&name, folder, text, lookup, &mut read), read)
}

/// The same for text that is at hand: `name` is how problems name it, `folder` (absolute) is where relative paths start.
pub fn load_text(name: &str, folder: PathBuf, text: String, lookup: Lookup<'_>) -> Result<Loaded, Problems> {
    read_text(name, folder, text, lookup, &mut Vec::new())
}

fn read_text(
    name: &str,
    folder: PathBuf,
    text: String,
    lookup: Lookup<'_>,
    read: &mut Vec<PathBuf>,
) -> Result<Loaded, Problems> {
    let mut tree = Tree::of(SourceFile::new(name.to_owned(), folder, text));
    let mut around = Surroundings {
        lookup,
        from_env: Vec::new(),
        problems: Vec::new(),
        read: std::mem::take(read),
        broken: Broken::default(),
    };
    let root = parse::parse(&mut tree, 0, &mut around).map(|root| assemble(&mut tree, root, &mut around));
    let Surroundings { mut from_env, mut problems, mut broken, .. } = around;
    *read = around.read;
    // The longest first: another one may be a part of it.
    from_env.sort_by(|a, b| b.value.len().cmp(&a.value.len()).then_with(|| a.cmp(b)));
    from_env.dedup();
    let Some(root) = root else {
        return Err(told(problems, &from_env));
    };
    let mut file = None;
    if tree.node(root).weight > MOST_VALUES {
        let spot = tree.spot(tree.node(root).place);
        problems.push(Problem::error(spot, format!("this grows to more than {MOST_VALUES} values")));
    } else {
        file = read::read::<File>(&tree, root, &mut broken, &mut problems, &READ_EARLIER);
    }
    let source = Source { tree, root, broken, from_env, read: read.clone() };
    let mut warnings = Vec::new();
    if let Some(file) = &mut file {
        place_sockets(file, &source);
        let found = check::check(file, &source);
        let (errors, others) = found.into_iter().partition(|problem| problem.severity == Severity::Error);
        problems.extend::<Vec<_>>(errors);
        warnings = others;
    }
    match file {
        Some(file) if problems.is_empty() => {
            let warnings = told(warnings, &source.from_env);
            Ok(Loaded { file, source, warnings })
        }
        _ => Err(told(problems.into_iter().chain(warnings).collect(), &source.from_env)),
    }
}

/// Problems as they may be shown, in order.
fn told(mut problems: Vec<Problem>, from_env: &[EnvValue]) -> Problems {
    problems.iter_mut().for_each(|problem| source::clean(problem, from_env));
    Problems::sorted(problems)
}

/// Joins included files and gives pools what they inherit.
fn assemble(tree: &mut Tree, root: NodeId, around: &mut Surroundings<'_>) -> NodeId {
    let root = include::join(tree, root, around);
    let Some(defaults) = tree.entry(root, "defaults") else { return root };
    check_defaults(tree, defaults.value, around);
    let mut entries: Vec<_> = tree.entries(root).iter().copied().filter(|e| e.key != defaults.key).collect();
    let usable = tree.is_map(defaults.value) && !around.broken.is_poisoned(defaults.value);
    if let Some(pools) = entries.iter_mut().find(|entry| tree.text(entry.key) == "pools")
        && tree.is_map(pools.value)
        && usable
    {
        pools.value = merge::inherit(tree, &around.broken, defaults.value, pools.value);
    }
    let place = tree.node(root).place;
    tree.add(place, Value::Map(entries))
}

/// Reads `defaults` on their own, so that a mistake in them is told even where each pool overrides it.
fn check_defaults(tree: &mut Tree, defaults: NodeId, around: &mut Surroundings<'_>) {
    if let Some(servers) = tree.entry(defaults, "servers") {
        let spot = tree.spot(tree.node(servers.key).place);
        around
            .problems
            .push(Problem::error(spot, "servers cannot be inherited").help("write them in their pool"));
        around.broken.poison(servers.key);
    }
    // A pool needs servers, defaults have none: a list of nothing stands in.
    around.broken.stand_in(defaults, "servers");
    let Surroundings { broken, problems, .. } = around;
    if read::read::<pool::Spec>(tree, defaults, broken, problems, &[]).is_none() {
        broken.poison(defaults);
    }
}

/// Makes the paths of unix sockets absolute. Other paths are when they are read; an address shows only then that it is one.
fn place_sockets(file: &mut File, source: &Source) {
    let place = |address: &mut Address, key_path: &str| {
        if let Address::Unix(path) = address
            && path.is_relative()
        {
            *path = source.folder(key_path).join(&*path);
        }
    };
    for (name, listener) in &mut file.listeners {
        place(&mut listener.address, &format!("listeners.{name}.address"));
    }
    for (name, pool) in &mut file.pools {
        for (index, server) in pool.servers.iter_mut().enumerate() {
            place(&mut server.address, &format!("pools.{name}.servers[{index}].address"));
        }
    }
    if let Some(address) = &mut file.admin.address {
        place(address, "admin.address");
    }
}
