//! What a pool inherits: `defaults` are merged into it key by key, and the pool wins.
//!
//! Works on the tree, before values have types, so that every inherited value keeps its place under `defaults`.

use super::read::Broken;
use super::tree::{Entry, Kind, NodeId, Origin, Scalar, Tree, Value};

/// Keys whose short form is text, and the key of the object that the text stands for.
const SHORT_FORMS: [(&str, &str); 2] = [("health_check", "path"), ("balance", "policy")];

/// Keys that are one value, though it may be written as a map: a pool's takes the place of the default as a whole.
const WHOLE: [&str; 1] = ["key"];

/// Keys of one map of which a pool's own takes the place of another one that it inherits.
const EITHER_OR: [(&str, &str); 6] =
    [("path", "tcp"), ("path", "grpc"), ("tcp", "path"), ("tcp", "grpc"), ("grpc", "path"), ("grpc", "tcp")];

/// Replaces each pool below `pools` by one with the defaults merged in.
pub(super) fn inherit(tree: &mut Tree, broken: &Broken, defaults: NodeId, pools: NodeId) -> NodeId {
    let entries: Vec<_> = tree
        .entries(pools)
        .to_vec()
        .into_iter()
        .map(|Entry { key, value }| Entry { key, value: merge(tree, broken, defaults, value) })
        .collect();
    let place = tree.node(pools).place;
    tree.add(place, Value::Map(entries))
}

/// A map with the entries of `own`, and those of `inherited` that it lacks.
fn merge(tree: &mut Tree, broken: &Broken, inherited: NodeId, own: NodeId) -> NodeId {
    // A value of the wrong kind is reported when it is read.
    if !tree.is_map(own) || !tree.is_map(inherited) {
        return own;
    }
    let mut entries = tree.entries(own).to_vec();
    for Entry { key, value } in tree.entries(inherited).to_vec() {
        if broken.is_poisoned(key) {
            continue;
        }
        let name = tree.text(key).to_owned();
        let replaced =
            EITHER_OR.iter().any(|(ours, theirs)| *theirs == name && tree.child(own, ours).is_some());
        if replaced {
            continue;
        }
        let Some(position) = entries.iter().position(|entry| tree.text(entry.key) == name) else {
            entries.push(Entry { key, value });
            continue;
        };
        if WHOLE.contains(&name.as_str()) {
            continue;
        }
        let theirs = as_map(tree, &name, value, key);
        let ours = as_map(tree, &name, entries[position].value, entries[position].key);
        if tree.is_map(ours) && tree.is_map(theirs) {
            entries[position].value = merge(tree, broken, theirs, ours);
        }
    }
    let place = tree.node(own).place;
    tree.add(place, Value::Map(entries))
}

/// The object that a short form stands for; anything else as it is.
fn as_map(tree: &mut Tree, name: &str, value: NodeId, key: NodeId) -> NodeId {
    let Some((_, long)) = SHORT_FORMS.iter().find(|(short, _)| *short == name) else { return value };
    match &tree.node(value).value {
        Value::Scalar(Scalar { text, .. }) if text != "off" && !text.is_empty() => {}
        _ => return value,
    }
    let key_place = tree.node(key).place;
    let place = tree.node(value).place;
    let long = Scalar { text: (*long).to_owned(), kind: Kind::Plain, origin: Origin::Written };
    let key = tree.add(key_place, Value::Scalar(long));
    tree.add(place, Value::Map(vec![Entry { key, value }]))
}
