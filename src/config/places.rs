//! Where a running Lintel is found: read from a config that may be broken, whatever can be made out of it.
//!
//! Commands that ask a process need nothing else of its file, and are needed most when it has problems. Nothing is told
//! here of what is wrong in it.

use std::path::{Path, PathBuf};

use super::Lookup;
use super::include::read_file;
use super::parse::{Surroundings, parse};
use super::read::Broken;
use super::tree::{SourceFile, Tree, Value};
use crate::net::Address;

/// What a config says of it; `None` where nothing is written, or nothing that can be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// `admin.address`.
    pub admin: Option<Address>,
    /// `admin.token.file`.
    pub token: Option<PathBuf>,
    /// Every `cert` of `admin.tls.certificates`.
    pub certificates: Vec<PathBuf>,
    /// `runtime.state_directory`.
    pub state: Option<PathBuf>,
    /// `runtime.run_directory`.
    pub run: Option<PathBuf>,
}

/// Reads the places of a config file.
pub fn places(path: &Path, lookup: Lookup<'_>) -> Places {
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    let folder = folder.unwrap_or_else(|| PathBuf::from("/"));
    read_file(path).map_or_else(|_| Places::default(), |text| in_text(&text, &folder, lookup))
}

fn in_text(text: &str, folder: &Path, lookup: Lookup<'_>) -> Places {
    let values = |path: &[&str]| {
        let found = scalars(text, path, lookup);
        let part = || scalars(&block(text, path.first()?)?, path, lookup);
        found.or_else(part).unwrap_or_default()
    };
    let value = |path: &[&str]| values(path).into_iter().next();
    let absolute = |path: String| folder.join(path);
    let admin = value(&["admin", "address"]).and_then(|text| text.parse().ok());
    Places {
        admin: admin.map(|address| match address {
            Address::Unix(path) => Address::Unix(folder.join(path)),
            address => address,
        }),
        token: value(&["admin", "token", "file"]).map(absolute),
        certificates: values(&["admin", "tls", "certificates", "cert"]).into_iter().map(absolute).collect(),
        state: value(&["runtime", "state_directory"]).map(absolute),
        run: value(&["runtime", "run_directory"]).map(absolute),
    }
}

/// Values, by the keys on the way to them, of a text that is YAML as a whole, be it a config or not. A list on the way
/// stands for each of its items.
fn scalars(text: &str, path: &[&str], lookup: Lookup<'_>) -> Option<Vec<String>> {
    let file = SourceFile::new(String::new(), PathBuf::new(), text.to_owned());
    let mut tree = Tree::of(file);
    let mut around = Surroundings {
        lookup,
        from_env: Vec::new(),
        problems: Vec::new(),
        read: Vec::new(),
        broken: Broken::default(),
    };
    let mut nodes = vec![parse(&mut tree, 0, &mut around)?];
    for key in path {
        let items = nodes.into_iter().flat_map(|node| match &tree.node(node).value {
            Value::List(items) => items.clone(),
            _ => vec![node],
        });
        nodes = items.filter_map(|node| Some(tree.entry(node, key)?.value)).collect();
    }
    let found = nodes.into_iter().filter_map(|node| match &tree.node(node).value {
        _ if around.broken.is_poisoned(node) => None,
        Value::Scalar(scalar) if !scalar.text.is_empty() => Some(scalar.text.clone()),
        _ => None,
    });
    Some(found.collect::<Vec<_>>()).filter(|found| !found.is_empty())
}

/// The lines of one part of a config, from its key in the first column to the next.
fn block(text: &str, part: &str) -> Option<String> {
    let is_key = |line: &&str| line.strip_prefix(part).is_some_and(|rest| rest.trim_start().starts_with(':'));
    let belongs = |line: &&str| line.is_empty() || line.starts_with([' ', '\t', '#', '\r']);
    let mut lines = text.lines().skip_while(|line| !is_key(line));
    let first = lines.next()?;
    let rest: Vec<&str> = lines.take_while(belongs).collect();
    Some(format!("{first}\n{}\n", rest.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Places {
        let lookup = |name: &str| (name == "PORT").then(|| "9900".to_owned());
        in_text(text, Path::new("/etc/lintel"), &lookup)
    }

    #[test]
    fn places_are_read_of_whatever_is_yaml() {
        let text = "admin: { address: unix:own.sock, token: { file: key } }\nruntime:\n  run_directory: run\n  state_directory: /state\n";
        let places = read(text);
        assert_eq!(places.admin, Some(Address::Unix("/etc/lintel/own.sock".into())));
        assert_eq!(places.token, Some("/etc/lintel/key".into()));
        assert_eq!(places.run, Some("/etc/lintel/run".into()));
        assert_eq!(places.state, Some("/state".into()));
        let text_of_tls = "admin: { address: \":1\", tls: { certificates: [{ cert: a.crt, key: a.key }, { cert: /b.crt }] } }";
        assert_eq!(read(text_of_tls).certificates, ["/etc/lintel/a.crt", "/b.crt"].map(PathBuf::from));
        // Neither unknown keys nor values of the wrong kind matter.
        assert_eq!(read(&format!("{text}nonsense: [1]\nlisteners: 7\n")), places);
        assert_eq!(
            read(&format!("{{ \"admin\": {{ address: \":{}\" }} }}", "9900")).admin,
            ":9900".parse().ok()
        );
    }

    #[test]
    fn places_are_found_beside_what_is_no_yaml() {
        let text =
            "listeners: [\nadmin:\n  # where\n  address: \"127.0.0.1:${PORT}\"\n\nroutes:\n\t- nonsense: [\n";
        assert_eq!(read(text).admin.map(|address| address.to_string()), Some("127.0.0.1:9900".to_owned()));
    }

    #[test]
    fn what_cannot_be_made_out_is_not_there() {
        for text in
            ["", "admin:", "admin: [", "admin: { address: ${MISSING} }", "admin: { address: [1] }", "- admin"]
        {
            assert_eq!(read(text), Places::default(), "{text}");
        }
        assert_eq!(places(Path::new("/nowhere/lintel.yaml"), &|_| None), Places::default());
    }
}
