//! Looks at who else can open the files of a config that hold secrets: keys of certificates, keys of cookies, tokens.
//!
//! It warns and refuses nothing: whose machine it is decides. What a group can read is somebody's intention (`ssl-cert`, a
//! volume of Kubernetes); what everybody can read, or others can write, is hardly ever.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::build::Problem;
use crate::config::File;
use crate::pool::spec::StickySpec;

/// Mode bits by which all users of the machine read it.
const READ: u32 = 0o004;
/// Mode bits by which somebody else than its owner writes it.
const WRITE: u32 = 0o022;

/// A warning for each file of secrets that others can open; files that are not there are somebody else's to report.
pub fn exposed(file: &File) -> Vec<Problem> {
    let of_tls = |at: String, tls: &crate::tls::Spec| {
        let keys = tls.certificates.iter().enumerate();
        keys.map(|(index, spec)| warn(format!("{at}.certificates[{index}].key"), &spec.key))
            .collect::<Vec<_>>()
    };
    let listeners = file
        .listeners
        .iter()
        .filter_map(|(name, spec)| spec.tls.as_ref().map(|tls| of_tls(format!("listeners.{name}.tls"), tls)));
    let pools = file.pools.iter().map(|(name, pool)| {
        let key = pool.tls.as_ref().and_then(|tls| tls.key.as_ref());
        let secret = match &pool.sticky {
            Some(StickySpec::Cookie(cookie)) => cookie.secret.as_ref(),
            _ => None,
        };
        let key = key.map(|key| warn(format!("pools.{name}.tls.key"), key));
        let secret = secret.map(|secret| warn(format!("pools.{name}.sticky.secret.file"), &secret.file));
        key.into_iter().chain(secret).collect()
    });
    let admin = &file.admin;
    let token = admin.token.as_ref().map(|token| warn("admin.token.file".to_owned(), &token.file));
    let tls = admin.tls.as_ref().map(|tls| of_tls("admin.tls".to_owned(), tls)).unwrap_or_default();
    listeners.chain(pools).flatten().chain(token).chain(tls).flatten().collect()
}

fn warn(at: String, path: &Path) -> Option<Problem> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let message = message(path, mode)?;
    Some(Problem { at, message })
}

fn message(path: &Path, mode: u32) -> Option<String> {
    let what = match (mode & WRITE != 0, mode & READ != 0) {
        (true, _) => "written by others than its owner",
        (false, true) => "read by every user of this machine",
        (false, false) => return None,
    };
    let path = path.display();
    Some(format!("`{path}` can be {what} (mode {:04o}); `chmod o=,g-w {path}`", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_open_is_told_and_what_a_group_can_read_is_not() {
        for mode in [0o600, 0o400, 0o640, 0o440, 0o100_600] {
            assert_eq!(message(Path::new("a.key"), mode), None, "{mode:o}");
        }
        for (mode, what) in
            [(0o644, "read by every"), (0o604, "read by every"), (0o660, "written by"), (0o602, "written by")]
        {
            let told = message(Path::new("a.key"), mode).unwrap();
            assert!(told.contains(what) && told.ends_with("`chmod o=,g-w a.key`"), "{told}");
        }
        assert!(warn("x".into(), Path::new("/nowhere/at/all")).is_none());
    }
}
