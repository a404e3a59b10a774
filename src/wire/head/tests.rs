//! Fields stay in order whatever is done with them.

use super::*;

fn names(head: &Head) -> Vec<String> {
    head.iter().map(|f| format!("{}={}", f.name, String::from_utf8_lossy(f.value))).collect()
}

#[test]
fn set_keeps_the_first_place_and_drops_the_rest() {
    let mut head = Head::new();
    for (name, value) in [("A", "1"), ("x-b", "2"), ("HOST", "h"), ("X-B", "3"), ("c", "4")] {
        head.add(name, value.as_bytes());
    }
    head.set("X-b", b"9");
    head.set_known(Known::Host, b"z");
    head.set("new", b"5");
    assert_eq!(names(&head), ["A=1", "x-b=9", "HOST=z", "c=4", "new=5"]);
    head.remove("a");
    head.remove_known(Known::Host);
    assert_eq!(names(&head), ["x-b=9", "c=4", "new=5"]);
    assert_eq!(head.all_named("C").collect::<Vec<_>>(), [b"4"]);
    head.clear();
    assert!(head.is_empty() && head.target().is_empty());
}

#[test]
fn lines_are_all_fields_in_order_whatever_happened_to_them() {
    let mut head = Head::new();
    head.set_target(b"/");
    for name in ["A", "b", "Host", "c", "D"] {
        head.add(name, name.as_bytes());
    }
    assert_eq!(head.lines().count(), 1);
    head.set("B", b"22");
    head.set_known(Known::Host, b"");
    head.set_target(b"/x");
    head.remove("c");
    head.add_joined(Known::Via, &[b"1.1", b" ", b"me"]);
    head.add_joined(Known::Server, &[]);
    let lines: Vec<u8> = head.lines().flatten().copied().collect();
    assert_eq!(lines, b"A: A\r\nb: 22\r\nHost: \r\nD: D\r\nVia: 1.1 me\r\nServer: \r\n");
    assert_eq!(names(&head), ["A=A", "b=22", "Host=", "D=D", "Via=1.1 me", "Server="]);
    head.remove_all(Names::of(&[Known::Via, Known::Server, Known::Cookie]));
    assert_eq!(names(&head), ["A=A", "b=22", "Host=", "D=D"]);
    assert!(!head.has(Known::Via));
    head.remove_others(|name| name != b"b");
    assert_eq!(names(&head), ["b=22", "Host="]);
    head.retain(|_| false);
    assert_eq!(head.lines().count(), 0);
}
