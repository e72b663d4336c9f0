//! The chain of names that leads to a file: each name on its path, and on the paths of the symbolic
//! links along the way.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Symbolic links that are followed. The system follows no more than these.
const MOST_LINKS: usize = 40;

/// A name in a directory. Who changes what it stands for may change what the path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainLink {
    /// Without symbolic links in it.
    pub(super) directory: PathBuf,
    pub(super) name: OsString,
    /// True for the file itself, false for a name on the way to the file.
    pub(super) last: bool,
}

impl ChainLink {
    /// Whether it is the file itself, and no directory of files.
    pub(super) fn is_file(&self) -> bool {
        self.last && !self.directory.join(&self.name).is_dir()
    }
}

/// Every name that leads to the file, in the order in which they are met.
pub(super) fn of(path: &Path) -> io::Result<Vec<ChainLink>> {
    let path = std::path::absolute(path)?;
    let mut rest: VecDeque<PathBuf> = parts(&path).collect();
    let mut at = PathBuf::new();
    let (mut chain, mut links) = (Vec::new(), 0);
    while let Some(part) = rest.pop_front() {
        match part.components().next() {
            Some(Component::RootDir) => at = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                at.pop();
            }
            Some(Component::Normal(name)) => {
                let next = at.join(name);
                let target = std::fs::read_link(&next).ok().filter(|_| links < MOST_LINKS);
                let last = rest.is_empty() && target.is_none();
                chain.push(ChainLink { directory: at.clone(), name: name.to_owned(), last });
                match target {
                    Some(target) => {
                        links += 1;
                        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                            rest.push_front(part);
                        }
                    }
                    None => at = next,
                }
            }
            Some(Component::CurDir | Component::Prefix(_)) | None => {}
        }
    }
    Ok(chain)
}

fn parts(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    path.components().map(|part| PathBuf::from(part.as_os_str()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_name_on_the_way_is_met_with_those_behind_symbolic_links() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("its path");
        std::fs::create_dir(root.join("..v1")).expect("a directory");
        std::fs::write(root.join("..v1/schedule.yaml"), "").expect("a file");
        symlink("..v1", root.join("..data")).expect("a link");
        symlink("..data/schedule.yaml", root.join("schedule.yaml")).expect("a link");
        let chain = of(&root.join("schedule.yaml")).expect("a chain");
        let within: Vec<(String, bool)> = chain
            .iter()
            .filter_map(|link| {
                let path = link.directory.join(&link.name);
                Some((path.strip_prefix(&root).ok()?.display().to_string(), link.last))
            })
            .filter(|(path, _)| !path.is_empty())
            .collect();
        let expected =
            [("schedule.yaml", false), ("..data", false), ("..v1", false), ("..v1/schedule.yaml", true)];
        assert_eq!(within, expected.map(|(path, last)| (path.to_owned(), last)));
        assert!(chain[0].directory == Path::new("/"), "from the root on: {chain:?}");
    }

    #[test]
    fn links_in_a_circle_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("round");
        symlink("round", &path).expect("a link");
        assert!(of(&path).expect("a chain").len() < 60);
    }
}
