//! The files of a schedule as one: `jobs` may stand in each of them, every other key in one alone.
//!
//! Example: `00-accounts.yaml` has `accounts` and `defaults`, `shop.yaml` and `blog.yaml` have
//! `jobs`. The entries of `blog.yaml` come first, by the order of the names of the files. A third
//! file with `defaults` is an error that names both places.

use super::super::diagnostic::Code;
use super::super::report::{Problem, Reported};
use super::super::shape::FileKey;
use super::super::tree::NodeKind;
use super::super::words::{MappingKey, Word};
use super::{Fields, Root, Slot, Validator};

/// The keys of all files, and `jobs` of each of them.
type Joined<'n, 's> = (Fields<'n, 's, FileKey>, Vec<Slot<'n, 's>>);

impl<'s> Validator<'s, '_> {
    /// Joins the keys of the files.
    ///
    /// # Errors
    /// When one of several files says nothing, or is no mapping.
    pub(super) fn joined<'n>(&mut self, roots: &'n [Root<'s>]) -> Result<Joined<'n, 's>, Reported> {
        let mut whole = Fields::none();
        let mut jobs = Vec::with_capacity(roots.len());
        let mut wrong = None;
        for root in roots {
            if roots.len() > 1 && matches!(root.node.kind, NodeKind::Null) {
                wrong = Some(self.says_nothing(root));
                continue;
            }
            let fields = match self.fields::<FileKey>(&root.node, FileKey::OF) {
                Ok(fields) => fields,
                Err(reported) => {
                    wrong = Some(reported);
                    continue;
                }
            };
            jobs.push(fields.slot(FileKey::Jobs));
            for (_, key) in FileKey::ALL.iter().filter(|(_, key)| *key != FileKey::Jobs) {
                match (whole.slot(*key), fields.slot(*key)) {
                    (Slot::Given(first), Slot::Given(second)) => {
                        self.report.error(Problem {
                            code: Code::DuplicateKey,
                            span: Some(self.key_span(second)),
                            message: format!("`{}` stands in two files", key.word()),
                            help: "move what it has to the other place: one file of a directory has it"
                                .into(),
                            related: Some((self.key_span(first), "the first one".into())),
                        });
                    }
                    (Slot::Absent | Slot::Reported(_), slot @ (Slot::Given(_) | Slot::Reported(_))) => {
                        whole.slots[key.index()] = slot;
                    }
                    (_, Slot::Absent) | (Slot::Given(_), Slot::Reported(_)) => {}
                }
            }
        }
        match wrong {
            Some(reported) => Err(reported),
            None => Ok((whole, jobs)),
        }
    }

    /// One of several files that was truncated must not take its entries out of the schedule.
    fn says_nothing(&mut self, root: &Root<'s>) -> Reported {
        let at = root.part.start..root.part.start;
        let message = "the file says nothing: it is empty, or has comments alone".to_owned();
        let help = "write its entries under `jobs:`, or remove the file";
        self.error(Code::MissingKey, at, message, help)
    }
}
