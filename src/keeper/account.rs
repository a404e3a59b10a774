//! Users and groups by name, out of /etc/passwd and /etc/group.
//!
//! Names that only a directory service knows are not found: asking it takes the C library's plug-ins, which may wait for a
//! network, and the keeper waits for nobody.

use std::fs;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Numbers to run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

/// The number of a user, as /etc/passwd has it; `None` for one that it does not have.
pub fn user_id(name: &str) -> Option<u32> {
    resolve(Some(name), None).ok().flatten().map(|account| account.uid)
}

/// The numbers of these names. None if none is named: then nothing changes.
pub(super) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Account>, String> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let mut account =
        Account { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    if let Some(name) = user {
        account =
            user_in(&read(USERS)?, name).ok_or_else(|| format!("there is no user `{name}` in {USERS}"))?;
    }
    if let Some(name) = group {
        account.gid = group_in(&read(GROUPS)?, name)
            .ok_or_else(|| format!("there is no group `{name}` in {GROUPS}"))?;
    }
    Ok(Some(account))
}

fn read(path: &str) -> Result<String, String> {
    // Comments of people's real names are in whatever encoding they were once typed.
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|error| format!("cannot read {path}: {error}"))
}

/// passwd(5): name:password:uid:gid:comment:home:shell.
fn user_in(file: &str, name: &str) -> Option<Account> {
    let mut fields = entry(file, name)?;
    Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

/// group(5): name:password:gid:members.
fn group_in(file: &str, name: &str) -> Option<u32> {
    entry(file, name)?.next()?.parse().ok()
}

/// The fields behind name and password.
fn entry<'a>(file: &'a str, name: &str) -> Option<impl Iterator<Item = &'a str>> {
    file.lines().map(|line| line.split(':')).find_map(|mut fields| {
        // The second is the password, or the `x` that stands for it.
        (fields.next() == Some(name) && fields.next().is_some()).then_some(fields)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole_and_only_as_names() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n# nobody\nweb2:x:7:8::/:\nweb:x:33:44:Wëb:/var/www:\nodd:x:a:b\n";
        assert_eq!(user_in(users, "web"), Some(Account { uid: 33, gid: 44 }));
        assert_eq!(user_in(users, "root"), Some(Account { uid: 0, gid: 0 }));
        for missing in ["we", "x", "33", "", "odd", "# nobody"] {
            assert_eq!(user_in(users, missing), None, "{missing}");
        }
        assert_eq!(group_in("root:x:0:\nadm:x:4:web,root\n", "adm"), Some(4));
        assert_eq!(group_in("root:x:0:\nadm:x:4:web,root\n", "web"), None);
    }

    #[test]
    fn an_unknown_name_is_told_and_no_name_changes_nothing() {
        assert_eq!(resolve(None, None), Ok(None));
        assert_eq!(
            resolve(Some("no-such-user"), None),
            Err("there is no user `no-such-user` in /etc/passwd".to_owned())
        );
        assert_eq!(
            resolve(Some("root"), Some("no-such-group")),
            Err("there is no group `no-such-group` in /etc/group".to_owned())
        );
        assert_eq!(resolve(Some("root"), None), Ok(Some(Account { uid: 0, gid: 0 })));
    }
}
