//! One app of a PM2 file: what goes under `pools.NAME.app`, and what there is to say about the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::advice::{Advice, advice};
use super::command::{self, Runtime};
use super::fields::{Field, Fields, text_of};
use super::{Place, paths};
use crate::import::yaml::Entry;
use crate::import::{Found, Remark};
use crate::units::Duration;
use crate::worker::Command;
use crate::worker::spec::{MOST_INSTANCES, RestartSpec};

/// What Lintel calls the index of a worker in its environment.
const INDEX_VARIABLES: [&str; 2] = ["NODE_APP_INSTANCE", "INSTANCE_ID"];

/// An app as it is written to the config.
#[derive(Debug)]
pub(super) struct App {
    pub pool: String,
    /// What is under `app`.
    pub entries: Vec<Entry>,
    pub remarks: Vec<Remark>,
}

/// An app while it is read.
pub(super) struct Draft<'a> {
    place: &'a Place<'a>,
    pool: String,
    /// Where it runs.
    directory: PathBuf,
    remarks: Vec<Remark>,
    /// Fields that need nothing in a config.
    needless: Vec<String>,
}

impl Draft<'_> {
    pub fn remark(&mut self, about: &str, advice: &str) {
        let advice = advice.replace("NAME`", &format!("{}`", self.pool));
        self.remarks.push(Remark { pool: Some(self.pool.clone()), about: about.to_owned(), advice });
    }

    /// What a path of the app leads to.
    pub fn look(&self, path: &str) -> Found {
        (self.place.look)(&self.directory.join(path))
    }

    /// A file of the app as its command names it: short where it is below the folder that the app runs in.
    pub fn file(&self, path: &str) -> String {
        let below = Path::new(path).strip_prefix(&self.directory).ok().and_then(Path::to_str);
        below.filter(|below| !below.is_empty()).unwrap_or(path).to_owned()
    }
}

/// Reads an app; `pool` is what its pool is called. None when it has no script.
pub(super) fn read(app: &Map<String, Value>, pool: String, place: &Place<'_>) -> Option<App> {
    let mut fields = Fields::of(app);
    fields.take(&["name"]);
    let cwd = fields.take(&["cwd"]).and_then(Field::text);
    let directory =
        cwd.map_or(place.working.to_owned(), |cwd| paths::absolute(&cwd, place.working, place.home));
    let mut draft = Draft { place, pool, directory, remarks: Vec::new(), needless: Vec::new() };

    let command = command::words(&mut fields, &mut draft)?;
    let runtime = command::runtime(&command);
    let mut entries = vec![command_entry(&command)];
    if draft.directory != place.config {
        entries.push(Entry::text("directory", &paths::from_folder(&draft.directory, place.config)));
    }
    entries.push(instances(&mut fields, &mut draft));
    entries.extend(environment(&mut fields, runtime, &mut draft));
    entries.extend(account("user", &["uid", "user"], &mut fields, &mut draft));
    entries.extend(account("group", &["gid"], &mut fields, &mut draft));
    entries.extend(ready(&mut fields, runtime, &mut draft));
    entries.extend(restart(&mut fields, &mut draft));
    entries.push(stop(&mut fields, runtime, &mut draft));
    entries.extend(logs(&mut fields, &mut draft));
    if runtime == Runtime::Other {
        entries.push(Entry::written("preload", false));
    }
    tell_of_runtime(&command, runtime, &mut draft);
    tell_of_the_rest(&fields, &mut draft);
    let Draft { pool, remarks, .. } = draft;
    Some(App { pool, entries, remarks })
}

/// A text where it comes out as the same words, else a list.
fn command_entry(words: &[String]) -> Entry {
    let text = words.join(" ");
    match Command::parse(&text) {
        Ok(command) if command.words() == words => Entry::text("command", &text),
        _ => Entry::list("command", words),
    }
}

fn instances(fields: &mut Fields<'_>, draft: &mut Draft<'_>) -> Entry {
    let Some(field) = fields.take(&["instances"]) else {
        return Entry::written("instances", 1).note("as in PM2; Lintel's own default is auto");
    };
    let count = match field.value {
        Value::String(text) if text == "max" => Some(0),
        _ => field.whole(),
    };
    match count.map(u16::try_from) {
        Some(Ok(0)) => Entry::written("instances", "auto"),
        Some(Ok(count)) if count <= MOST_INSTANCES => Entry::written("instances", count),
        Some(_) if count.is_some_and(|count| count > 0) => {
            draft.remark(&field.shown(), &format!("The most that an app can have are {MOST_INSTANCES}."));
            Entry::written("instances", MOST_INSTANCES)
        }
        Some(_) => {
            draft.remark(
                &field.shown(),
                "`auto` takes every CPU that the cgroup allows; write a number to leave some to others.",
            );
            Entry::written("instances", "auto")
        }
        None => {
            draft.remark(&field.shown(), "This is no number of workers; one is taken.");
            Entry::written("instances", 1)
        }
    }
}

/// `env` with what `--env` adds, and what becomes of the variables that PM2 sets itself.
fn environment(fields: &mut Fields<'_>, runtime: Runtime, draft: &mut Draft<'_>) -> Option<Entry> {
    let mut variables = BTreeMap::new();
    if let Some(field) = fields.take(&["port"]) {
        variables.extend(field.text().map(|port| ("PORT".to_owned(), port)));
    }
    let own = fields.take(&["env"]);
    let more = draft.place.env.and_then(|name| fields.take(&[&format!("env_{name}")]));
    for field in own.into_iter().chain(more) {
        let Value::Object(object) = field.value else {
            draft.remark(&field.shown(), "Variables are wanted here, by name; it is left out.");
            continue;
        };
        for (name, value) in object {
            match variable(name, value) {
                Ok(text) => _ = variables.insert(name.clone(), text),
                Err(why) => draft.remark(&format!("{}.{name}", field.name), why),
            }
        }
    }
    let others =
        fields.left().into_iter().filter_map(|field| field.name.strip_prefix("env_")).collect::<Vec<_>>();
    if !others.is_empty() {
        let about = others.iter().map(|name| format!("env_{name}")).collect::<Vec<_>>().join(", ");
        let advice =
            format!("It is left out; `lintel import pm2 --env {}` takes it in.", others.join("` or `--env "));
        draft.remark(&about, &advice);
    }
    for name in others {
        fields.take(&[&format!("env_{name}")]);
    }
    number_variables(fields, draft);
    if runtime == Runtime::Other && variables.remove("PORT").is_some() {
        draft.remark(
            "env.PORT",
            "Lintel gives each worker a port of its own in PORT, and the program has to listen there.",
        );
    }
    let entries = variables.iter().map(|(name, value)| Entry::text(name, value)).collect::<Vec<_>>();
    (!entries.is_empty()).then(|| Entry::block("env", entries))
}

/// The text of a variable, or why there is none.
fn variable(name: &str, value: &Value) -> Result<String, &'static str> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("This cannot be the name of a variable; it is left out.");
    }
    if name.starts_with("LINTEL_") || ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].contains(&name) {
        return Err("Lintel sets this one itself; it is left out.");
    }
    match text_of(value) {
        Some(text) if !text.contains('\0') => Ok(text),
        _ if value.is_null() => Err("It has no value and is left out."),
        _ => Err("A variable is a text, and this is none; it is left out."),
    }
}

/// Variables in which PM2 tells an instance which one it is.
fn number_variables(fields: &mut Fields<'_>, draft: &mut Draft<'_>) {
    if let Some(field) = fields.take(&["instance_var"]) {
        match field.text() {
            Some(name) if INDEX_VARIABLES.contains(&name.as_str()) => {
                draft.needless.push(field.name.to_owned())
            }
            _ => draft.remark(
                &field.shown(),
                "A worker finds its index in NODE_APP_INSTANCE and INSTANCE_ID; read one of these.",
            ),
        }
    }
    if let Some(field) = fields.take(&["increment_var"]) {
        let advice = match field.text().as_deref() {
            Some("PORT") => {
                "All workers may listen on the same port: each gets a socket of its own from Lintel."
            }
            _ => "It is the same for all workers; add NODE_APP_INSTANCE to it in the program.",
        };
        draft.remark(&field.shown(), advice);
    }
}

fn account(key: &str, names: &[&str], fields: &mut Fields<'_>, draft: &mut Draft<'_>) -> Option<Entry> {
    let field = fields.take(names)?;
    match field.text() {
        Some(name) if field.whole().is_none() => Some(Entry::text(key, &name)),
        _ => {
            draft.remark(&field.shown(), &format!("Write the name under `{key}`; numbers are not taken."));
            None
        }
    }
}

fn ready(fields: &mut Fields<'_>, runtime: Runtime, draft: &mut Draft<'_>) -> Option<Entry> {
    let mut entries = Vec::new();
    if let Some(field) = fields.take(&["wait_ready"]) {
        match (field.is_on(), runtime) {
            (false, _) => draft.needless.push(field.name.to_owned()),
            (true, Runtime::Other) => draft.remark(
                &field.shown(),
                "Only Node can say that it is ready. Write a `health_check` in the pool and `ready: { when: healthy }`.",
            ),
            (true, _) => entries.push(Entry::written("when", "signal")),
        }
    }
    if let Some(field) = fields.take(&["listen_timeout"]) {
        match field.time() {
            Some(time) => {
                draft.remark(
                    &field.shown(),
                    "PM2 goes on after this time, ready or not. Lintel kills a worker that is not ready by then and tries \
                     again; give it more if the program takes long to start.",
                );
                entries.push(Entry::written("timeout", time));
            }
            None => draft.remark(&field.shown(), "This is no time; `ready.timeout` stays at 30s."),
        }
    }
    (!entries.is_empty()).then(|| Entry::short("ready", entries))
}

fn restart(fields: &mut Fields<'_>, draft: &mut Draft<'_>) -> Option<Entry> {
    let mut entries = Vec::new();
    let growing = fields.take(&["exp_backoff_restart_delay"]);
    let constant = fields.take(&["restart_delay"]);
    // PM2 looks at the growing one first.
    let set = [growing, constant].into_iter().flatten().find(|field| !field.is_zero());
    for field in [growing, constant].into_iter().flatten().filter(|field| field.is_zero()) {
        draft.needless.push(field.name.to_owned());
    }
    if let Some(field) = set {
        match field.time() {
            Some(time) => {
                entries.push(Entry::written("backoff", time));
                let longest = longest(time);
                if growing.is_none_or(Field::is_zero) && longest.is_none() {
                    draft.remark(
                        &field.shown(),
                        "Only the first pause: it doubles each time, up to `restart.max_backoff`, 30s unless written.",
                    );
                }
                entries.extend(longest);
            }
            None => draft.remark(&field.shown(), "This is no time; `restart.backoff` stays at 100ms."),
        }
    }
    if let Some(field) = fields.take(&["max_memory_restart"]).filter(|field| !field.is_zero()) {
        match field.size() {
            Some(size) => entries.push(Entry::written("max_memory", size)),
            None => draft.remark(&field.shown(), "This is no size; write `restart: { max_memory: 500MiB }`."),
        }
    }
    (!entries.is_empty()).then(|| Entry::short("restart", entries))
}

/// A first pause above the longest that Lintel makes by default needs a longest one of its own.
fn longest(first: Duration) -> Option<Entry> {
    (first > RestartSpec::default().max_backoff).then(|| Entry::written("max_backoff", first))
}

fn stop(fields: &mut Fields<'_>, runtime: Runtime, draft: &mut Draft<'_>) -> Entry {
    let mut entries = Vec::new();
    let by_message = fields.take(&["shutdown_with_message"]);
    match by_message {
        Some(field) if field.is_on() => {
            let advice = match runtime {
                Runtime::Other => "Only Node gets messages; the program gets SIGTERM.",
                _ => {
                    "A program that listens for the message `shutdown` goes on getting it, when Lintel sends SIGTERM."
                }
            };
            draft.remark(&field.shown(), advice);
            entries.push(Entry::written("signal", "SIGTERM"));
        }
        _ => {
            draft.needless.extend(by_message.map(|field| field.name.to_owned()));
            entries.push(Entry::written("signal", "SIGINT"));
        }
    }
    if let Some(field) = fields.take(&["kill_timeout"]) {
        match field.time() {
            Some(time) => entries.push(Entry::written("timeout", time)),
            None => draft.remark(&field.shown(), "This is no time; `stop.timeout` stays at 30s."),
        }
    }
    Entry::short("stop", entries)
}

/// The folder of the files; their names and their rotation are Lintel's.
fn logs(fields: &mut Fields<'_>, draft: &mut Draft<'_>) -> Option<Entry> {
    let out = fields.take(&["out_file", "out", "output", "out_log"]);
    let error = fields.take(&["error_file", "error", "err", "err_file", "err_log"]);
    let written: Vec<Field<'_>> = [out, error].into_iter().flatten().collect();
    let mut folders = Vec::new();
    for field in &written {
        match field.text().as_deref() {
            Some("/dev/null" | "NULL") => draft.remark(
                &field.shown(),
                "What workers write is never thrown away; it is in Lintel's own log unless `logs` names a folder.",
            ),
            Some(file) => {
                let file = paths::absolute(file, &draft.directory, draft.place.home);
                folders.push(file.parent().unwrap_or(Path::new("/")).to_owned());
            }
            None => draft.remark(&field.shown(), "This is no path; it is left out."),
        }
    }
    let folder = folders.first()?;
    let about = written.iter().map(|field| field.shown()).collect::<Vec<_>>().join(", ");
    let advice = match folders.iter().all(|other| other == folder) {
        true => "Only the folder is taken: Lintel names the files in it and rotates them.",
        false => "Only one folder is taken, that of stdout: Lintel names the files in it and rotates them.",
    };
    draft.remark(&about, advice);
    Some(Entry::short(
        "logs",
        vec![Entry::text("directory", &paths::from_folder(folder, draft.place.config))],
    ))
}

fn tell_of_runtime(command: &[String], runtime: Runtime, draft: &mut Draft<'_>) {
    let Some(program) = command.first() else { return };
    match runtime {
        Runtime::Node => {}
        Runtime::Other => draft.remark(
            program,
            "Lintel's preload is for Node; without it the program has to listen on 127.0.0.1 and the port in PORT.",
        ),
        Runtime::Unsure => draft.remark(
            program,
            "If Node is not behind it, write `preload: false`, and have the program listen on 127.0.0.1 and the port in \
             PORT.",
        ),
    }
}

fn tell_of_the_rest(fields: &Fields<'_>, draft: &mut Draft<'_>) {
    // Fields of one thing, such as `watch`, share what there is to say.
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for field in fields.left() {
        match advice(field) {
            Advice::Nothing => draft.needless.push(field.name.to_owned()),
            Advice::Remark(text) => match told.iter_mut().find(|(known, _)| *known == text) {
                Some((_, about)) => about.push(field.shown()),
                None => told.push((text, vec![field.shown()])),
            },
        }
    }
    for (text, about) in told {
        draft.remark(&about.join(", "), text);
    }
    if !draft.needless.is_empty() {
        draft.remark(
            &draft.needless.join(", "),
            "Nothing to write: Lintel works that way, or has no use for it.",
        );
    }
}
