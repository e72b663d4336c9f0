//! From the text of a schedule file to its tree: the plain part of YAML by a reader of our own, all
//! else by the library.
//!
//! The library takes more than half of the time that a schedule of 100,000 entries takes to be read
//! and validated, for it knows all of YAML. Large files are written by programs, in a small part
//! of YAML, which [`plain`] reads in a twentieth of the time. Whatever it does not know for certain
//! goes to the library: the one block that is not plain, or the whole file. Every error comes from
//! the library, with the whole file before it.
//!
//! Both make the same tree of one text. A build with debug assertions, as each test runs in,
//! compares the two trees of every text that the plain reader takes.

mod library;
mod plain;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_yaml::Error;

use super::tree::TreeNode;

/// Reads a part of a text. Aliases and `<<` are resolved. Places are those in the whole text.
pub(super) fn parse(whole: &str, part: Range<usize>) -> Result<TreeNode<'_>, Error> {
    let by = u32::try_from(part.start).unwrap_or(u32::MAX);
    let text = whole.get(part).unwrap_or_default();
    let mut root = match plain::read(text) {
        Some(root) => {
            debug_assert!(
                library::read(text, 0).is_ok_and(|other| root.is_the_same(&other)),
                "the library reads another tree in {text:?}"
            );
            root
        }
        None => library::read(text, 0)?,
    };
    if by > 0 {
        root.shift(by);
    }
    Ok(root)
}
