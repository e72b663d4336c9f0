//! `notify:`, the receivers by name; and what an entry says of them and of its ping.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::super::defaults::DEFAULT_LATE_AFTER;
use super::super::diagnostic::Code;
use super::super::notify::{Address, Format, Receiver, SecretUrl, Trigger};
use super::super::place::shown;
use super::super::report::{Problem, Reported};
use super::super::shape::ReceiverKey;
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{MappingKey, Word, nearest};
use super::super::{Entry, ReceiverName};
use super::values::ExpectedValue;
use super::{Pair, Read, Slot, Validator};

const PLACES: &str =
    "write `https://…`, or where it is kept: `{ credential: NAME }`, `{ env: NAME }` or `{ file: PATH }`";

/// The receivers under `notify:`. Faulty ones are included, so that their entries are not reported
/// as well.
#[derive(Default)]
pub(super) struct Receivers {
    by_name: HashMap<String, Result<Arc<Receiver>, Reported>>,
    /// The names in the file's order, each with its place.
    names: Vec<(String, Range<usize>)>,
    /// The key itself is wrong, so that nothing is known of the receivers.
    unknown: Option<Reported>,
}

impl<'s> Validator<'s, '_> {
    pub(super) fn receivers(&mut self, slot: Slot<'_, 's>) -> Receivers {
        let mut receivers = Receivers::default();
        let pairs = match slot {
            Slot::Absent => return receivers,
            Slot::Reported(reported) => Err(reported),
            Slot::Given((_, node)) => self.pairs(node, "`notify`"),
        };
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(reported) => {
                receivers.unknown = Some(reported);
                return receivers;
            }
        };
        self.each_name(pairs, |this, pair| {
            let name = &*pair.0.0;
            let receiver = this.receiver(pair).map(Arc::new);
            receivers.by_name.insert(name.into(), receiver);
            receivers.names.push((name.into(), this.key_span(pair)));
        });
        receivers
    }

    /// Whoever no entry names is never told of anything.
    pub(super) fn warn_of_unnamed(&mut self, receivers: &Receivers, entries: &[Arc<Entry>]) {
        // In a file with errors it is unknown which receivers the entries name.
        if receivers.names.is_empty() || entries.is_empty() || self.report.has_errors() {
            return;
        }
        let told = entries.iter().filter_map(|entry| entry.notify.as_deref());
        let named: HashSet<&str> =
            told.flat_map(|notify| &notify.receivers).map(|receiver| receiver.name.as_str()).collect();
        for (name, place) in &receivers.names {
            if !named.contains(name.as_str()) {
                self.report.warning(Problem {
                    code: Code::UnusedReceiver,
                    span: Some(place.clone()),
                    message: format!(
                        "no entry names `{}`, so that it is never told of anything",
                        shown(name)
                    ),
                    help: format!(
                        "write `notify: {}` into an entry, or under `defaults` for all of them",
                        shown(name)
                    ),
                    related: None,
                });
            }
        }
    }

    fn receiver(&mut self, pair: Pair<'_, 's>) -> Result<Receiver, Reported> {
        let (key, node) = pair;
        let name = ReceiverName::new(&key.0).map_err(|error| {
            let help = "write a name such as `ops`";
            self.error(Code::BadName, self.key_span(pair), error.to_string(), help)
        });
        match &node.kind {
            NodeKind::Text(_) => {
                // The text is the address itself, most likely.
                self.report.hide(node.at.range());
                let message = "a receiver is a mapping, and this is text".into();
                return Err(self.wrong(
                    node,
                    message,
                    "write `webhook:` before it: `{ webhook: https://… }`",
                ));
            }
            NodeKind::Map(pairs) => {
                // So is what stands under a misspelt key.
                let unknown = pairs.iter().filter(|(key, _)| ReceiverKey::of(&key.0).is_none());
                unknown.for_each(|(_, value)| self.report.hide(value.at.range()));
            }
            NodeKind::Null | NodeKind::Bool(_) | NodeKind::Number | NodeKind::List(_) => {}
        }
        let fields = self.fields::<ReceiverKey>(node, ReceiverKey::OF)?;
        let webhook = match self.value(fields.slot(ReceiverKey::Webhook), Self::address) {
            Read::Good(webhook) => Ok(webhook),
            Read::Reported(reported) => Err(reported),
            Read::Absent => {
                let message = format!("the receiver `{}` has no `webhook`", shown(&key.0));
                Err(self.error(Code::MissingKey, self.key_span(pair), message, PLACES))
            }
        };
        let format = self.value(fields.slot(ReceiverKey::Format), Self::word);
        let on = self.value(fields.slot(ReceiverKey::On), Self::triggers);
        let late_after = self.value(fields.slot(ReceiverKey::LateAfter), Self::span_of_time);
        Ok(Receiver {
            name: name?,
            webhook: webhook?,
            format: format.unwrap_or(Format::default()),
            on: on.unwrap_or(Trigger::DEFAULT.into()),
            late_after: late_after.unwrap_or(DEFAULT_LATE_AFTER),
        })
    }

    fn triggers(&mut self, node: &TreeNode<'s>) -> Result<Vec<Trigger>, Reported> {
        let mut triggers = match &node.kind {
            NodeKind::List(items) => {
                // Every item is read before the first failure counts, so that all faults are
                // reported.
                let read: Vec<_> = items.iter().map(|item| self.word(item)).collect();
                read.into_iter().collect::<Result<Vec<Trigger>, Reported>>()?
            }
            _ => vec![self.word(node)?],
        };
        triggers.sort_unstable();
        triggers.dedup();
        if triggers.iter().all(|trigger| *trigger == Trigger::Recovered) {
            let (message, help) = match triggers.first() {
                None => (
                    "a receiver that is told of nothing",
                    "name what it is told of, or remove the key: then it is told of all",
                ),
                Some(_) => (
                    "a recovery is told only to whom the bad end before it was told",
                    "name at least one bad end beside: `[failed, recovered]`",
                ),
            };
            return Err(self.error_in(node, None, Code::BadReceiver, message.into(), help));
        }
        Ok(triggers)
    }

    /// An address, or where it is kept. What is wrong with it is told without repeating it.
    pub(super) fn address(&mut self, node: &TreeNode<'s>) -> Result<Address, Reported> {
        match &node.kind {
            NodeKind::Map(_) => {
                let help = "name one place: `{ credential: NAME }`, `{ env: NAME }` or `{ file: PATH }`";
                self.kept(node, "an address", help).map(Address::Kept)
            }
            NodeKind::Text(text) => {
                self.report.hide(node.at.range());
                match SecretUrl::new(text) {
                    Ok(url) => {
                        self.warn_of_plain_address(node, &url);
                        Ok(Address::Written(url))
                    }
                    Err(error) => Err(self.error_in(
                        node,
                        None,
                        Code::BadUrl,
                        format!("this is no address: {error}"),
                        PLACES,
                    )),
                }
            }
            _ => Err(self.unwanted(node, ExpectedValue("an address"), PLACES)),
        }
    }

    fn warn_of_plain_address(&mut self, node: &TreeNode<'s>, url: &SecretUrl) {
        if self.is_exposed(url.expose()) {
            self.report.warning(Problem {
                code: Code::PlainHttp,
                span: Some(node.at.range()),
                message: "the address and what is told would travel unencrypted".into(),
                help: "write `https`".into(),
                related: None,
            });
        }
    }

    /// The receivers that an entry names: one, or a list. An empty list is nobody.
    pub(super) fn named_receivers(
        &mut self,
        node: &TreeNode<'s>,
        receivers: &Receivers,
    ) -> Result<Vec<Arc<Receiver>>, Reported> {
        let named = match &node.kind {
            NodeKind::List(items) => {
                let read: Vec<_> = items.iter().map(|item| self.named_receiver(item, receivers)).collect();
                read.into_iter().collect::<Result<Vec<_>, Reported>>()?
            }
            _ => vec![self.named_receiver(node, receivers)?],
        };
        let mut once: Vec<Arc<Receiver>> = Vec::with_capacity(named.len());
        for receiver in named {
            if !once.iter().any(|known| known.name == receiver.name) {
                once.push(receiver);
            }
        }
        Ok(once)
    }

    fn named_receiver(
        &mut self,
        node: &TreeNode<'s>,
        receivers: &Receivers,
    ) -> Result<Arc<Receiver>, Reported> {
        let name = self.scalar(node, ExpectedValue("the name of a receiver, or a list of names"))?;
        if let Some(reported) = receivers.unknown {
            return Err(reported);
        }
        if let Some(receiver) = receivers.by_name.get(name) {
            return receiver.clone();
        }
        if name.contains("://") {
            self.report.hide(node.at.range());
            let message = "an entry names its receivers, and not their addresses".into();
            let help = "define it at the top level, as in `notify: { ops: { webhook: https://… } }`, and write `notify: ops`";
            return Err(self.error_in(node, None, Code::BadReceiver, message, help));
        }
        let help = match nearest(name, receivers.names.iter().map(|(name, _)| name.as_str())) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "define it at the top level, as in `notify: { ops: { webhook: https://… } }`".into(),
        };
        let message = format!("`{}` is no receiver of this file", shown(name));
        Err(self.error_in(node, None, Code::BadReceiver, message, help))
    }
}
