//! `accounts:`, each with its address, token and quota.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;

use super::super::defaults::{DEFAULT_QUOTA, DEFAULT_TIMEOUT, DEFAULT_URL, LONGEST_TIMEOUT};
use super::super::diagnostic::Code;
use super::super::place::shown;
use super::super::report::{Problem, Reported};
use super::super::shape::{AccountKey, QuotaKey, TokenKey};
use super::super::tree::{NodeKind, TreeNode};
use super::super::words::{MappingKey, Word};
use super::super::{Account, AccountName, ArgsIn, QuotaSettings, Reserve, Shard, ShardName, TokenSource};
use super::values::ExpectedValue;
use super::{Pair, Read, Slot, Validator};

/// The accounts under `accounts:`. Faulty ones are included, so that their entries are not reported
/// as well.
#[derive(Default)]
pub(super) struct KnownAccounts {
    all: Vec<(String, Result<Arc<Account>, Reported>)>,
    by_name: HashMap<String, usize>,
    /// The key itself is wrong, so that nothing is known of the accounts.
    pub unknown: Option<Reported>,
}

impl KnownAccounts {
    pub(super) fn get(&self, name: &str) -> Option<&Result<Arc<Account>, Reported>> {
        self.by_name.get(name).map(|at| &self.all[*at].1)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(name, _)| name.as_str())
    }

    /// The account of an entry that names none.
    pub(super) fn only(&self) -> Option<&Result<Arc<Account>, Reported>> {
        match &self.all[..] {
            [(_, only)] => Some(only),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn sound(self) -> Vec<Arc<Account>> {
        self.all.into_iter().filter_map(|(_, account)| account.ok()).collect()
    }
}

impl<'s> Validator<'s, '_> {
    pub(super) fn accounts(&mut self, slot: Slot<'_, 's>) -> KnownAccounts {
        let mut accounts = KnownAccounts::default();
        let pairs = match slot {
            Slot::Absent => return accounts,
            Slot::Reported(reported) => Err(reported),
            Slot::Given((_, node)) => self.pairs(node, "`accounts`"),
        };
        let pairs = match pairs {
            Ok(pairs) => pairs,
            Err(reported) => {
                accounts.unknown = Some(reported);
                return accounts;
            }
        };
        self.each_name(pairs, |this, pair| {
            let name = &*pair.0.0;
            let account = this.account(pair).map(Arc::new);
            this.places.account(this.key_span(pair));
            accounts.by_name.insert(name.into(), accounts.all.len());
            accounts.all.push((name.into(), account));
        });
        accounts
    }

    fn account(&mut self, pair: Pair<'_, 's>) -> Result<Account, Reported> {
        let (key, node) = pair;
        let name = AccountName::new(&key.0).map_err(|error| {
            let help = "write a name such as `main`";
            self.error(Code::BadName, self.key_span(pair), error.to_string(), help)
        });
        let fields = self.fields::<AccountKey>(node, AccountKey::OF)?;
        let url = match self.value(fields.slot(AccountKey::Url), Self::url) {
            Read::Absent => Url::parse(DEFAULT_URL).map_err(|error| {
                self.error(Code::BadUrl, self.key_span(pair), error.to_string(), "name a `url`")
            }),
            Read::Good(url) => Ok(url),
            Read::Reported(reported) => Err(reported),
        };
        let token = match self.value(fields.slot(AccountKey::Token), Self::token) {
            Read::Absent => {
                let message = format!("the account `{}` has no `token`", shown(&key.0));
                let help = "say where it is kept: `token: { credential: cloud66-token }`, `{ env: NAME }` or `{ file: PATH }`";
                Err(self.error(Code::MissingKey, self.key_span(pair), message, help))
            }
            Read::Good(token) => Ok(token),
            Read::Reported(reported) => Err(reported),
        };
        let timeout = match self.value(fields.slot(AccountKey::Timeout), Self::timeout) {
            Read::Absent => Ok(DEFAULT_TIMEOUT),
            Read::Good(timeout) => Ok(timeout),
            Read::Reported(reported) => Err(reported),
        };
        let quota = match fields.slot(AccountKey::Quota) {
            Slot::Absent => Ok(DEFAULT_QUOTA),
            Slot::Reported(reported) => Err(reported),
            Slot::Given((_, node)) => self.quota(node),
        };
        let shard = match self.value(fields.slot(AccountKey::Shard), Self::shard) {
            Read::Absent => Ok(Shard::Common),
            Read::Good(name) => Ok(Shard::Named(name)),
            Read::Reported(reported) => Err(reported),
        };
        let args_in = match self.value(fields.slot(AccountKey::ArgsIn), Self::word) {
            Read::Absent => Ok(ArgsIn::default()),
            Read::Good(args_in) => Ok(args_in),
            Read::Reported(reported) => Err(reported),
        };
        let organization = match self.value(fields.slot(AccountKey::Organization), Self::organization) {
            Read::Absent => Ok(None),
            Read::Good(number) => Ok(Some(number)),
            Read::Reported(reported) => Err(reported),
        };
        Ok(Account {
            name: name?,
            url: url?,
            token: token?,
            timeout: timeout?,
            quota: quota?,
            shard: shard?,
            args_in: args_in?,
            organization: organization?,
        })
    }

    fn timeout(&mut self, node: &TreeNode<'s>) -> Result<Duration, Reported> {
        let timeout = self.span_of_time(node)?;
        if timeout > LONGEST_TIMEOUT {
            let message = "a request that may take longer than 5 minutes".into();
            let help = "write `5m` or less: `timeout` bounds one request, and the run that it starts is followed apart";
            return Err(self.error_in(node, None, Code::BadDuration, message, help));
        }
        Ok(timeout)
    }

    fn organization(&mut self, node: &TreeNode<'s>) -> Result<u64, Reported> {
        let text = self.scalar(node, ExpectedValue("the number of an organisation"))?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number > 0).ok_or_else(|| {
            let message = format!("`{}` is no number of an organisation", shown(text));
            let help = "write the number that Cloud 66 gives it (`account_id` of its stacks), such as `1234`";
            self.error_in(node, None, Code::BadNumber, message, help)
        })
    }

    fn shard(&mut self, node: &TreeNode<'s>) -> Result<ShardName, Reported> {
        let text = self.scalar(node, ExpectedValue("the name of a shard"))?;
        ShardName::new(text).map_err(|error| {
            let help = "write a name such as `east`; accounts of one name are led together";
            self.error_in(node, None, Code::BadName, error.to_string(), help.to_owned())
        })
    }

    fn url(&mut self, node: &TreeNode<'s>) -> Result<Url, Reported> {
        let text = self.scalar(node, ExpectedValue("an address"))?;
        let help = format!("write it as in `{DEFAULT_URL}`");
        let mut url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => {
                // The text is not repeated: it may have credentials in it.
                if text.contains('@') {
                    self.report.hide(node.at.range());
                }
                let message = format!("this is no address: {error}");
                return Err(self.error_in(node, None, Code::BadUrl, message, help));
            }
        };
        let (message, help) = if !matches!(url.scheme(), "http" | "https") {
            (format!("`{}` is neither http nor https", shown(url.scheme())), help)
        } else if !url.username().is_empty() || url.password().is_some() {
            self.report.hide(node.at.range());
            (
                "an address with credentials in it".into(),
                "remove them: the token is named under `token`".into(),
            )
        } else if url.query().is_some() || url.fragment().is_some() {
            ("an address with a query or a fragment".into(), "end it with the path, as in `/api/3`".into())
        } else {
            let path = url.path().trim_end_matches('/').to_owned();
            url.set_path(&path);
            self.warn_of_plain_http(node, &url);
            return Ok(url);
        };
        Err(self.error_in(node, None, Code::BadUrl, message, help))
    }

    /// Returns true when requests to an address can be read on their way.
    pub(super) fn is_exposed(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let loopback = host == "localhost" || host.starts_with("127.") || host == "[::1]";
        url.scheme() == "http" && !loopback
    }

    fn warn_of_plain_http(&mut self, node: &TreeNode<'s>, url: &Url) {
        if self.is_exposed(url) {
            self.report.warning(Problem {
                code: Code::PlainHttp,
                span: Some(node.at.range()),
                message: "the token would travel unencrypted".into(),
                help: "write `https`".into(),
                related: None,
            });
        }
    }

    fn token(&mut self, node: &TreeNode<'s>) -> Result<TokenSource, Reported> {
        let help = "name one place: `{ credential: NAME }`, `{ env: NAME }` or `{ file: PATH }`";
        if let NodeKind::Text(_) | NodeKind::Number | NodeKind::Bool(_) = node.kind {
            // The text is the token itself, most likely.
            self.report.hide(node.at.range());
            let message = "a token is not written into the file, but where it is kept".into();
            return Err(self.error_in(node, None, Code::BadToken, message, help));
        }
        self.kept(node, "a token", help)
    }

    /// Reads the place in which a secret is kept, one of three. `what` names the secret in a
    /// message.
    pub(super) fn kept(
        &mut self,
        node: &TreeNode<'s>,
        what: &str,
        help: &str,
    ) -> Result<TokenSource, Reported> {
        let fields = self.fields::<TokenKey>(node, what)?;
        let mut places = Vec::new();
        for (_, key) in TokenKey::ALL {
            match self.value(fields.slot(*key), |this, node| this.token_place(*key, node)) {
                Read::Absent => {}
                Read::Good(place) => places.push(Ok(place)),
                Read::Reported(reported) => places.push(Err(reported)),
            }
        }
        if places.len() > 1 {
            let message = format!("{what} that is kept in several places");
            return Err(self.error_in(node, None, Code::BadToken, message, help));
        }
        places.pop().unwrap_or_else(|| {
            let message = format!("{what} that is kept nowhere");
            Err(self.error_in(node, None, Code::BadToken, message, help))
        })
    }

    fn token_place(&mut self, key: TokenKey, node: &TreeNode<'s>) -> Result<TokenSource, Reported> {
        let text = self.scalar(node, ExpectedValue("a name"))?;
        let has = |refused: &[char]| text.contains(|c: char| c.is_control() || refused.contains(&c));
        let (sound, what, help) = match key {
            TokenKey::Credential => (
                !text.is_empty() && !has(&['/']) && text != "." && text != "..",
                "the name of a credential",
                "write the name that the unit gives it: `LoadCredential=NAME:PATH`",
            ),
            TokenKey::Env => (
                !text.is_empty() && !has(&['=']),
                "the name of an environment variable",
                "write the name alone, as in `CLOUD66_TOKEN`",
            ),
            TokenKey::File => (!text.is_empty() && !has(&[]), "a path", "write the path of a file"),
        };
        if !sound {
            // The text may be the token itself.
            self.report.hide(node.at.range());
            let message = format!("this is not {what}");
            return Err(self.error_in(node, None, Code::BadToken, message, help));
        }
        Ok(match key {
            TokenKey::Credential => TokenSource::Credential(text.into()),
            TokenKey::Env => TokenSource::Env(text.into()),
            TokenKey::File => TokenSource::File(text.into()),
        })
    }

    fn quota(&mut self, node: &TreeNode<'s>) -> Result<QuotaSettings, Reported> {
        let fields = self.fields::<QuotaKey>(node, QuotaKey::OF)?;
        let limit = self.value(fields.slot(QuotaKey::Limit), Self::limit);
        let window = self.value(fields.slot(QuotaKey::Window), Self::span_of_time);
        let reserve = self.value(fields.slot(QuotaKey::Reserve), Self::reserve);
        // A bad limit or reserve says nothing of the other one.
        if let (Read::Reported(reported), _) | (_, Read::Reported(reported)) = (&limit, &reserve) {
            return Err(*reported);
        }
        let quota = QuotaSettings {
            limit: limit.unwrap_or(DEFAULT_QUOTA.limit),
            window: window.unwrap_or(DEFAULT_QUOTA.window),
            reserve: reserve.unwrap_or(DEFAULT_QUOTA.reserve),
        };
        if quota.reserve.of(quota.limit) >= quota.limit {
            let given = |key| match fields.slot(key) {
                Slot::Given((_, node)) => Some(node.at.range()),
                Slot::Absent | Slot::Reported(_) => None,
            };
            let span: Range<usize> =
                given(QuotaKey::Reserve).or_else(|| given(QuotaKey::Limit)).unwrap_or(node.at.range());
            let message = format!(
                "a reserve of {} leaves nothing of a limit of {}",
                match quota.reserve {
                    Reserve::Requests(requests) => requests.to_string(),
                    Reserve::Percent(percent) => format!("{percent}%"),
                },
                quota.limit
            );
            let help = "write a `reserve` that is smaller than the `limit`, or `reserve: 0`";
            return Err(self.error(Code::BadNumber, span, message, help));
        }
        Ok(quota)
    }

    fn limit(&mut self, node: &TreeNode<'s>) -> Result<u32, Reported> {
        let help = "write the number of requests in a window, such as `3600`";
        if !matches!(node.kind, NodeKind::Number) {
            return Err(self.unwanted(node, ExpectedValue("a number"), help));
        }
        let digits = self.scalar(node, ExpectedValue("a number"))?;
        match digits.parse() {
            Ok(limit) if limit > 0 => Ok(limit),
            _ => {
                let message = format!("`{}` is no whole number from 1 to {}", shown(digits), u32::MAX);
                Err(self.error_in(node, None, Code::BadNumber, message, help))
            }
        }
    }

    fn reserve(&mut self, node: &TreeNode<'s>) -> Result<Reserve, Reported> {
        let text = self.scalar(node, ExpectedValue("a number or a percentage"))?;
        let reserve = match (text.strip_suffix('%'), &node.kind) {
            (Some(share), _) => percent(share.trim_end()).map(Reserve::Percent),
            (None, NodeKind::Number) => text.parse().ok().map(Reserve::Requests),
            (None, _) => None,
        };
        reserve.ok_or_else(|| {
            let message = format!("`{}` is neither a number of requests nor a percentage", shown(text));
            let help = "write it as in `180`, or `5%` (0% to 100%)";
            self.error_in(node, None, Code::BadNumber, message, help)
        })
    }
}

/// A share from 0 to 100, written with digits and at most one point.
fn percent(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let share: f64 = text.parse().ok().filter(|_| plain)?;
    (0.0..=100.0).contains(&share).then_some(share)
}
