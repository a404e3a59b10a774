//! What to say of fields of PM2 that have no counterpart in a config of Lintel.

use super::fields::Field;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// Lintel works that way anyway, or has no use for it: nothing is lost.
    Nothing,
    /// Something to know or to do. `NAME` stands for the pool.
    Remark(&'static str),
}

/// When nothing is lost.
#[derive(Clone, Copy)]
enum Lost {
    Never,
    Always,
    /// Where it is switched on.
    On,
    /// Where it is switched off.
    Off,
}

const WATCH: &str = "Lintel does not watch files. While you develop, start the program with `node --watch`; after a \
                     deployment call `lintel rollout NAME`.";
const MONITORING: &str = "PM2's monitoring. Lintel measures event loop, memory and CPU of every worker by itself: see \
                          `lintel status`, and `observability.metrics` for Prometheus.";
const ENDS: &str = "Lintel starts a worker anew whenever it ends, whatever its exit code. What is meant to end belongs \
                    into cron or a systemd timer.";
const NAMES: &str = "Pools have plain names; rename this one here if you need it.";
const COMMANDS: &str = "Run such commands in your deployment, before `lintel rollout NAME`.";

/// Names of fields, when something is lost without them, and what to say then.
const KNOWN: [(&[&str], Lost, &str); 29] = [
    (&["namespace"], Lost::Always, "Pools have no groups; commands take the name of a pool."),
    (&["name_prefix"], Lost::Always, NAMES),
    (&["append_env_to_name"], Lost::On, NAMES),
    (&["exec_mode"], Lost::Never, ""),
    (&["filter_env"], Lost::Never, ""),
    (
        &["log_file", "log"],
        Lost::On,
        "There is no file for both outputs together; `lintel logs NAME` shows them together.",
    ),
    (
        &["disable_logs"],
        Lost::On,
        "What workers write is kept, in Lintel's own log or in files under `logs`, which rotate.",
    ),
    (
        &["log_type"],
        Lost::Always,
        "The form of Lintel's own log is set for all of it: `observability.log.format: json`.",
    ),
    (
        &["log_date_format", "time"],
        Lost::On,
        "Lines in Lintel's own log carry their time; its form cannot be chosen.",
    ),
    (&["merge_logs", "combine_logs"], Lost::Never, ""),
    (&["pid_file", "pid"], Lost::Always, "There are no pid files; `lintel status` shows the process ids."),
    (
        &["autostart"],
        Lost::Off,
        "Lintel starts every app of its file; comment the pool out until you want it.",
    ),
    (&["autorestart"], Lost::Off, ENDS),
    (&["stop_exit_codes"], Lost::On, ENDS),
    (
        &["max_restarts"],
        Lost::Always,
        "Lintel never gives up: it goes on trying, at pauses of up to `restart.max_backoff`.",
    ),
    (
        &["min_uptime"],
        Lost::Always,
        "Pauses between restarts begin anew at `restart.backoff` once a worker was ready for 60s.",
    ),
    (
        &["cron_restart", "cron"],
        Lost::On,
        "Have cron call `lintel rollout NAME`, which replaces the workers without an outage.",
    ),
    (&["watch"], Lost::On, WATCH),
    (&["ignore_watch", "watch_delay", "watch_options"], Lost::On, WATCH),
    (&["kill_retry_time", "force", "vizion", "windowsHide", "write", "install_url"], Lost::Never, ""),
    (&["execute_command"], Lost::Never, ""),
    (&["treekill"], Lost::Off, "After `stop.timeout` Lintel kills the whole process group, children too."),
    (
        &["source_map_support"],
        Lost::On,
        "Write `--enable-source-maps` behind `node` in the command if stack traces are to use source maps.",
    ),
    (&["disable_source_map_support"], Lost::Never, ""),
    (&["pmx", "automation"], Lost::On, MONITORING),
    (&["trace", "v8", "event_loop_inspector", "deep_monitoring", "io"], Lost::On, MONITORING),
    (&["disable_trace"], Lost::Never, ""),
    (&["post_update"], Lost::On, COMMANDS),
    (
        &["username"],
        Lost::Always,
        "PM2 only shows it. Write `user:` if the program is to run as somebody else.",
    ),
];

const UNKNOWN: &str = "This is no field that PM2 7 documents; it is left out.";

/// What becomes of a field that nothing in Lintel stands for.
pub(super) fn advice(field: Field<'_>) -> Advice {
    let known = KNOWN.iter().find(|(names, ..)| names.contains(&field.name));
    let Some((_, lost, text)) = known else { return Advice::Remark(UNKNOWN) };
    let is_lost = match lost {
        Lost::Never => false,
        Lost::Always => true,
        Lost::On => field.is_on(),
        Lost::Off => !field.is_on(),
    };
    if is_lost { Advice::Remark(text) } else { Advice::Nothing }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(name: &str, value: Value) -> Advice {
        advice(Field { name, value: &value })
    }

    #[test]
    fn a_value_that_says_what_lintel_does_anyway_loses_nothing() {
        for (name, value) in [
            ("watch", json!(false)),
            ("autorestart", json!(true)),
            ("exec_mode", json!("cluster")),
            ("cron", json!("0")),
        ] {
            assert_eq!(of(name, value), Advice::Nothing, "{name}");
        }
        for (name, value) in [
            ("watch", json!(["src"])),
            ("autorestart", json!(false)),
            ("cron", json!("0 3 * * *")),
            ("io", json!({})),
        ] {
            assert!(
                matches!(of(name, value), Advice::Remark(text) if text != UNKNOWN && !text.is_empty()),
                "{name}"
            );
        }
        assert_eq!(of("wtach", json!(true)), Advice::Remark(UNKNOWN));
    }

    #[test]
    fn a_field_is_written_down_once_and_a_loss_is_explained() {
        let mut names: Vec<_> = KNOWN.iter().flat_map(|(names, ..)| *names).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (names, lost, text) in KNOWN {
            assert_eq!(matches!(lost, Lost::Never), text.is_empty(), "{names:?}");
        }
    }
}
