//! Where the state of this process lives (the sticky key) and where its sockets do.
//!
//! What is written in the config is taken or refused; else the service manager's word, else the system's places
//! where they can be written, else the user's (XDG Base Directory Specification).

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

/// Both exist and can be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directories {
    pub state: PathBuf,
    pub run: PathBuf,
}

/// What decides about the places.
pub struct Surroundings<'a> {
    /// `runtime.state_directory`.
    pub state: Option<&'a Path>,
    /// `runtime.run_directory`.
    pub run: Option<&'a Path>,
    pub environment: &'a dyn Fn(&str) -> Option<OsString>,
    /// Root of the file system; another one in tests.
    pub root: &'a Path,
}

/// Why there is no place.
#[derive(Debug, thiserror::Error)]
pub enum ResolveDirectoryError {
    #[error("cannot use {kind} directory {}: {source}", path.display())]
    Unusable { kind: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "no place for the {kind} directory: none of {tried} can be written; write runtime.{kind}_directory"
    )]
    Nowhere { kind: &'static str, tried: String },
}

/// Finds both directories and creates them where missing, mode 0750.
pub fn resolve(surroundings: &Surroundings<'_>) -> Result<Directories, ResolveDirectoryError> {
    let variable = |name: &str| absolute((surroundings.environment)(name)?);
    let state = match written_or_given(surroundings, "state", surroundings.state, "STATE_DIRECTORY")? {
        Some(path) => path,
        None => first_usable(
            "state",
            &[
                Some(surroundings.root.join("var/lib/lintel")),
                variable("XDG_STATE_HOME").map(|home| home.join("lintel")),
                variable("HOME").map(|home| home.join(".local/state/lintel")),
            ],
        )?,
    };
    let run = match written_or_given(surroundings, "run", surroundings.run, "RUNTIME_DIRECTORY")? {
        Some(path) => path,
        None => first_usable(
            "run",
            &[
                Some(surroundings.root.join("run/lintel")),
                variable("XDG_RUNTIME_DIR").map(|folder| folder.join("lintel")),
                Some(state.join("run")),
            ],
        )?,
    };
    Ok(Directories { state, run })
}

/// The place that somebody named; it is an error if that one is no good.
fn written_or_given(
    surroundings: &Surroundings<'_>,
    kind: &'static str,
    written: Option<&Path>,
    variable: &str,
) -> Result<Option<PathBuf>, ResolveDirectoryError> {
    // systemd.exec(5): several directories of a unit are separated by colons.
    let given = || {
        let list = (surroundings.environment)(variable)?;
        let first = list.as_bytes().split(|byte| *byte == b':').next()?;
        absolute(OsString::from_vec(first.to_vec()))
    };
    let Some(path) = written.map(Path::to_path_buf).or_else(given) else { return Ok(None) };
    match make(&path) {
        Ok(()) => Ok(Some(path)),
        Err(source) => Err(ResolveDirectoryError::Unusable { kind, path, source }),
    }
}

fn first_usable(kind: &'static str, places: &[Option<PathBuf>]) -> Result<PathBuf, ResolveDirectoryError> {
    let usable = places.iter().flatten().find(|path| make(path).is_ok());
    usable.cloned().ok_or_else(|| {
        let tried: Vec<String> = places.iter().flatten().map(|path| path.display().to_string()).collect();
        ResolveDirectoryError::Nowhere { kind, tried: tried.join(", ") }
    })
}

/// Relative paths in these variables do not count (XDG Base Directory Specification).
fn absolute(path: OsString) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    path.is_absolute().then_some(path)
}

/// Creates `path` where it is missing and sees that this user can write there.
fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Place {
        root: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }
        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }
        /// A path that no user, not even root, can make a directory of.
        fn block(&self, path: &str) {
            std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
            std::fs::write(self.path(path), "").unwrap();
        }
        /// With these variables; `~` in a value is the root of the test.
        fn resolve(&self, variables: &[(&str, &str)]) -> Result<Directories, ResolveDirectoryError> {
            let root = self.root.path().to_str().unwrap();
            resolve(&Surroundings {
                state: None,
                run: None,
                environment: &|name| {
                    let value = variables.iter().find(|(known, _)| *known == name)?.1;
                    Some(value.replace('~', root).into())
                },
                root: self.root.path(),
            })
        }
    }

    #[test]
    fn the_places_of_the_system_are_created_for_owner_and_group() {
        let place = Place::new();
        let found = place.resolve(&[("HOME", "~/home"), ("XDG_RUNTIME_DIR", "~/user")]).unwrap();
        assert_eq!(found, Directories { state: place.path("var/lib/lintel"), run: place.path("run/lintel") });
        for path in [found.state, found.run] {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7, 0);
        }
    }

    #[test]
    fn the_service_manager_is_believed_and_the_first_of_its_list_is_taken() {
        let place = Place::new();
        let found = place.resolve(&[("STATE_DIRECTORY", "~/a:~/b"), ("RUNTIME_DIRECTORY", "~/c")]).unwrap();
        assert_eq!(found, Directories { state: place.path("a"), run: place.path("c") });
        assert!(!place.path("b").exists());
    }

    #[test]
    fn a_user_gets_the_folders_of_the_user() {
        let place = Place::new();
        place.block("var/lib");
        place.block("run/lintel");
        let home = ("HOME", "~/home");
        let found = place.resolve(&[home]).unwrap();
        assert_eq!(found.state, place.path("home/.local/state/lintel"));
        assert_eq!(found.run, place.path("home/.local/state/lintel/run"));
        let found =
            place.resolve(&[home, ("XDG_STATE_HOME", "~/state"), ("XDG_RUNTIME_DIR", "~/user")]).unwrap();
        assert_eq!(found, Directories { state: place.path("state/lintel"), run: place.path("user/lintel") });
        let found = place.resolve(&[home, ("XDG_STATE_HOME", "relative")]).unwrap();
        assert_eq!(found.state, place.path("home/.local/state/lintel"));
    }

    #[test]
    fn a_written_directory_is_taken_or_refused_never_replaced() {
        let place = Place::new();
        place.block("file");
        let good = place.path("here/state");
        let surroundings =
            |state| Surroundings { state, run: None, environment: &|_| None, root: place.root.path() };
        assert_eq!(resolve(&surroundings(Some(&good))).unwrap().state, good);
        let error = resolve(&surroundings(Some(&place.path("file")))).unwrap_err().to_string();
        assert!(error.starts_with("cannot use state directory /") && error.contains("/file: "), "{error}");
    }

    #[test]
    fn nowhere_to_go_names_the_key_to_write() {
        let place = Place::new();
        place.block("var/lib");
        let error = place.resolve(&[]).unwrap_err().to_string();
        assert!(error.ends_with("can be written; write runtime.state_directory"), "{error}");
    }
}
