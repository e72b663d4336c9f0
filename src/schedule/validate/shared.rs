//! Values that many entries have in common, each of them read once and held once.
//!
//! Of 100,000 entries most run a job of the same few stacks, at one of 1,440 minutes of the day.
//! Held by each entry, expressions and stacks would take a third of the schedule's memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::{CronError, Expression, StackUid};

/// See the module.
#[derive(Default)]
pub(super) struct SharedValues {
    /// The expressions by their text, for entries with a single one.
    expressions: HashMap<String, Arc<[Expression]>>,
    stacks: HashSet<StackUid>,
}

impl SharedValues {
    /// The one expression of an entry, alone in its list.
    pub(super) fn expression(&mut self, text: &str) -> Result<Arc<[Expression]>, CronError> {
        if let Some(known) = self.expressions.get(text) {
            return Ok(Arc::clone(known));
        }
        let new: Arc<[Expression]> = [Expression::parse(text)?].into();
        self.expressions.insert(text.to_owned(), Arc::clone(&new));
        Ok(new)
    }

    /// The stack, as the first entry holds it that names it.
    pub(super) fn stack(&mut self, stack: StackUid) -> StackUid {
        match self.stacks.get(&stack) {
            Some(known) => known.clone(),
            None => {
                self.stacks.insert(stack.clone());
                stack
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::schedule::parse;

    #[test]
    fn entries_that_have_a_stack_or_an_expression_in_common_hold_it_once() {
        let text = "accounts: { main: { token: { env: T } } }\n\
                    jobs:\n  \
                      a: { stack: s, job: a, cron: '0 1 * * *' }\n  \
                      b: { stack: s, job: b, cron: '0 1 * * *' }\n  \
                      c: { stack: t, job: b, cron: '0 2 * * *' }\n";
        let entries = parse("test.yaml", text).expect("a valid file").schedule.entries;
        let [a, b, c] = &entries[..] else { panic!("three entries") };
        assert!(Arc::ptr_eq(&a.cron, &b.cron) && !Arc::ptr_eq(&a.cron, &c.cron));
        assert_eq!(a.stack.as_str().as_ptr(), b.stack.as_str().as_ptr());
        assert_eq!((c.stack.as_str(), c.cron[0].as_str()), ("t", "0 2 * * *"));
    }
}
