//! Advice for a user who may not use a file: the group that owns it, by name, or `sudo`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The groups of the machine to which users can be added. The group of a unit with `DynamicUser=`
/// is not among them: it is gone when the unit stops.
const GROUPS: &str = "/etc/group";

/// Returns what to do, in words that go on after "run the command": `with `sudo``, and where that
/// helps, as a member of which group.
pub(crate) fn remedy(path: &Path) -> String {
    let groups = fs::read(GROUPS).unwrap_or_default();
    remedy_in(&String::from_utf8_lossy(&groups), group(path))
}

fn remedy_in(groups: &str, group: Option<u32>) -> String {
    match group.and_then(|group| name_in(groups, group)) {
        Some(name) => format!(
            "with `sudo`, or as a member of the group `{name}`: `sudo usermod -aG {name} $USER`, and log in again"
        ),
        None => "with `sudo`".to_owned(),
    }
}

/// The group of the path, or of the nearest directory on the way to it that can be looked at. That
/// is the one that lets nobody else in. `None`: root's own, which nobody should be in.
fn group(path: &Path) -> Option<u32> {
    let metadata = path.ancestors().find_map(|path| fs::metadata(path).ok())?;
    Some(metadata.gid()).filter(|group| *group != 0)
}

fn name_in(groups: &str, group: u32) -> Option<String> {
    let is_it = |line: &&str| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(group);
    let name = groups.lines().find(is_it)?.split(':').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_named_where_one_can_join_it() {
        let groups = "root:x:0:\nbroken\ncron:x:998:ada\n";
        assert_eq!(
            remedy_in(groups, Some(998)),
            "with `sudo`, or as a member of the group `cron`: `sudo usermod -aG cron $USER`, and log in again"
        );
        // A group that lives as long as its unit.
        assert_eq!(remedy_in(groups, Some(64_000)), "with `sudo`");
        assert_eq!(remedy_in(groups, None), "with `sudo`");
    }
}
