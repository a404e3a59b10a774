//! PM2's ecosystem file, as the value that it comes to, made into a config of Lintel. Pure.
//!
//! One pool per app, one listener, and a route to the first app: which requests are for which app stands in no PM2 file,
//! nor whether an app listens at all, and neither is guessed. Fields and defaults are those of PM2 7.0.4.

mod advice;
mod app;
mod command;
mod fields;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use self::app::App;
use self::fields::{Field, text_of};
use super::yaml::{self, Entry};
use super::{Found, Imported, Remark};

/// Bytes of a pool's name, less what a number behind it takes.
const LONGEST_NAME: usize = 60;

/// Where a file stood, and where the config will.
pub struct Place<'a> {
    /// How the file is called in the config.
    pub file: &'a str,
    /// Absolute; where apps without `cwd` run, as with PM2 that of the shell.
    pub working: &'a Path,
    /// Absolute; the folder of the config that is made.
    pub config: &'a Path,
    /// What `~` stands for.
    pub home: Option<&'a Path>,
    /// The name behind `--env`.
    pub env: Option<&'a str>,
    /// Looks at what a path leads to.
    pub look: &'a dyn Fn(&Path) -> Found,
}

/// Why no config can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    #[error("there are no apps in {0}; a PM2 file has a list `apps`, and each app a `script`")]
    NoApps(String),
    #[error("no app has `env_{name}`; {}", known_envs(.known))]
    NoEnv { name: String, known: Vec<String> },
}

fn known_envs(known: &[String]) -> String {
    match known {
        [] => "no app has variables for a name behind --env".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}

/// Makes a config of what a PM2 file exports.
pub fn convert(exported: &Value, place: &Place<'_>) -> Result<Imported, ConvertError> {
    let mut remarks = Vec::new();
    let found = apps_of(exported, &mut remarks);
    if let Some(name) = place.env {
        check_env(name, &found)?;
    }
    let mut names = BTreeSet::new();
    let mut apps = Vec::new();
    for (index, value) in found.into_iter().enumerate() {
        let app = value.as_object().and_then(|object| {
            let (pool, renamed) = pool_name(object, &mut names);
            let mut app = app::read(object, pool, place)?;
            if let Some(name) = renamed {
                let advice =
                    "A pool has letters, digits, `-`, `_` and `.` in its name, and a name for itself.";
                let about = format!("name {}", Value::from(name));
                app.remarks
                    .insert(0, Remark { pool: Some(app.pool.clone()), about, advice: advice.to_owned() });
            }
            Some(app)
        });
        match app {
            Some(app) => apps.push(app),
            None => remarks.push(of_file(&format!("apps[{index}]"), "It has no script and is left out.")),
        }
    }
    if apps.is_empty() {
        return Err(ConvertError::NoApps(place.file.to_owned()));
    }
    let text = write(&apps, &remarks, place);
    let pools = apps.iter().map(|app| app.pool.clone()).collect();
    remarks.extend(apps.into_iter().flat_map(|app| app.remarks));
    Ok(Imported { text, pools, remarks })
}

fn of_file(about: &str, advice: &str) -> Remark {
    Remark { pool: None, about: about.to_owned(), advice: advice.to_owned() }
}

/// The apps of a file, wherever PM2 lets them stand, and remarks on what stands beside them.
fn apps_of<'a>(exported: &'a Value, remarks: &mut Vec<Remark>) -> Vec<&'a Value> {
    let Value::Object(object) = exported else {
        return exported.as_array().map_or(Vec::new(), |apps| apps.iter().collect());
    };
    let Some(key) = ["apps", "pm2"].into_iter().find(|key| object.contains_key(*key)) else {
        return vec![exported];
    };
    for (name, value) in object.iter().filter(|(name, value)| *name != key && !value.is_null()) {
        let advice = match name.as_str() {
            "deploy" => {
                "Lintel does not deploy. Keep `pm2 deploy`, or another way to copy files, and end it with `lintel \
                 rollout NAME` in place of `pm2 reload`."
            }
            _ => "PM2 knows no such field beside `apps`; it is left out.",
        };
        remarks.push(of_file(&Field { name, value }.shown(), advice));
    }
    match object.get(key) {
        Some(Value::Array(apps)) => apps.iter().collect(),
        Some(app) => vec![app],
        None => Vec::new(),
    }
}

/// An environment that no app has is a slip of the pen, and PM2 would start everything without it.
fn check_env(name: &str, apps: &[&Value]) -> Result<(), ConvertError> {
    let keys = apps.iter().filter_map(|app| app.as_object()).flat_map(Map::keys);
    let known: BTreeSet<&str> = keys.filter_map(|key| key.strip_prefix("env_")).collect();
    if known.contains(name) {
        return Ok(());
    }
    let known = known.into_iter().map(|name| format!("`{name}`")).collect();
    Err(ConvertError::NoEnv { name: name.to_owned(), known })
}

/// What an app's pool is called, and the app's own name if it is another one.
fn pool_name(app: &Map<String, Value>, used: &mut BTreeSet<String>) -> (String, Option<String>) {
    let script = ["script", "exec", "cmd", "command"].iter().find_map(|key| app.get(*key)?.as_str());
    let named = app.get("name").and_then(text_of).filter(|name| !name.is_empty());
    let by_script = || {
        let first = script.unwrap_or("app").split_whitespace().next().unwrap_or("app");
        Path::new(first).file_stem().map_or("app".to_owned(), |stem| stem.to_string_lossy().into_owned())
    };
    let wanted = named.unwrap_or_else(by_script);
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let clean: String = wanted.chars().map(|c| if fine(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    let clean = clean.trim_start_matches(['.', '-']).trim_end_matches('-');
    let clean = if clean.is_empty() { "app" } else { clean };
    let mut pool = clean.to_owned();
    let mut number = 2;
    while !used.insert(pool.clone()) {
        pool = format!("{clean}-{number}");
        number += 1;
    }
    let renamed = (pool != wanted).then_some(wanted);
    (pool, renamed)
}

fn write(apps: &[App], remarks: &[Remark], place: &Place<'_>) -> String {
    let mut text = String::new();
    write_head(&mut text, remarks, place);
    text += "\nlisteners:\n  http:\n";
    yaml::comment(
        &mut text,
        4,
        "Where clients connect. PM2 has no such thing: there, each app opens a port itself.",
    );
    yaml::block(&mut text, 4, &[Entry::text("address", ":8080")]);
    text += "\npools:\n";
    for (index, app) in apps.iter().enumerate() {
        if index > 0 {
            text += "\n";
        }
        for remark in &app.remarks {
            yaml::comment(&mut text, 2, &format!("{}: {}", remark.about, remark.advice));
        }
        text += &format!("  {}:\n", yaml::scalar(&app.pool));
        text += "    app:\n";
        yaml::block(&mut text, 6, &app.entries);
        text += "      # task: true  # if it never listens, as a consumer of a queue\n";
    }
    text += "\nroutes:\n";
    for (index, app) in apps.iter().enumerate() {
        let pool = yaml::scalar(&app.pool);
        if index == 0 {
            text += &format!("  - match: {{ path: /* }}\n    to: {pool}\n");
            continue;
        }
        if index == 1 {
            yaml::comment(
                &mut text,
                2,
                "Which requests are for the other apps stands in no PM2 file. Say it here by host or path, before the route \
                 that takes all; apps that never listen need no route.",
            );
        }
        text += &format!("  # - match: {{ host: {}.example.com }}\n  #   to: {pool}\n", app.pool);
    }
    text
}

fn write_head(text: &mut String, remarks: &[Remark], place: &Place<'_>) {
    let paragraph = |text: &mut String, words: &str| yaml::comment(text, 0, words);
    let with = place.env.map_or(String::new(), |env| format!(" with `--env {env}`"));
    paragraph(
        text,
        &format!(
            "Made from {} by `lintel import pm2`{with}. Read the remarks, change what you like, then:",
            place.file
        ),
    );
    *text += "#\n#   lintel check -c FILE\n#   lintel run -c FILE\n#\n";
    paragraph(text, "For all apps:");
    for words in [
        "Each worker gets a socket of its own in place of the port that it opens; clients reach it by the listener and a \
         route.",
        "An app that never listens needs `task: true`; without it, Lintel waits for it to listen and starts it anew.",
        "Workers inherit PATH, HOME, USER, LANG, TZ and TMPDIR from Lintel, and nothing else. Write what else they need \
         under `env`; \"${NAME}\" is a variable of Lintel's own environment.",
        "What the file took from `process.env` stands here as it was while importing. Write \"${NAME}\" for secrets.",
        "SIGINT is what PM2 stops programs with; SIGTERM, the default of Lintel, does for most.",
    ] {
        paragraph(text, &format!("- {words}"));
    }
    paragraph(
        text,
        &format!(
            "- Apps without `cwd` run in {}, from where PM2 would have been called. Short paths start at the folder of \
             this file, {}.",
            place.working.display(),
            place.config.display()
        ),
    );
    for remark in remarks {
        paragraph(text, &format!("- {}: {}", remark.about, remark.advice));
    }
}
