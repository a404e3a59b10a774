//! How many CPUs this process may use: the quota of its cgroup and the CPUs of its affinity mask.
//!
//! The standard library's `available_parallelism` rounds a quota down, which would waste half of a quota of 1.5; here it
//! is rounded up. Only `here` reads anything; the rules take the text of the files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

const CGROUPS: &str = "/sys/fs/cgroup";

/// What this process may use of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cores {
    /// In CPUs, such as 1.5; none when nothing limits it.
    pub quota: Option<f64>,
    /// CPUs it may run on.
    pub cpus: NonZeroUsize,
}

/// What this process may use of this machine.
pub fn here() -> Cores {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let mask = rustix::thread::sched_getaffinity(None).ok();
    let cpus = mask
        .and_then(|mask| NonZeroUsize::new(mask.count() as usize))
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN);
    Cores { quota: quota(&groups, &read), cpus }
}

impl Cores {
    /// The quota rounded up, within 1 and the CPUs.
    pub fn count(self) -> NonZeroUsize {
        // The cast saturates.
        let wanted = self.quota.map_or(self.cpus.get(), |quota| quota.ceil() as usize);
        NonZeroUsize::new(wanted.min(self.cpus.get())).unwrap_or(NonZeroUsize::MIN)
    }
}

/// The lowest quota on the way from a process's cgroup up, in CPUs; none when nothing limits it.
///
/// `groups` is /proc/self/cgroup (cgroups(7)): `0::/path` for version 2, `4:cpu,cpuacct:/path` for version 1. `read`
/// gives the text of a file, if there is one.
pub fn quota(groups: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<f64> {
    groups.lines().filter_map(|line| quota_of(line, read)).reduce(f64::min)
}

/// The same for one line of it.
fn quota_of(line: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<f64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        return along(&[CGROUPS.into()], path, &|group| version_2(&read(&group.join("cpu.max"))?));
    }
    if !controllers.split(',').any(|name| name == "cpu") {
        return None;
    }
    // Mounted by the whole list of controllers, with a link for each of them on most systems.
    let mounts = [Path::new(CGROUPS).join(controllers), Path::new(CGROUPS).join("cpu")];
    along(&mounts, path, &|group| {
        version_1(&read(&group.join("cpu.cfs_quota_us"))?, &read(&group.join("cpu.cfs_period_us"))?)
    })
}

/// The lowest of the limits in `path` and above it, under each mount.
///
/// In a container without a cgroup namespace `path` does not exist below the mount; what limits the container is then
/// at the mount itself, which is the last step up.
fn along(mounts: &[PathBuf], path: &str, limit: &dyn Fn(&Path) -> Option<f64>) -> Option<f64> {
    let path = Path::new(path.trim_start_matches('/'));
    mounts
        .iter()
        .flat_map(|mount| path.ancestors().map(|group| mount.join(group)))
        .filter_map(|group| limit(&group))
        .reduce(f64::min)
}

/// `cpu.max`: `200000 100000`, or `max 100000`.
fn version_2(text: &str) -> Option<f64> {
    let mut parts = text.split_ascii_whitespace();
    let quota = parts.next()?;
    ratio(quota, parts.next()?)
}

/// `cpu.cfs_quota_us` and `cpu.cfs_period_us`; a quota of -1 is none.
fn version_1(quota: &str, period: &str) -> Option<f64> {
    ratio(quota.trim(), period.trim())
}

fn ratio(quota: &str, period: &str) -> Option<f64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota_with(groups: &str, files: &[(&str, &str)]) -> Option<f64> {
        quota(groups, &|path| {
            files.iter().find(|(name, _)| Path::new(name) == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn a_quota_is_rounded_up_and_never_above_the_cpus() {
        let cpus = NonZeroUsize::new(8).unwrap();
        for (quota, expected) in
            [(None, 8), (Some(0.1), 1), (Some(1.0), 1), (Some(1.5), 2), (Some(7.01), 8), (Some(64.0), 8)]
        {
            assert_eq!(Cores { quota, cpus }.count().get(), expected, "{quota:?}");
        }
        assert_eq!(Cores { quota: Some(f64::INFINITY), cpus }.count(), cpus);
    }

    #[test]
    fn version_2_takes_the_lowest_limit_on_the_way_up() {
        let groups = "0::/system.slice/lintel.service\n";
        let leaf = ("/sys/fs/cgroup/system.slice/lintel.service/cpu.max", "max 100000\n");
        let slice = ("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
        let root = ("/sys/fs/cgroup/cpu.max", "400000 100000\n");
        assert_eq!(quota_with(groups, &[leaf]), None);
        assert_eq!(quota_with(groups, &[leaf, root]), Some(4.0));
        assert_eq!(quota_with(groups, &[leaf, slice, root]), Some(1.5));
    }

    #[test]
    fn in_a_container_the_limit_is_at_the_mount() {
        assert_eq!(quota_with("0::/\n", &[("/sys/fs/cgroup/cpu.max", "50000 100000\n")]), Some(0.5));
        let groups = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n";
        let files = [
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ];
        assert_eq!(quota_with(groups, &files), Some(2.5));
    }

    #[test]
    fn version_1_reads_quota_and_period_and_minus_one_is_none() {
        let groups = "4:cpu,cpuacct:/app\n0::/\n";
        let period = ("/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
        let quota = "/sys/fs/cgroup/cpu,cpuacct/app/cpu.cfs_quota_us";
        assert_eq!(quota_with(groups, &[(quota, "300000\n"), period]), Some(3.0));
        assert_eq!(quota_with(groups, &[(quota, "-1\n"), period]), None);
    }

    #[test]
    fn text_that_is_no_limit_is_none() {
        for text in ["", "max", "100000", "a b", "0 100000", "100000 0", "-1 100000"] {
            assert_eq!(version_2(text), None, "{text}");
        }
        assert_eq!(quota_with("garbage\n::\n:\n", &[]), None);
    }

    #[test]
    fn this_machine_has_cores() {
        let cores = here();
        assert!(cores.count() <= cores.cpus);
    }
}
