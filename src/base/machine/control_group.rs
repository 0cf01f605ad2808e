//! What the control groups (version 2 or 1) of a process leave it of memory and of processor time.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes below the tightest limit of the groups that `membership` (a `/proc/PID/cgroup`) names, and of those above them, which
/// are mounted under `root`. Absent where no group has a limit.
pub(super) fn memory_left(root: &Path, membership: &str) -> Option<u64> {
    let left = |(folder, version): (PathBuf, Version)| match version {
        Version::Two => left(&folder, ["memory.max", "memory.current", "inactive_file"]),
        Version::One => left(&folder, ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"]),
    };
    groups(root, membership, "memory").into_iter().filter_map(left).min()
}

/// Processor time that the tightest of the same groups allows, in CPUs. Absent where no group has a quota.
pub(super) fn cpus(root: &Path, membership: &str) -> Option<f64> {
    let cpus = |(folder, version): (PathBuf, Version)| cpus_of(&folder, version);
    groups(root, membership, "cpu").into_iter().filter_map(cpus).min_by(f64::total_cmp)
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The folders of a process's groups that may limit what `controller` counts, and of the groups above them.
fn groups(root: &Path, membership: &str, controller: &str) -> Vec<(PathBuf, Version)> {
    let mut folders = Vec::new();
    for line in membership.lines() {
        // `0::/path` of version 2, `ID:controller,controller:/path` of version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mounts, version) = match controllers {
            "" => (vec![root.to_path_buf()], Version::Two),
            // Several that are mounted together have their list as a name, and each a link to it, which a container may lack.
            list if list.split(',').any(|one| one == controller) => {
                (vec![root.join(controller), root.join(list)], Version::One)
            }
            _ => continue,
        };
        for mount in mounts {
            let group = mount.join(path.trim_start_matches('/'));
            // In a container the path may be the host's, and the mount the group itself: its ancestors up to the mount serve too.
            let ancestors = group.ancestors().take_while(|folder| folder.starts_with(&mount));
            folders.extend(ancestors.map(|folder| (folder.to_path_buf(), version)));
        }
    }
    folders
}

/// Quota of one group, divided by the period in which it may be used up.
fn cpus_of(folder: &Path, version: Version) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    // No quota is `max` in version 2 and -1 in version 1: neither is a number above 0.
    let number = |text: &str| text.trim().parse::<u64>().ok().filter(|micros| *micros > 0);
    let (quota, period) = match version {
        Version::Two => {
            let text = read("cpu.max")?;
            let (quota, period) = text.split_once(' ')?;
            (number(quota)?, number(period)?)
        }
        Version::One => (number(&read("cpu.cfs_quota_us")?)?, number(&read("cpu.cfs_period_us")?)?),
    };
    Some(quota as f64 / period as f64)
}

/// Limit minus usage of one group. Cached files count as usage, but those not in use are given back first.
fn left(folder: &Path, [limit, usage, inactive]: [&str; 3]) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?;
    // Version 1 says "no limit" by a number that no machine has.
    if limit >= 1 << 60 {
        return None;
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(number(usage)?.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[test]
    fn the_tightest_of_nested_groups_decides() {
        let root = tempfile::tempdir().unwrap();
        put(&root.path().join("a"), &[("memory.max", "1000\n"), ("memory.current", "900\n")]);
        let inner =
            [("memory.max", "5000\n"), ("memory.current", "700\n"), ("memory.stat", "anon 1\ninactive_file 50\n")];
        put(&root.path().join("a/b"), &inner);
        assert_eq!(memory_left(root.path(), "0::/a/b\n"), Some(100));
        assert_eq!(memory_left(root.path(), "0::/a\n"), Some(100));
        put(&root.path().join("a"), &[("memory.max", "max\n")]);
        assert_eq!(memory_left(root.path(), "0::/a/b\n"), Some(5000 - 650));
        assert_eq!(memory_left(root.path(), "0::/elsewhere\n"), None);
    }

    #[test]
    fn limits_of_version_1_are_read_and_its_word_for_none_is_known() {
        let root = tempfile::tempdir().unwrap();
        let files = [("memory.limit_in_bytes", "3000\n"), ("memory.usage_in_bytes", "1000\n")];
        put(&root.path().join("memory/job"), &files);
        put(&root.path().join("memory"), &[("memory.limit_in_bytes", "9223372036854771712\n"), files[1]]);
        assert_eq!(memory_left(root.path(), "7:cpu,cpuacct:/job\n4:memory:/job\n"), Some(2000));
        assert_eq!(memory_left(root.path(), "4:memory:/\n"), None);
        assert_eq!(memory_left(root.path(), "nonsense"), None);
    }

    #[test]
    fn the_tightest_quota_of_nested_groups_decides() {
        let root = tempfile::tempdir().unwrap();
        put(&root.path().join("pod"), &[("cpu.max", "200000 100000\n")]);
        put(&root.path().join("pod/container"), &[("cpu.max", "max 100000\n")]);
        assert_eq!(cpus(root.path(), "0::/pod/container\n"), Some(2.0));
        put(&root.path().join("pod/container"), &[("cpu.max", "25000 50000\n")]);
        assert_eq!(cpus(root.path(), "0::/pod/container\n"), Some(0.5));
        assert_eq!(cpus(root.path(), "0::/\n"), None);
        // A group of its own at the mount, under a path of the host's.
        put(root.path(), &[("cpu.max", "150000 100000\n")]);
        assert_eq!(cpus(root.path(), "0::/system.slice/elsewhere\n"), Some(1.5));
        for text in ["", "max\n", "0 100000\n", "100000 0\n", "-1 100000\n", "inf 1\n"] {
            put(root.path(), &[("cpu.max", text)]);
            assert_eq!(cpus(root.path(), "0::/\n"), None, "{text:?}");
        }
    }

    #[test]
    fn quotas_of_version_1_are_read_also_where_controllers_are_mounted_together() {
        let root = tempfile::tempdir().unwrap();
        let membership = "7:cpu,cpuacct:/job\n4:memory:/job\n0::/\n";
        put(
            &root.path().join("cpu,cpuacct/job"),
            &[("cpu.cfs_quota_us", "300000\n"), ("cpu.cfs_period_us", "100000\n")],
        );
        assert_eq!(cpus(root.path(), membership), Some(3.0));
        put(&root.path().join("cpu"), &[("cpu.cfs_quota_us", "250000\n"), ("cpu.cfs_period_us", "100000\n")]);
        assert_eq!(cpus(root.path(), membership), Some(2.5));
        put(&root.path().join("cpu"), &[("cpu.cfs_quota_us", "-1\n")]);
        assert_eq!(cpus(root.path(), membership), Some(3.0));
    }
}
