//! The command of an app, from what PM2 calls script, interpreter, node_args and args.

use std::path::Path;

use super::app::Draft;
use super::fields::Fields;
use crate::import::Found;
use crate::worker::Command;

/// Interpreters that PM2 7 chooses by the extension of the script.
const BY_EXTENSION: [(&str, &str); 14] = [
    ("js", "node"),
    ("cjs", "node"),
    ("mjs", "node"),
    ("ts", "bun"),
    ("tsx", "bun"),
    ("sh", "bash"),
    ("py", "python"),
    ("rb", "ruby"),
    ("php", "php"),
    ("pl", "perl"),
    ("coffee", "coffee"),
    ("ls", "lsc"),
    ("mts", "node"),
    ("cts", "node"),
];

/// What a program is, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// Lintel's preload is loaded into it.
    Node,
    /// The preload means nothing to it.
    Other,
    /// A shell script or a program of its own; it may start Node.
    Unsure,
}

/// The words of the command; none when there is no script.
pub(super) fn words(fields: &mut Fields<'_>, draft: &mut Draft<'_>) -> Option<Vec<String>> {
    let script = fields.take(&["script", "exec", "cmd", "command"])?.text()?;
    let interpreter = fields.take(&["exec_interpreter", "interpreter"]).and_then(|field| field.text());
    let mut lists = [&["node_args", "interpreterArgs", "interpreter_args"][..], &["args"][..]].map(|names| {
        let field = fields.take(names)?;
        if field.words().is_none() {
            draft.remark(&field.shown(), "A list of texts is wanted here; it is left out.");
        }
        field.words()
    });
    let [options, arguments] = [0, 1].map(|at| lists[at].take().unwrap_or_default());
    let found = draft.look(&script);
    let (interpreter, mut rest) = match interpreter.as_deref() {
        None | Some("none") if found == Found::Nothing && script.contains(char::is_whitespace) => {
            (None, shell_words(&script, draft))
        }
        Some("none") => (None, vec![program(&script, found)]),
        Some(version) if version.starts_with("node@") => {
            draft.remark(
                &format!("interpreter {version:?}"),
                "PM2 looks for that version with nvm; write the path of its `node` in the command.",
            );
            (Some("node".to_owned()), vec![draft.file(&script)])
        }
        Some(interpreter) => (Some(interpreter.to_owned()), vec![draft.file(&script)]),
        None => default_words(&script, found, draft),
    };
    if interpreter.is_some() {
        rest.splice(0..0, options);
    } else if !options.is_empty() {
        draft.remark(
            &format!("node_args {:?}", options.join(" ")),
            "There is no interpreter to take them; PM2 leaves them out too. NODE_OPTIONS under `env` reaches Node behind \
             a program such as npm.",
        );
    }
    let mut command: Vec<_> = interpreter.into_iter().chain(rest).collect();
    command.extend(arguments);
    tell_of_program(&command, draft);
    Some(command)
}

/// What a program is by its name.
pub(super) fn runtime(command: &[String]) -> Runtime {
    let program = command.first().map_or("", String::as_str);
    let name =
        Path::new(program).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    match name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "node" | "nodejs" | "npm" | "npx" | "yarn" | "pnpm" | "tsx" | "ts-node" | "coffee" | "lsc"
        | "next" => Runtime::Node,
        "python" | "ruby" | "php" | "perl" | "bun" | "bunx" | "deno" => Runtime::Other,
        _ => Runtime::Unsure,
    }
}

/// The interpreter that PM2 chooses where none is named, and what it runs.
fn default_words(script: &str, found: Found, draft: &mut Draft<'_>) -> (Option<String>, Vec<String>) {
    let extension = Path::new(script).extension().map(|extension| extension.to_string_lossy().into_owned());
    let by_extension = BY_EXTENSION.iter().find(|(name, _)| Some(*name) == extension.as_deref());
    if let Some((_, interpreter)) = by_extension {
        if found == Found::Nothing {
            draft.remark(
                &format!("script {script:?}"),
                "There is no such file here; see to its path and to `directory`.",
            );
        }
        if *interpreter == "bun" {
            draft.remark(
                &format!("script {script:?}"),
                "PM2 7 runs TypeScript with bun, and so does this. For Node write `node --import tsx FILE` and take \
                 `preload: false` out.",
            );
        }
        return (Some((*interpreter).to_owned()), vec![draft.file(script)]);
    }
    match found {
        Found::Binary => (None, vec![program(script, found)]),
        Found::Script => (Some("node".to_owned()), vec![draft.file(script)]),
        // A name alone is looked up in PATH, as PM2 does it.
        Found::Nothing if !script.contains('/') => (None, vec![script.to_owned()]),
        Found::Nothing => {
            draft.remark(
                &format!("script {script:?}"),
                "There is no such file here. If it is a text for Node, write `node` before it.",
            );
            (None, vec![script.to_owned()])
        }
    }
}

/// A script that is a whole command line; PM2 gives it to bash.
fn shell_words(script: &str, draft: &mut Draft<'_>) -> Vec<String> {
    match Command::parse(script) {
        Ok(command) => command.words().to_vec(),
        Err(_) => {
            draft.remark(
                &format!("script {script:?}"),
                "Only a shell can run this, and so one does. Where you can, write the program and its arguments alone, and \
                 variables under `env`: the shell stands between Lintel and the program.",
            );
            ["bash", "-c", script].map(str::to_owned).to_vec()
        }
    }
}

/// A program that is run itself: a file in the folder is named as one, so that it is not looked up in PATH.
fn program(script: &str, found: Found) -> String {
    if found == Found::Nothing || script.contains('/') { script.to_owned() } else { format!("./{script}") }
}

/// Programs that only start another one, and one that is a part of PM2.
fn tell_of_program(command: &[String], draft: &mut Draft<'_>) {
    let Some(program) = command.first() else { return };
    match program.as_str() {
        "npm" | "npx" | "yarn" | "pnpm" => draft.remark(
            program,
            "It only starts another program. Name that one in the command if you can, such as `node server.js`: one \
             process less for each worker, and signals reach the right one.",
        ),
        "serve" => draft.remark(
            "script \"serve\"",
            "PM2 has a file server of this name, Lintel has none: install the package `serve`, or any other.",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_known_by_the_name_of_its_program() {
        let of = |program: &str| runtime(&[program.to_owned()]);
        assert_eq!(of("node"), Runtime::Node);
        assert_eq!(of("/opt/node-v20/bin/node"), Runtime::Node);
        assert_eq!(of("./node_modules/.bin/tsx"), Runtime::Node);
        assert_eq!(of("python3.11"), Runtime::Other);
        assert_eq!(of("bun"), Runtime::Other);
        assert_eq!(of("./server"), Runtime::Unsure);
        assert_eq!(runtime(&[]), Runtime::Unsure);
    }

    #[test]
    fn a_program_of_the_folder_is_not_looked_up_in_path() {
        assert_eq!(program("server", Found::Binary), "./server");
        assert_eq!(program("bin/server", Found::Binary), "bin/server");
        assert_eq!(program("redis-server", Found::Nothing), "redis-server");
    }
}
