//! The tree as the rules see it: every text file of the project with its path, read once.

use std::fmt;
use std::path::Path;

/// One text file.
#[derive(Debug)]
pub struct File {
    /// Relative to the root, with `/` between the parts.
    pub path: String,
    pub text: String,
}

/// All files of the project that people write.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<File>,
}

/// A broken rule, with its place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub path: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

const SKIPPED: [&str; 6] = ["target", "node_modules", ".git", "dist", "logs", "proptest-regressions"];
const READ: [&str; 11] = ["rs", "md", "toml", "yaml", "yml", "js", "mjs", "cjs", "ts", "sh", "json"];

impl Tree {
    pub fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.read_folder(root, root);
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree
    }

    fn read_folder(&mut self, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("a folder of the project is readable") {
            let path = entry.expect("a folder entry is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                let hidden = name.starts_with('.') && name != ".ci";
                if !hidden && !SKIPPED.contains(&name.as_str()) {
                    self.read_folder(root, &path);
                }
                continue;
            }
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            // Other files count as link targets, by name alone.
            let text = if READ.contains(&extension.as_str()) || name == "Makefile" {
                std::fs::read_to_string(&path).unwrap_or_default()
            } else {
                String::new()
            };
            self.files.push(File { path: relative, text });
        }
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or a folder of this path is in the tree.
    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty() || self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// Files below a folder with this extension.
    pub fn below<'a>(&'a self, folder: &'a str, extension: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| {
            file.path.starts_with(folder)
                && file.path.rsplit_once('.').is_some_and(|(_, found)| found == extension)
        })
    }

    /// Rust files of the program and of its tests and benches.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        ["src/", "tests/", "benches/"].into_iter().flat_map(|folder| self.below(folder, "rs"))
    }

    /// A tree for the rules' own tests.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() });
        Self { files: files.collect() }
    }
}

impl File {
    pub fn problem(&self, line: usize, message: impl Into<String>) -> Problem {
        Problem { path: self.path.clone(), line, message: message.into() }
    }

    /// Lines with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The parsed file; a file that does not parse is reported by `shape::parses` alone.
    pub fn syntax(&self) -> syn::File {
        syn::parse_file(&self.text).unwrap_or_else(|_| syn::parse_quote!())
    }
}

/// Whether an item is compiled for tests alone: `#[cfg(test)]`, `#[test]` or `#[tokio::test]`.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let last = attribute.path().segments.last().map(|segment| segment.ident.to_string());
        let is_cfg_test = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
        is_cfg_test || last.as_deref() == Some("test")
    })
}

/// The attributes of an item, whatever it is.
pub fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::*;
    match item {
        Const(item) => &item.attrs,
        Enum(item) => &item.attrs,
        Fn(item) => &item.attrs,
        Impl(item) => &item.attrs,
        Macro(item) => &item.attrs,
        Mod(item) => &item.attrs,
        Static(item) => &item.attrs,
        Struct(item) => &item.attrs,
        Trait(item) => &item.attrs,
        Type(item) => &item.attrs,
        Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_knows_files_and_folders() {
        let tree = Tree::of(&[("docs/guide/tls.md", ""), ("src/lib.rs", "")]);
        assert!(tree.has("docs/guide") && tree.has("docs/guide/") && tree.has("docs/guide/tls.md"));
        assert!(!tree.has("docs/gui") && !tree.has("src/main.rs"));
        assert_eq!(tree.below("docs/", "md").count(), 1);
        assert_eq!(tree.rust().count(), 1);
    }

    #[test]
    fn code_for_tests_is_recognised() {
        let file = syn::parse_file("#[cfg(test)] mod a {} #[test] fn b() {} #[cfg(unix)] fn c() {}").unwrap();
        let found: Vec<bool> = file.items.iter().map(|item| is_for_tests(attributes(item))).collect();
        assert_eq!(found, [true, true, false]);
    }
}
