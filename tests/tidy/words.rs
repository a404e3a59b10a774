//! The vocabulary: names that mean everything and so say nothing, and the verbs that the house does not use.

use syn::visit::{self, Visit};

use super::tree::{File, Problem, Tree, attributes, is_for_tests};

const BANNED: [&str; 11] =
    ["context", "manager", "handler", "helper", "util", "utils", "common", "misc", "info", "data", "perform"];

/// Names that are not ours to choose: `Info` is the user's word for a log level.
const ALLOWED: [(&str, &str); 1] = [("src/observe/spec.rs", "Info")];

/// Types, modules and files have no banned word in them; no function, field or variable is named by one alone.
pub fn banned(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.rust() {
        for part in file.path.trim_end_matches(".rs").split('/') {
            if let Some(word) = banned_part(part).filter(|word| allowed_in(file, word)) {
                problems.push(file.problem(1, format!("`{word}` in the name of a file says nothing")));
            }
        }
        for (line, kind, name) in names_of(file) {
            let word = match kind {
                Kind::Type | Kind::Module => banned_part(&name),
                Kind::Function | Kind::Value | Kind::Variant => banned_whole(&name),
            };
            let excused = ALLOWED.contains(&(file.path.as_str(), name.as_str()));
            if let Some(word) = word.filter(|word| !excused && allowed_in(file, word)) {
                problems.push(file.problem(line, format!("`{name}`: the word `{word}` says nothing")));
            }
        }
    }
    problems
}

/// No `get_`, no setters but on wire heads, no function that takes a bool.
pub fn verbs(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.below("src/", "rs") {
        let mut signatures = Signatures::default();
        signatures.visit_file(&file.syntax());
        for (line, name, takes_bool) in signatures.found {
            if name.starts_with("get_") {
                problems.push(file.problem(line, format!("`{name}`: name what it returns, without `get_`")));
            }
            if name.starts_with("set_") && !file.path.starts_with("src/wire/") {
                problems.push(file.problem(line, format!("`{name}`: no setters; only wire heads have them")));
            }
            if takes_bool {
                problems
                    .push(file.problem(line, format!("`{name}` takes a bool; an enum says what it means")));
            }
        }
    }
    problems
}

/// `handler` is a word of the control interface.
fn allowed_in(file: &File, word: &str) -> bool {
    !(word == "handler" && file.path.starts_with("src/admin"))
}

fn banned_whole(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    BANNED.iter().chain(&["do"]).copied().find(|word| *word == lower)
}

fn banned_part(name: &str) -> Option<&'static str> {
    parts(name).iter().find_map(|part| BANNED.iter().copied().find(|word| word == part))
}

/// The words of a name in camel or snake case, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() {
            parts.push(String::new());
        }
        if c.is_alphanumeric() {
            parts.last_mut().expect("there is always a last part").extend(c.to_lowercase());
        }
    }
    parts
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Type,
    Module,
    Function,
    Variant,
    Value,
}

fn names_of(file: &File) -> Vec<(usize, Kind, String)> {
    let mut names = Names(Vec::new());
    names.visit_file(&file.syntax());
    names.0
}

/// Names that the code gives, not those it uses.
struct Names(Vec<(usize, Kind, String)>);

impl Names {
    fn note(&mut self, kind: Kind, ident: &syn::Ident) {
        let name = ident.to_string();
        let name = name.strip_prefix("r#").unwrap_or(&name);
        self.0.push((ident.span().start().line, kind, name.trim_start_matches('_').to_owned()));
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.note(Kind::Type, &item.ident);
        visit::visit_item_struct(self, item);
    }
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.note(Kind::Type, &item.ident);
        visit::visit_item_enum(self, item);
    }
    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.note(Kind::Type, &item.ident);
        visit::visit_item_trait(self, item);
    }
    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.note(Kind::Type, &item.ident);
        visit::visit_item_type(self, item);
    }
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.note(Kind::Module, &item.ident);
        visit::visit_item_mod(self, item);
    }
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.note(Kind::Value, &item.ident);
        visit::visit_item_const(self, item);
    }
    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.note(Kind::Value, &item.ident);
        visit::visit_item_static(self, item);
    }
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.note(Kind::Function, &signature.ident);
        visit::visit_signature(self, signature);
    }
    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.note(Kind::Variant, &variant.ident);
        visit::visit_variant(self, variant);
    }
    fn visit_field(&mut self, field: &'ast syn::Field) {
        if let Some(ident) = &field.ident {
            self.note(Kind::Value, ident);
        }
        visit::visit_field(self, field);
    }
    fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
        self.note(Kind::Value, &pattern.ident);
        visit::visit_pat_ident(self, pattern);
    }
}

/// Functions whose signature is ours to choose: not those of traits that others wrote.
#[derive(Default)]
struct Signatures {
    found: Vec<(usize, String, bool)>,
}

impl Signatures {
    fn note(&mut self, signature: &syn::Signature) {
        let takes_bool = signature.inputs.iter().any(|input| {
            matches!(input, syn::FnArg::Typed(typed)
                if matches!(&*typed.ty, syn::Type::Path(path) if path.path.is_ident("bool")))
        });
        let line = signature.ident.span().start().line;
        self.found.push((line, signature.ident.to_string(), takes_bool));
    }
}

impl<'ast> Visit<'ast> for Signatures {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig);
        visit::visit_item_fn(self, item);
    }
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() {
            visit::visit_item_impl(self, item);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig);
        visit::visit_impl_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(rule: fn(&Tree) -> Vec<Problem>, path: &str, text: &str) -> usize {
        rule(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_word_that_says_nothing_is_caught_in_every_kind_of_name() {
        for code in [
            "struct PoolManager;",
            "enum Context { A }",
            "type RouteInfo = u8;",
            "trait RequestHandler {}",
            "mod util {}",
            "fn perform() {}",
            "struct A { data: u8 }",
            "fn f(info: u8) {}",
            "fn f() { let context = 1; }",
            "enum A { Misc }",
            "const COMMON: u8 = 0;",
            "fn r#do() {}",
        ] {
            assert_eq!(caught(banned, "src/pool/mod.rs", code), 1, "{code}");
        }
        assert_eq!(caught(banned, "src/pool/helper.rs", ""), 1);
        assert_eq!(caught(banned, "src/util/mod.rs", ""), 1);
    }

    #[test]
    fn names_that_others_gave_are_allowed() {
        for code in [
            "fn f(cx: &mut std::task::Context<'_>) { tracing::info!(\"data\"); }",
            "struct Database; fn common_name() {} fn f() { let metadata = 1; }",
            "// the context of a handler\nuse crate::x::Handler;",
        ] {
            assert_eq!(caught(banned, "src/pool/mod.rs", code), 0, "{code}");
        }
        assert_eq!(caught(banned, "src/admin/mod.rs", "struct StatusHandler;"), 0);
        assert_eq!(caught(banned, "src/observe/spec.rs", "enum LogLevel { Info }"), 0);
    }

    #[test]
    fn getters_setters_and_bools_are_caught() {
        for code in [
            "fn get_name() {}",
            "impl A { fn set_name(&mut self) {} }",
            "impl A { pub fn f(&self, b: bool) {} }",
        ] {
            assert_eq!(caught(verbs, "src/pool/mod.rs", code), 1, "{code}");
        }
        assert_eq!(caught(verbs, "src/wire/head.rs", "impl Head { fn set_method(&mut self) {} }"), 0);
        for code in ["impl Visitor for A { fn visit_bool(self, b: bool) {} }", "fn f() -> bool { true }"] {
            assert_eq!(caught(verbs, "src/pool/mod.rs", code), 0, "{code}");
        }
    }
}
