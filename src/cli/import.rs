//! `lintel import`: a config made from the file of another program.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::import::{self, Imported, pm2};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// From an ecosystem file of PM2, which Node evaluates
    Pm2(Pm2Args),
}

#[derive(Debug, Args)]
struct Pm2Args {
    /// The file: .js, .cjs, .mjs or .json. Call this where you would call `pm2 start`
    #[arg(default_value = "ecosystem.config.js")]
    file: PathBuf,
    /// Takes in the variables of `env_NAME`, as `pm2 start --env NAME` does
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Writes the config to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrites that file if it is there
    #[arg(long, requires = "output")]
    force: bool,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let From::Pm2(args) = &args.from;
    let working = std::env::current_dir().context("the current folder is gone")?;
    let config = match &args.output {
        Some(output) => folder_of(output)?,
        None => working.clone(),
    };
    let home = std::env::home_dir();
    let exported = import::evaluate("node", &args.file)?;
    let file = args.file.file_name().unwrap_or_default().to_string_lossy();
    let place = pm2::Place {
        file: &file,
        working: &working,
        config: &config,
        home: home.as_deref(),
        env: args.env.as_deref(),
        look: &import::look,
    };
    let imported = pm2::convert(&exported, &place)?;
    match &args.output {
        Some(output) => save(args, output, &imported.text)?,
        None => super::answer(&imported.text)?,
    }
    // The config is written; a reader of the summary that went away changes nothing.
    let _ = write!(anstream::stderr(), "{}", summary(&imported, args.output.as_deref()));
    Ok(ExitCode::SUCCESS)
}

/// The folder of a file that may not be there yet, as Node names folders too: without links.
fn folder_of(file: &Path) -> anyhow::Result<PathBuf> {
    let absolute = std::path::absolute(file)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    folder.canonicalize().with_context(|| format!("{} cannot be written to", folder.display()))
}

fn save(args: &Pm2Args, output: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true);
    // Asked of the system in one step: what is there is never lost, not even what came a moment ago.
    let opened = match args.force {
        true => options.create(true).truncate(true).open(output),
        false => options.create_new(true).open(output),
    };
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            anyhow::anyhow!("{} is there already; --force overwrites it", output.display())
        }
        _ => anyhow::Error::new(error).context(format!("{} cannot be written", output.display())),
    })?;
    file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", output.display()))
}

/// What a person at a terminal wants to know, also when the config went to a file.
fn summary(imported: &Imported, output: Option<&Path>) -> String {
    let count = |number: usize, word: &str| match number {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    };
    let pools = count(imported.pools.len(), "pool");
    let mut text = format!("{pools} made: {}\n", imported.pools.join(", "));
    if !imported.remarks.is_empty() {
        text += &format!("{}, in the config as well:\n", count(imported.remarks.len(), "remark"));
    }
    for remark in &imported.remarks {
        let pool = remark.pool.as_deref().map_or(String::new(), |pool| format!("{pool}: "));
        let line = format!("  {pool}{}: {}", remark.about, remark.advice);
        // Names come from the file; they do not get to write on the terminal.
        text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    if let Some(output) = output {
        text += &format!("next: lintel check -c {}\n", output.display());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(words: &[&str]) -> anyhow::Result<ExitCode> {
        crate::cli::run(["lintel", "import", "pm2"].iter().chain(words).map(Into::into))
    }

    #[test]
    fn a_file_is_made_that_can_be_loaded_and_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let ecosystem = folder.path().join("ecosystem.config.js");
        let text = "module.exports = { apps: [{ name: 'api', script: 'a.js', cwd: __dirname, env_test: { A: 'b' } }] }";
        std::fs::write(&ecosystem, text).unwrap();
        let output = folder.path().join("lintel.yaml");
        let words = [ecosystem.to_str().unwrap(), "--env", "test", "--output", output.to_str().unwrap()];
        import(&words).unwrap();
        let app = crate::cli::load(&output).unwrap().file.pools["api"].app.clone().unwrap();
        assert_eq!((app.command.words().join(" "), app.env["A"].as_str()), ("node a.js".to_owned(), "b"));
        assert_eq!(app.directory, None, "the folder of the config is the default");

        std::fs::write(&output, "mine").unwrap();
        let error = import(&words).unwrap_err().to_string();
        assert!(error.contains("is there already; --force overwrites it"), "{error}");
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "mine");
        import(&[&words[..], &["--force"]].concat()).unwrap();
        assert!(crate::cli::load(&output).is_ok());
    }

    #[test]
    fn the_summary_names_what_was_made_and_what_was_not() {
        let remark = |pool: Option<&str>, about: &str| import::Remark {
            pool: pool.map(str::to_owned),
            about: about.to_owned(),
            advice: "Mind.".to_owned(),
        };
        let imported = Imported {
            text: String::new(),
            pools: vec!["api".to_owned(), "web".to_owned()],
            remarks: vec![remark(None, "deploy {...}"), remark(Some("api"), "cron\u{1b}[2J")],
        };
        let expected = "2 pools made: api, web\n2 remarks, in the config as well:\n  deploy {...}: Mind.\n  \
                        api: cron [2J: Mind.\nnext: lintel check -c a.yaml\n";
        assert_eq!(summary(&imported, Some(Path::new("a.yaml"))), expected);
    }
}
