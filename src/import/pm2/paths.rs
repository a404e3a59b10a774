//! Paths as PM2 resolves them and as a config writes them. Pure: nothing is looked up.

use std::path::{Component, Path, PathBuf};

/// A path made absolute: from the home folder after `~`, else from `folder`. `.` and `..` are worked out, as Node does it.
pub(super) fn absolute(path: &str, folder: &Path, home: Option<&Path>) -> PathBuf {
    let after_home = path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let joined = match (after_home, home) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        _ => folder.join(path),
    };
    let mut clean = PathBuf::new();
    for part in joined.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = clean.pop(),
            part => clean.push(part),
        }
    }
    clean
}

/// An absolute path as a config in `folder` names it: short where it is below that folder.
pub(super) fn from_folder(path: &Path, folder: &Path) -> String {
    match path.strip_prefix(folder) {
        Ok(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Ok(below) => format!("./{}", below.display()),
        Err(_) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_as_pm2_does_it() {
        let of =
            |path| absolute(path, Path::new("/srv/app"), Some(Path::new("/home/me"))).display().to_string();
        assert_eq!(of("./api/../logs/out.log"), "/srv/app/logs/out.log");
        assert_eq!(of("~/logs"), "/home/me/logs");
        assert_eq!(of("~"), "/home/me");
        assert_eq!(of("~me/x"), "/srv/app/~me/x");
        assert_eq!(of("/var/../../log"), "/log");
    }

    #[test]
    fn a_config_names_what_is_below_it_in_short() {
        let of = |path| from_folder(Path::new(path), Path::new("/srv/app"));
        assert_eq!(of("/srv/app"), ".");
        assert_eq!(of("/srv/app/logs"), "./logs");
        assert_eq!(of("/srv/application"), "/srv/application");
    }
}
