//! From the tree to a schedule: every rule of the format, and every breach of one at its place.
//!
//! Nothing is reported twice: who meets a value that was reported holds a [`Reported`] and says no
//! more of it.

mod accounts;
mod calendars;
mod duplicates;
mod entries;
mod files;
mod links;
mod receivers;
mod shared;
mod values;
mod zones;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;

use jiff::tz::TimeZone;

use self::shared::SharedValues;
use self::values::ExpectedValue;
use super::Schedule;
use super::content::CalendarFiles;
use super::diagnostic::Code;
use super::origin::Places;
use super::place::shown;
use super::report::{Problem, ProblemReport, Reported};
use super::shape::{FileKey, MOST_KEYS};
use super::sources::Sources;
use super::tree::{self, NodeKind, TreeNode};
use super::words::{MappingKey, nearest};

/// Keys at the top level that begin so are a place for anchors, and mean nothing.
const EXTENSION: &str = "x-";

/// The tree of one file of the schedule.
pub(super) struct Root<'s> {
    pub node: TreeNode<'s>,
    /// The positions of the file's text.
    pub part: Range<usize>,
}

/// Builds the schedule of its files, and the places of its parts. They are of use only when nothing
/// was reported as an error. Calendar files that are named come from `files`, and their texts are
/// added to `sources`.
pub(super) fn schedule(
    roots: &[Root<'_>],
    source: &str,
    files: &mut CalendarFiles,
    sources: &mut Sources,
    report: &mut ProblemReport,
) -> (Schedule, Places) {
    let places = Places::default();
    let (zones, shared) = (HashMap::new(), SharedValues::default());
    let mut validator = Validator { source, report, files, sources, zones, shared, places };
    let schedule = validator.whole(roots);
    (schedule, validator.places)
}

struct Validator<'s, 'r> {
    source: &'s str,
    report: &'r mut ProblemReport,
    /// The files that calendars name.
    files: &'r mut CalendarFiles,
    /// Receives the texts of those files, so that a fault in one has a place.
    sources: &'r mut Sources,
    /// Cache of zones by name: the zone, or the text to write instead.
    zones: HashMap<String, Result<TimeZone, String>>,
    /// Expressions and stacks that entries have in common.
    shared: SharedValues,
    /// The places of the entries and their expressions, in the file's order.
    places: Places,
}

/// A key and its value.
type Pair<'n, 's> = &'n (tree::TreeKey<'s>, TreeNode<'s>);

/// The outcome of reading a key of a mapping.
#[derive(Clone, Copy)]
enum Slot<'n, 's> {
    Absent,
    Given(Pair<'n, 's>),
    /// The key is misspelt, or has another fault that was reported.
    Reported(Reported),
}

/// A mapping's values by key.
struct Fields<'n, 's, K> {
    slots: [Slot<'n, 's>; MOST_KEYS],
    keys: PhantomData<K>,
}

impl<'n, 's, K: MappingKey> Fields<'n, 's, K> {
    fn none() -> Self {
        Fields { slots: [Slot::Absent; MOST_KEYS], keys: PhantomData }
    }

    fn slot(&self, key: K) -> Slot<'n, 's> {
        self.slots[key.index()]
    }
}

/// The names that an entry may refer to.
#[derive(Clone, Copy)]
struct KnownNames<'k> {
    accounts: &'k accounts::KnownAccounts,
    receivers: &'k receivers::Receivers,
    calendars: &'k calendars::Calendars,
}

/// A value that was asked for.
enum Read<T> {
    Absent,
    Good(T),
    Reported(Reported),
}

impl<T> Read<T> {
    /// The value, and what is made instead where there is none that is good.
    fn unwrap_or_else(self, other: impl FnOnce() -> T) -> T {
        match self {
            Read::Good(value) => value,
            Read::Absent | Read::Reported(_) => other(),
        }
    }

    /// The value, and the other one where there is none that is good.
    fn unwrap_or(self, other: T) -> T {
        match self {
            Read::Good(value) => value,
            Read::Absent | Read::Reported(_) => other,
        }
    }
}

impl<'s> Validator<'s, '_> {
    fn whole(&mut self, roots: &[Root<'s>]) -> Schedule {
        let Ok((fields, jobs)) = self.joined(roots) else {
            return Schedule::default();
        };
        let timezone = self.value(fields.slot(FileKey::Timezone), Self::timezone);
        let accounts = self.accounts(fields.slot(FileKey::Accounts));
        let receivers = self.receivers(fields.slot(FileKey::Notify));
        let timezone = timezone.unwrap_or(TimeZone::UTC);
        let calendars = self.calendars(fields.slot(FileKey::Calendars), &timezone);
        let base = entries::Policies::of_file(timezone, &accounts);
        let known = KnownNames { accounts: &accounts, receivers: &receivers, calendars: &calendars };
        let base = self.defaults(fields.slot(FileKey::Defaults), base, known);
        let entries = self.jobs(&jobs, roots, &base, known);
        self.warn_of_unnamed(&receivers, &entries);
        self.warn_of_unused(&calendars, &entries);
        Schedule { accounts: accounts.sound(), entries }
    }

    /// Sorts a mapping's values by their keys. Nothing at all is an empty mapping. `what` is what
    /// it is in a message.
    fn fields<'n, K: MappingKey>(
        &mut self,
        node: &'n TreeNode<'s>,
        what: &str,
    ) -> Result<Fields<'n, 's, K>, Reported> {
        let mut fields = Fields::none();
        for pair in self.pairs(node, what)? {
            if self.report.is_full() {
                break;
            }
            let (key, _) = pair;
            let Some(known) = K::of(&key.0) else {
                self.unknown_key(pair, &mut fields);
                continue;
            };
            let slot = &mut fields.slots[known.index()];
            match *slot {
                Slot::Given(first) => {
                    self.duplicate_key(first, pair);
                }
                Slot::Absent | Slot::Reported(_) => *slot = Slot::Given(pair),
            }
        }
        Ok(fields)
    }

    /// A mapping's keys and values. `what` is what it is in a message.
    fn pairs<'n>(
        &mut self,
        node: &'n TreeNode<'s>,
        what: &str,
    ) -> Result<&'n [(tree::TreeKey<'s>, TreeNode<'s>)], Reported> {
        match &node.kind {
            NodeKind::Map(pairs) => Ok(pairs),
            NodeKind::Null => Ok(&[]),
            _ => {
                let message = format!("{what} is a mapping, and this is {}", node.described());
                Err(self.wrong(node, message, "write `key: value` lines, indented alike"))
            }
        }
    }

    fn unknown_key<K: MappingKey>(&mut self, pair: Pair<'_, 's>, fields: &mut Fields<'_, 's, K>) {
        let word = &*pair.0.0;
        // At the top level alone: the file is the one mapping that a whole document is.
        if K::OF == FileKey::OF && word.starts_with(EXTENSION) {
            return;
        }
        let nearest = nearest(word, K::ALL.iter().map(|(word, _)| *word));
        let help = match nearest {
            Some(key) => format!("did you mean `{key}`?"),
            None => format!("the keys of {} are {}", K::OF, K::listed()),
        };
        let message = match word {
            "" => format!("an empty key is no key of {}", K::OF),
            _ => format!("`{}` is no key of {}", shown(word), K::OF),
        };
        let reported = self.error(Code::UnknownKey, self.key_span(pair), message, help);
        // The key that was meant is not missing as well.
        if let Some(key) = nearest.and_then(K::of)
            && let slot @ Slot::Absent = &mut fields.slots[key.index()]
        {
            *slot = Slot::Reported(reported);
        }
    }

    /// Reads what stands under each name of a mapping. A name that stands there again is an error,
    /// and is not read.
    fn each_name<'n>(
        &mut self,
        pairs: impl IntoIterator<Item = Pair<'n, 's>, IntoIter: ExactSizeIterator>,
        mut read: impl FnMut(&mut Self, Pair<'n, 's>),
    ) where
        's: 'n,
    {
        let pairs = pairs.into_iter();
        let mut first: HashMap<&str, Pair<'n, 's>> = HashMap::with_capacity(pairs.len());
        for pair in pairs {
            if self.report.is_full() {
                break;
            }
            match first.insert(&pair.0.0, pair) {
                Some(first) => {
                    self.duplicate_key(first, pair);
                }
                None => read(self, pair),
            }
        }
    }

    fn duplicate_key(&mut self, first: Pair<'_, 's>, second: Pair<'_, 's>) -> Reported {
        let name = shown(&second.0.0);
        let places = (self.key_span(first).start, self.key_span(second).start);
        let (message, help) = match self.sources.share_a_file(places.0, places.1) {
            true => (format!("`{name}` stands here twice"), "remove one of the two"),
            false => (
                format!("`{name}` stands in two files"),
                "remove one of the two, or give one of them another name",
            ),
        };
        self.report.error(Problem {
            code: Code::DuplicateKey,
            span: Some(self.key_span(second)),
            message,
            help: help.into(),
            related: Some((self.key_span(first), "the first one".into())),
        })
    }

    /// Reads the value of a key with a reader of its type.
    fn value<'n, T>(
        &mut self,
        slot: Slot<'n, 's>,
        read: impl FnOnce(&mut Self, &'n TreeNode<'s>) -> Result<T, Reported>,
    ) -> Read<T> {
        let pair = match slot {
            Slot::Absent => return Read::Absent,
            Slot::Reported(reported) => return Read::Reported(reported),
            Slot::Given(pair) => pair,
        };
        if matches!(pair.1.kind, NodeKind::Null) {
            let message = format!("`{}` has no value", shown(&pair.0.0));
            let help = "give it one, or remove the key";
            return Read::Reported(self.error(Code::WrongType, self.key_span(pair), message, help));
        }
        match read(self, &pair.1) {
            Ok(value) => Read::Good(value),
            Err(reported) => Read::Reported(reported),
        }
    }

    /// A key's bytes; where escapes hide it, its value's.
    fn key_span(&self, pair: Pair<'_, 's>) -> Range<usize> {
        let (key, value) = pair;
        key.place(self.source).unwrap_or(value.used.range())
    }

    fn error(
        &mut self,
        code: Code,
        span: Range<usize>,
        message: String,
        help: impl Into<String>,
    ) -> Reported {
        self.report.error(Problem { code, span: Some(span), message, help: help.into(), related: None })
    }

    /// An error in a value, or in a part of a scalar. An alias is named beside.
    fn error_in(
        &mut self,
        node: &TreeNode<'s>,
        part: Option<Range<usize>>,
        code: Code,
        message: String,
        help: impl Into<String>,
    ) -> Reported {
        let part = part.and_then(|part| node.part(self.source, part));
        self.report.error(Problem {
            code,
            span: Some(part.unwrap_or(node.at.range())),
            message,
            help: help.into(),
            related: (node.used != node.at).then(|| (node.used.range(), "used here".into())),
        })
    }

    /// A value of another type.
    fn wrong(&mut self, node: &TreeNode<'s>, message: String, help: impl Into<String>) -> Reported {
        self.error_in(node, None, Code::WrongType, message, help)
    }

    /// A value that should have been something else.
    fn unwanted(&mut self, node: &TreeNode<'s>, wanted: ExpectedValue, help: impl Into<String>) -> Reported {
        let message = format!("expected {}, found {}", wanted.0, node.described());
        self.wrong(node, message, help)
    }
}
