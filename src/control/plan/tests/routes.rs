//! Routes and the policies on them.

use super::*;

#[test]
fn policies_name_the_routes_that_have_them() {
    let changed = plan(&[
        ("x-by: lintel", "x-by: somebody"),
        ("policies:\n", "policies:\n  spare: [{ grpc_web: {} }]\n"),
    ]);
    assert_eq!(
        lines(&changed),
        [
            "changed policy branded",
            "  [0].headers.response.set.x-by: lintel -> somebody",
            "  = counts for new requests of a.test/api/*",
            "added policy spare",
            "  : (not set) -> [{ grpc_web: {} }]",
            "  = no route has it",
        ]
    );
    let removed = plan(&[
        (", policies: [branded]", ""),
        ("branded: [{ headers: { response: { set: { x-by: lintel } } } }]", "{}"),
    ]);
    let text = lines(&removed);
    assert_eq!(text[0], "removed policy branded");
    assert!(text.contains(&"  policies: [branded] -> []".to_owned()), "{text:?}");
}

#[test]
fn routes_are_compared_by_name_or_else_by_what_they_match() {
    let text = lines(&plan(&[
        (
            "- { name: chat, match: { path: /chat/* }, to: node }",
            "- { name: talk, match: { path: /talk/* }, to: node }",
        ),
        (
            "to: api, policies: [branded] }",
            "to: { api: 95, node: 5 }, rewrite: { strip_prefix: /api }, policies: [branded] }",
        ),
    ]));
    assert_eq!(
        text,
        [
            "removed route chat",
            "  match: { path: /chat/* } -> (not set)",
            "  to: node -> (not set)",
            "  = what runs on it may go on for 30s; then WebSockets say goodbye and the rest is cut",
            "added route talk",
            "  match: (not set) -> { path: /talk/* }",
            "  to: (not set) -> node",
            "changed route a.test/api/*",
            "  rewrite.strip_prefix: (not set) -> /api",
            "  to: api -> { api: 95, node: 5 }",
        ]
    );
}

#[test]
fn the_order_of_routes_counts_where_it_matters() {
    let named =
        plan(&[("  - { name: all, to: api }\n", ""), ("routes:\n", "routes:\n  - { name: all, to: api }\n")]);
    assert_eq!(
        lines(&named),
        [
            "changed names of routes that have none",
            "  : [route-2] -> [route-3]",
            "  = logs and metrics call them by their place",
        ]
    );
    let expression = |name: &str| {
        format!("  - {{ name: {name}, match: {{ path: {{ regex: \"/{name}.*\" }} }}, to: api }}\n")
    };
    let (a, b) = (expression("a"), expression("b"));
    let text = lines(&between(&format!("{BASE}{a}{b}"), &format!("{BASE}{b}{a}")));
    assert_eq!(
        text,
        [
            "changed order of routes with an expression",
            "  : [a, b] -> [b, a]",
            "  = of expressions that fit the first one counts",
        ]
    );
}
