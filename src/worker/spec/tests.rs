//! What may be written under `app`, and what may not.

use super::*;

fn spec(text: &str) -> Spec {
    serde_json::from_str(text).unwrap()
}

fn refusal(text: &str) -> String {
    serde_json::from_str::<Spec>(text).unwrap_err().to_string()
}

#[test]
fn a_command_is_all_that_must_be_written() {
    let spec = spec(r#"{ "command": "node dist/server.js" }"#);
    assert_eq!(spec.command.words(), ["node", "dist/server.js"]);
    assert_eq!(spec.instances, Instances::Auto);
    assert_eq!((spec.ready.when, spec.ready.timeout), (ReadyWhen::Listening, Duration::from_secs(30)));
    assert_eq!(spec.restart.backoff, Duration::from_millis(100));
    assert_eq!(spec.restart.max_backoff, Duration::from_secs(30));
    assert_eq!((spec.restart.max_memory, spec.restart.stall), (None, Some(Duration::from_secs(30))));
    assert_eq!((spec.stop.signal, spec.stop.timeout), (Signal::Term, Duration::from_secs(30)));
    assert_eq!(spec.rollout.surge, 1);
    assert!(spec.preload && !spec.task && spec.logs.is_none() && spec.env.is_empty());
    assert_eq!(spec.contradictions(), []);
    assert!(refusal("{}").contains("missing field `command`"));
}

#[test]
fn everything_can_be_written() {
    let spec = spec(
        r#"{ "command": ["node", "a.js"], "directory": "/srv/app", "instances": 4, "env": { "A": "b" }, "user": "app",
        "group": "www", "ready": { "when": "signal", "timeout": "5s" }, "restart": { "backoff": "1s",
        "max_backoff": "1m", "max_memory": "500MiB", "stall": "off" }, "stop": { "signal": "SIGINT" }, "rollout": {
        "surge": 2 }, "logs": { "directory": "/var/log/app", "rotate": { "keep": 3 } }, "preload": true, "task": true }"#,
    );
    assert_eq!(spec.instances, Instances::Count(4));
    assert_eq!(spec.restart.max_memory, Some(Bytes::from_mib(500)));
    assert_eq!(spec.restart.stall, None);
    assert_eq!(spec.stop, StopSpec { signal: Signal::Int, ..StopSpec::default() });
    assert_eq!(spec.logs.unwrap().rotate.unwrap().keep, 3);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (key, value, why) in [
        ("instances", "0", "a whole number from 1 to 1024"),
        ("instances", "1025", "a whole number from 1 to 1024"),
        ("instances", "\"max\"", "`auto`, a whole number"),
        ("instances", "{ \"min\": 0, \"max\": 3 }", "a whole number from 1 to 1024"),
        ("instances", "{ \"min\": 1, \"max\": 1025 }", "a whole number from 1 to 1024"),
        ("instances", "{ \"min\": 1 }", "missing field `max`"),
        ("instances", "{ \"min\": 1, \"max\": 2, \"shrink_after\": \"0s\" }", "0s"),
        ("instances", "{ \"min\": 1, \"max\": 2, \"target\": 2 }", "unknown field `target`"),
        ("rollout", "{ \"surge\": 0 }", "a whole number from 1 to 1024"),
        ("stop", "{ \"signal\": \"SIGUSR1\" }", "unknown variant `SIGUSR1`"),
        ("ready", "{ \"when\": \"soon\" }", "unknown variant `soon`"),
        ("env", "{ \"A=B\": \"\" }", "without `=`"),
        ("env", "{ \"LINTEL_LISTEN\": \"\" }", "for Lintel to set"),
        ("env", "{ \"A\": \"\\u0000\" }", "zero character"),
        ("exec_mode", "\"cluster\"", "unknown field `exec_mode`"),
    ] {
        let error = refusal(&format!(r#"{{ "command": "node a.js", "{key}": {value} }}"#));
        assert!(error.contains(why), "{key}: {error}");
    }
}

#[test]
fn contradictions_name_their_key() {
    for (rest, key) in [
        (r#""ready": { "when": "signal" }, "preload": false"#, "ready.when"),
        (r#""ready": { "when": "healthy" }, "task": true"#, "ready.when"),
        (r#""restart": { "backoff": "1m" }"#, "restart.max_backoff"),
        (r#""logs": { "directory": "/l", "rotate": { "size": "0B" } }"#, "logs.rotate.size"),
        (r#""instances": { "min": 3, "max": 2 }"#, "instances.max"),
    ] {
        let found = spec(&format!(r#"{{ "command": "node a.js", {rest} }}"#)).contradictions();
        assert_eq!(found.iter().map(|one| one.key).collect::<Vec<_>>(), [key]);
    }
}

#[test]
fn an_app_that_scales_itself_begins_with_the_fewest() {
    let spec = spec(r#"{ "command": "node a.js", "instances": { "min": 2, "max": 8 } }"#);
    let range = ScalingSpec { min: 2, max: 8, shrink_after: Duration::from_secs(300) };
    assert_eq!((spec.instances, spec.contradictions()), (Instances::Scaled(range), vec![]));
    assert_eq!(spec.instances.count(Some(1.0), NonZeroUsize::MIN), 2);
    let written = serde_json::json!({ "min": 2, "max": 8, "shrink_after": "5m" });
    assert_eq!(serde_json::to_value(spec.instances).unwrap(), written);
}

#[test]
fn a_task_can_say_that_it_is_ready() {
    assert_eq!(
        spec(r#"{ "command": "node a.js", "task": true, "ready": { "when": "signal" } }"#).contradictions(),
        []
    );
}

#[test]
fn auto_is_the_quota_rounded_up_within_the_cores() {
    let cores = |count| NonZeroUsize::new(count).unwrap();
    assert_eq!(Instances::Auto.count(None, cores(8)), 8);
    assert_eq!(Instances::Auto.count(Some(1.5), cores(8)), 2);
    assert_eq!(Instances::Auto.count(Some(0.2), cores(8)), 1);
    assert_eq!(Instances::Auto.count(Some(64.0), cores(8)), 8);
    assert_eq!(Instances::Auto.count(None, cores(100_000)), MOST_INSTANCES);
    assert_eq!(Instances::Count(3).count(Some(1.0), cores(1)), 3);
}

#[test]
fn signals_are_named_as_they_are_written() {
    for signal in [Signal::Term, Signal::Int, Signal::Quit, Signal::Hup, Signal::Usr2, Signal::Kill] {
        assert_eq!(serde_json::to_value(signal).unwrap(), signal.name());
    }
}
