//! Has Node evaluate a config file that is a program, and reads the value it comes to.
//!
//! The file runs with the rights and the environment of whoever imports it, as it does with PM2.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Prints `{ value }`, `{ kind }` of what cannot be a config, or `{ error }`. Whatever the file itself writes to stdout
/// goes to stderr. JSON files may have comments, as PM2 lets them; `import()` reads both kinds of modules.
const SCRIPT: &str = r"
const fs = require('node:fs'), path = require('node:path'), url = require('node:url'), vm = require('node:vm');
const file = path.resolve(process.argv[1]);
const print = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);
const end = (answer) => print(JSON.stringify(answer), () => process.exit(0));
const load = async () => {
  if (file.endsWith('.json')) return vm.runInThisContext(`(${fs.readFileSync(file, 'utf8')}\n)`, { filename: file });
  const module = await import(url.pathToFileURL(file).href);
  const value = 'default' in module ? module.default : { ...module };
  return value && value.__esModule && value.default ? value.default : value;
};
load()
  .then((value) => end(value !== null && typeof value === 'object' ? { value } : { kind: typeof value }))
  .catch((error) => end({ error: String((error && error.stack) || error).split('\n    at ')[0] }));
";

/// Why a file came to no value.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, std::io::Error),
    #[error("{0} is YAML, and only files that Node reads can be imported; write it as JSON and import that")]
    Yaml(String),
    #[error(
        "there is no `node` in PATH, and Node has to evaluate {0}; install it, or import where it is installed"
    )]
    NoNode(String),
    #[error("node could not be started")]
    Start(#[source] std::io::Error),
    #[error(
        "{0} exports a function, and what it would return is anybody's guess; export the object itself, or call the \
         function in a file of its own: module.exports = require('./{1}')()"
    )]
    Function(String, String),
    #[error("{0} exports no object with `apps`, but a value of type {1}")]
    NoObject(String, String),
    #[error("{0} does not work in Node:\n{1}")]
    Broken(String, String),
    #[error("Node ended with {1} while it evaluated {0}")]
    Ended(String, std::process::ExitStatus),
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Value(Value),
    Kind(String),
    Error(String),
}

/// The value that a file exports: a module of either kind, or JSON. `node` is the program to run, usually just that.
pub fn evaluate(node: &str, path: &Path) -> Result<Value, EvaluateError> {
    let name = path.display().to_string();
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    if matches!(extension.as_deref(), Some("yml" | "yaml")) {
        return Err(EvaluateError::Yaml(name));
    }
    // Said here, it is a plain sentence rather than an error of Node's.
    if let Err(error) = std::fs::metadata(path) {
        return Err(EvaluateError::Unreadable(name, error));
    }
    let mut command = Command::new(node);
    command.args(["-e", SCRIPT, "--"]).arg(path).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => EvaluateError::NoNode(name.clone()),
        _ => EvaluateError::Start(error),
    })?;
    match serde_json::from_slice(&output.stdout) {
        Ok(Answer::Value(value)) => Ok(value),
        Ok(Answer::Kind(kind)) if kind == "function" => {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Err(EvaluateError::Function(name, file))
        }
        Ok(Answer::Kind(kind)) => Err(EvaluateError::NoObject(name, kind)),
        Ok(Answer::Error(error)) => Err(EvaluateError::Broken(name, error)),
        Err(_) => Err(EvaluateError::Ended(name, output.status)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn evaluated(name: &str, text: &str) -> Result<Value, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        evaluate("node", &path).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_every_kind_come_to_their_value() {
        let apps = json!({ "apps": [{ "script": "a.js" }] });
        for (name, text) in [
            ("a.config.js", "console.log('noise'); module.exports = { apps: [{ script: 'a.js' }] }"),
            ("a.config.cjs", "exports.apps = [{ script: 'a.js', undefined }]"),
            ("a.config.mjs", "export default { apps: [{ script: 'a.js' }] }"),
            ("b.config.mjs", "export const apps = [{ script: await 'a.js' }]"),
            ("a.json", "// PM2 allows this\n{ apps: [{ 'script': \"a.js\" },] } // and this"),
            (
                "c.config.js",
                "setInterval(() => {}, 9); exports.__esModule = true; exports.default = { apps: [{ script: 'a.js' }] }",
            ),
        ] {
            assert_eq!(evaluated(name, text), Ok(apps.clone()), "{name}");
        }
    }

    #[test]
    fn what_comes_to_no_object_is_refused_with_the_reason() {
        for (name, text, why) in [
            ("a.config.js", "module.exports = (env) => ({ apps: [] })", "exports a function"),
            ("a.config.mjs", "export default 3", "a value of type number"),
            ("a.config.cjs", "module.exports = {\n  apps: [\n", "SyntaxError"),
            ("b.config.cjs", "throw new Error('no database')", "no database"),
            ("c.config.cjs", "process.exit(3)", "ended with exit status: 3"),
            ("a.yml", "apps: []", "is YAML"),
        ] {
            let error = evaluated(name, text).unwrap_err();
            assert!(error.contains(why) && !error.contains("\n    at "), "{name}: {error}");
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(evaluate("node", &here.join("gone.js")).unwrap_err().to_string().contains("cannot be read"));
        let error = evaluate("/nowhere/node", &here.join("Cargo.toml")).unwrap_err().to_string();
        assert!(error.contains("there is no `node`"), "{error}");
    }
}
