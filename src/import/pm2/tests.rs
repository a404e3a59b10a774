//! Ecosystem files as people write them, and the configs that they become: tests/import/NAME.json and NAME.yaml.
//!
//! `UPDATE_GOLDEN=1` writes the configs anew; read the difference before you commit it.

use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::config::{self, Problems};

const WORKING: &str = "/srv/shop";

/// Files that are there.
const FILES: [(&str, Found); 9] = [
    ("/srv/shop/server.js", Found::Script),
    ("/srv/shop/dist/main.js", Found::Script),
    ("/srv/shop/worker.js", Found::Script),
    ("/srv/shop/bin/www", Found::Script),
    ("/srv/shop/gateway", Found::Binary),
    ("/srv/shop/api/index.mjs", Found::Script),
    ("/srv/shop/start.sh", Found::Script),
    ("/srv/ml/predict.py", Found::Script),
    ("/srv/shop/src/bot.ts", Found::Script),
];

fn look(path: &Path) -> Found {
    FILES.iter().find(|(name, _)| Path::new(name) == path).map_or(Found::Nothing, |(_, found)| *found)
}

fn converted(exported: &Value, env: Option<&str>) -> Result<Imported, ConvertError> {
    convert(
        exported,
        &Place {
            file: "ecosystem.config.js",
            working: Path::new(WORKING),
            config: Path::new(WORKING),
            home: Some(Path::new("/home/shop")),
            env,
            look: &look,
        },
    )
}

fn loaded(text: &str) -> Result<config::Loaded, Problems> {
    config::load_text("lintel.yaml", WORKING.into(), text.to_owned(), &|_| None)
}

fn imported(exported: &Value) -> Imported {
    let imported = converted(exported, None).unwrap();
    if let Err(problems) = loaded(&imported.text) {
        panic!("{}\n{problems}", imported.text);
    }
    imported
}

/// The app that a single one becomes, once the config was read again.
fn app(fields: Value) -> crate::worker::Spec {
    let imported = imported(&json!({ "apps": [fields] }));
    loaded(&imported.text).unwrap().file.pools[&imported.pools[0]].app.clone().unwrap()
}

/// What is said of a single app: about what, and what to do.
fn remarks(fields: Value) -> Vec<(String, String)> {
    let imported = imported(&json!({ "apps": [fields] }));
    imported.remarks.into_iter().map(|remark| (remark.about, remark.advice)).collect()
}

fn words(fields: Value) -> Vec<String> {
    app(fields).command.words().to_vec()
}

#[test]
fn real_files_become_the_configs_beside_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    names.sort();
    assert!(names.len() >= 4);
    for path in names {
        let exported = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let env = path.to_string_lossy().contains("production").then_some("production");
        let imported = converted(&exported, env).unwrap();
        if let Err(problems) = loaded(&imported.text) {
            panic!("{}\n{}\n{problems}", path.display(), imported.text);
        }
        let golden = path.with_extension("yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &imported.text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(imported.text, expected, "UPDATE_GOLDEN=1 writes {} anew", golden.display());
        // What is said on stderr stands in the config too.
        let flat = imported.text.replace('#', " ");
        let flat: Vec<_> = flat.split_whitespace().collect();
        let flat = flat.join(" ");
        for remark in &imported.remarks {
            let advice = remark.advice.replace('#', " ");
            assert!(
                flat.contains(&advice.split_whitespace().collect::<Vec<_>>().join(" ")),
                "{}",
                remark.advice
            );
        }
    }
}

#[test]
fn a_command_is_put_together_as_pm2_does_it() {
    for (fields, expected) in [
        (json!({ "script": "server.js" }), &["node", "server.js"][..]),
        (
            json!({ "script": "./server.js", "args": "--port 3000" }),
            &["node", "./server.js", "--port", "3000"],
        ),
        (json!({ "script": "/srv/shop/dist/main.js" }), &["node", "dist/main.js"]),
        (json!({ "script": "bin/www" }), &["node", "bin/www"]),
        (json!({ "script": "gateway", "args": ["-c", "a b"] }), &["./gateway", "-c", "a b"]),
        (json!({ "script": "npm", "args": "run start:prod" }), &["npm", "run", "start:prod"]),
        (json!({ "script": "npm run start" }), &["npm", "run", "start"]),
        (json!({ "script": "cd api && node $X" }), &["bash", "-c", "cd api && node $X"]),
        (json!({ "script": "start.sh" }), &["bash", "start.sh"]),
        (json!({ "script": "src/bot.ts", "interpreter": "tsx" }), &["tsx", "src/bot.ts"]),
        (json!({ "script": "src/bot.ts" }), &["bun", "src/bot.ts"]),
        (
            json!({ "script": "server.js", "node_args": "--max-old-space-size=512 --enable-source-maps" }),
            &["node", "--max-old-space-size=512", "--enable-source-maps", "server.js"],
        ),
        (json!({ "script": "server.js", "interpreter": "node@20.1.0" }), &["node", "server.js"]),
        (json!({ "script": "./gateway", "exec_interpreter": "none" }), &["./gateway"]),
        (json!({ "cmd": "index.mjs", "cwd": "./api" }), &["node", "index.mjs"]),
        (
            json!({ "script": "server.js", "args": ["${HOME}", "$$", "it's", ""] }),
            &["node", "server.js", "${HOME}", "$$", "it's", ""],
        ),
    ] {
        assert_eq!(words(fields.clone()), expected, "{fields}");
    }
}

#[test]
fn instances_are_at_least_one_and_auto_where_pm2_counts_cores() {
    use crate::worker::spec::Instances;
    let of = |value: Value| app(json!({ "script": "server.js", "instances": value })).instances;
    assert_eq!(app(json!({ "script": "server.js" })).instances, Instances::Count(1));
    assert_eq!(of(json!(4)), Instances::Count(4));
    assert_eq!(of(json!("2")), Instances::Count(2));
    for all in [json!(0), json!("max"), json!("0"), json!(-1), json!("-2")] {
        assert_eq!(of(all), Instances::Auto);
    }
    assert_eq!(of(json!(5000)), Instances::Count(1024));
    assert_eq!(of(json!("many")), Instances::Count(1));
    assert!(remarks(json!({ "script": "server.js", "instances": -1 }))[0].1.contains("leave some to others"));
}

#[test]
fn the_environment_is_text_and_what_cannot_be_is_named() {
    let fields = json!({ "script": "server.js", "port": 3000, "env": {
        "DEBUG": true, "RATIO": 0.5, "EMPTY": "", "YES": "yes", "KEY": "-----BEGIN\nx: [1]\n", "PRICE": "$$5 ${X}",
        "LIST": [1], "GONE": null, "A=B": "x", "LISTEN_FDS": "1" } });
    let env = app(fields.clone()).env;
    let of = |name: &str| env.get(name).map(String::as_str);
    assert_eq!((of("PORT"), of("DEBUG"), of("RATIO")), (Some("3000"), Some("true"), Some("0.5")));
    assert_eq!((of("EMPTY"), of("YES"), of("KEY")), (Some(""), Some("yes"), Some("-----BEGIN\nx: [1]\n")));
    assert_eq!((of("PRICE"), env.len()), (Some("$$5 ${X}"), 7));
    let about: Vec<_> = remarks(fields).into_iter().map(|(about, _)| about).collect();
    assert_eq!(about, ["env.LIST", "env.GONE", "env.A=B", "env.LISTEN_FDS"].map(str::to_owned));
}

#[test]
fn env_adds_the_variables_of_its_name() {
    let file = json!({ "apps": [
        { "script": "server.js", "env": { "A": "1", "B": "1" }, "env_production": { "B": "2" }, "env_test": {} },
        { "script": "worker.js", "env_staging": { "B": "3" } },
    ] });
    let imported = converted(&file, Some("production")).unwrap();
    let env = &loaded(&imported.text).unwrap().file.pools["server"].app.clone().unwrap().env;
    assert_eq!((env["A"].as_str(), env["B"].as_str()), ("1", "2"));
    assert_eq!(imported.remarks[0].about, "env_test");
    let error = converted(&file, Some("prod")).unwrap_err().to_string();
    assert_eq!(error, "no app has `env_prod`; there are `production`, `staging`, `test`");
}

#[test]
fn times_and_sizes_keep_their_meaning() {
    use crate::units::{Bytes, Duration};
    use crate::worker::spec::{ReadyWhen, Signal};
    let spec =
        app(json!({ "script": "server.js", "max_memory_restart": "1G", "exp_backoff_restart_delay": 200,
        "wait_ready": true, "listen_timeout": 10_000, "kill_timeout": 5000, "out_file": "./logs/out.log",
        "error_file": "./logs/err.log", "user": "www", "gid": "web" }));
    assert_eq!(spec.restart.max_memory, Some(Bytes::from_mib(1024)));
    assert_eq!(spec.restart.backoff, Duration::from_millis(200));
    assert_eq!((spec.ready.when, spec.ready.timeout), (ReadyWhen::Signal, Duration::from_secs(10)));
    assert_eq!((spec.stop.signal, spec.stop.timeout), (Signal::Int, Duration::from_secs(5)));
    assert_eq!(spec.logs.unwrap().directory, Path::new("/srv/shop/./logs"));
    assert_eq!((spec.user.as_deref(), spec.group.as_deref()), (Some("www"), Some("web")));
    let spec = app(json!({ "script": "server.js", "restart_delay": 60_000, "shutdown_with_message": true }));
    assert_eq!(spec.restart.max_backoff, Duration::from_secs(60));
    assert_eq!(spec.stop.signal, Signal::Term);
}

#[test]
fn a_program_that_is_not_node_does_without_the_preload() {
    let fields =
        json!({ "script": "predict.py", "cwd": "/srv/ml", "wait_ready": true, "env": { "PORT": 8000 } });
    let spec = app(fields.clone());
    assert!(!spec.preload && spec.env.is_empty());
    let about: Vec<_> = remarks(fields).into_iter().map(|(about, _)| about).collect();
    assert_eq!(about, ["env.PORT", "wait_ready true", "python"].map(str::to_owned));
}

#[test]
fn each_field_of_pm2_is_taken_over_or_remarked_on() {
    let all = [
        "name",
        "name_prefix",
        "namespace",
        "cwd",
        "args",
        "interpreter",
        "node_args",
        "exec_mode",
        "instances",
        "instance_var",
        "increment_var",
        "port",
        "env",
        "env_x",
        "filter_env",
        "append_env_to_name",
        "out_file",
        "error_file",
        "log_file",
        "disable_logs",
        "log_type",
        "log_date_format",
        "time",
        "merge_logs",
        "pid_file",
        "autostart",
        "autorestart",
        "stop_exit_codes",
        "restart_delay",
        "exp_backoff_restart_delay",
        "max_restarts",
        "min_uptime",
        "max_memory_restart",
        "cron_restart",
        "watch",
        "watch_delay",
        "ignore_watch",
        "watch_options",
        "wait_ready",
        "listen_timeout",
        "kill_timeout",
        "kill_retry_time",
        "shutdown_with_message",
        "treekill",
        "force",
        "uid",
        "gid",
        "username",
        "source_map_support",
        "disable_source_map_support",
        "vizion",
        "pmx",
        "automation",
        "trace",
        "disable_trace",
        "v8",
        "event_loop_inspector",
        "deep_monitoring",
        "io",
        "post_update",
        "install_url",
        "write",
        "execute_command",
        "windowsHide",
        "exec",
        "cmd",
        "command",
        "interpreterArgs",
        "interpreter_args",
        "out",
        "output",
        "out_log",
        "error",
        "err",
        "err_file",
        "err_log",
        "log",
        "combine_logs",
        "pid",
        "cron",
        "user",
    ];
    for name in all {
        for value in
            [json!(false), json!(true), json!(7), json!("7"), json!("soon"), json!(["a"]), json!({ "a": 1 })]
        {
            let said = remarks(json!({ "script": "server.js", name: value }));
            assert!(!said.iter().any(|(_, advice)| advice.contains("no field that PM2")), "{name}: {said:?}");
        }
    }
    let said =
        remarks(json!({ "script": "server.js", "wacth": true, "exec_mode": "cluster", "watch": false }));
    assert_eq!(said[0].0, "wacth true");
    assert_eq!(said[1].0, "exec_mode, watch");
    // Fields of one thing share a remark; a secret inside a map is not shown.
    let said = remarks(
        json!({ "script": "server.js", "watch": true, "ignore_watch": ["a"], "io": { "secret": "s3" } }),
    );
    assert_eq!(said[0].0, "watch true, ignore_watch [\"a\"]");
    assert_eq!(said[1].0, "io {...}");
}

#[test]
fn apps_are_found_wherever_pm2_lets_them_stand() {
    let one = json!({ "script": "server.js" });
    for file in [json!([one]), one.clone(), json!({ "apps": one }), json!({ "pm2": [one] })] {
        assert_eq!(imported(&file).pools, ["server"], "{file}");
    }
    for file in [json!({ "apps": [] }), json!([]), json!({ "apps": [{ "name": "x" }] }), json!("x")] {
        assert!(matches!(converted(&file, None), Err(ConvertError::NoApps(_))), "{file}");
    }
    let file =
        json!({ "apps": [{ "name": "no script" }, one], "deploy": { "production": { "key": "s3cr3t" } } });
    let imported = imported(&file);
    let about: Vec<_> = imported.remarks.iter().map(|remark| remark.about.as_str()).collect();
    assert_eq!(about, ["deploy {...}", "apps[0]"]);
    assert!(!imported.text.contains("s3cr3t"));
}

#[test]
fn pools_get_names_that_fit_and_differ() {
    let file = json!([
        { "script": "server.js", "name": "My Shop/api" },
        { "script": "server.js", "name": "My Shop:api" },
        { "script": "server.js", "name": "名前" },
        { "script": "server.js", "name": "y" },
        { "script": "server.js", "name": "42" },
        { "script": "npm start" },
        { "script": "server.js", "name": "x".repeat(200) },
    ]);
    let imported = imported(&file);
    assert_eq!(
        imported.pools[..6],
        ["My-Shop-api", "My-Shop-api-2", "app", "y", "42", "npm"].map(str::to_owned)
    );
    assert_eq!(loaded(&imported.text).unwrap().file.pools.len(), 7);
    assert_eq!(imported.remarks[0].about, "name \"My Shop/api\"");
}

proptest::proptest! {
    /// No text of a file gets out of its place in the config.
    #[test]
    fn any_text_stays_where_it_belongs(text in r#"\PC{0,8}|[\x00-\u{9f}]{0,8}|[-a:#\n "'{}\[\],&*!|>%@`$\\]{0,8}"#) {
        let file = json!({ "apps": [{ "script": "server.js", "name": text, "args": [text], "cron_restart": text,
            "env": { "X": text }, text.as_str(): text, "out_file": format!("logs/{text}/a") }], "deploy": text });
        let Ok(imported) = converted(&file, None) else { return Ok(()) };
        // Only the words of a command and paths may hold what they cannot: a zero character.
        if !text.contains('\0') {
            let read = loaded(&imported.text);
            proptest::prop_assert!(read.is_ok(), "{}\n{}", imported.text, read.unwrap_err());
        }
    }
}
