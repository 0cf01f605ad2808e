//! What the control groups (version 2 or 1) of a process leave it of memory.

use std::{fs, path::Path};

/// Bytes below the tightest limit of the groups that `membership` (a `/proc/PID/cgroup`) names, and of those above them, which
/// are mounted under `root`. Absent where no group has a limit.
pub(super) fn memory_left(root: &Path, membership: &str) -> Option<u64> {
    let mut least: Option<u64> = None;
    for line in membership.lines() {
        // `0::/path` of version 2, `ID:controller,controller:/path` of version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (mount, files) = match controllers {
            "" => (root.to_path_buf(), ["memory.max", "memory.current", "inactive_file"]),
            list if list.split(',').any(|controller| controller == "memory") => {
                let files = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];
                (root.join("memory"), files)
            }
            _ => continue,
        };
        let group = mount.join(path.trim_start_matches('/'));
        // In a container the path may be the host's, and the mount the group itself: its ancestors up to the mount serve too.
        let ancestors = group.ancestors().take_while(|folder| folder.starts_with(&mount));
        least = ancestors.filter_map(|folder| left(folder, files)).chain(least).min();
    }
    least
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
}
