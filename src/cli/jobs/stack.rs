//! Finds the stack that a uid or a name means. What could be several is an error, never a guess.

use std::fmt;

use crate::cloud66::Stack;
use crate::online::{Nearest, nearest};
use crate::schedule::{StackUid, one_line};

/// The stack that was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Chosen {
    pub uid: StackUid,
    /// `None` of a stack that the token's list does not have, and that may be asked about all the same.
    pub name: Option<String>,
    pub environment: Option<String>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or(self.uid.as_str()))?;
        if let Some(environment) = &self.environment {
            write!(f, " ({environment})")?;
        }
        match &self.name {
            Some(_) => write!(f, ", uid {}", self.uid),
            None => Ok(()),
        }
    }
}

/// No stack, or several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum StackError {
    /// Several have the name.
    #[error("several stacks are named `{name}`: {}; say which with --environment, or write its uid", candidates.join("; "))]
    Ambiguous {
        /// The name that was asked for.
        name: String,
        /// Each with its environment and uid.
        candidates: Vec<String>,
    },
    /// The name is known, in another environment.
    #[error("no stack `{name}` is in the environment `{environment}`; there is {}", candidates.join("; "))]
    OtherEnvironment {
        /// The name that was asked for.
        name: String,
        /// The name that was asked for.
        environment: String,
        /// Each with its environment and uid.
        candidates: Vec<String>,
    },
    /// Neither a uid nor a name of a stack.
    #[error("the token sees no stack `{name}`{help}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The remedy, with the name that was probably meant.
        help: String,
    },
    /// A uid that would not fit into a path.
    #[error("the stack `{0}` has a uid that is none: see it in Cloud 66")]
    BadUid(String),
}

/// Stacks that are named where none comes near.
const NAMED: usize = 8;

impl StackError {
    /// A stack that is not there, and what was probably meant.
    pub(in crate::cli) fn unknown(name: &str, stacks: &[Stack]) -> StackError {
        let help = match nearest(name, stacks, |stack| [stack.uid.clone(), stack.name.clone()]) {
            Nearest::Near(near) => format!("; did you mean {}?", shown(near)),
            _ if stacks.is_empty() => "; it sees none at all".to_owned(),
            _ => {
                let more = stacks.len().saturating_sub(NAMED);
                let more = if more == 0 { String::new() } else { format!("; and {more} more") };
                let named: Vec<String> = stacks.iter().take(NAMED).map(shown).collect();
                format!("; it sees {}{more}", named.join("; "))
            }
        };
        StackError::Unknown { name: one_line(name), help }
    }
}

fn shown(stack: &Stack) -> String {
    one_line(&format!("`{}` ({}), uid {}", stack.name, stack.environment, stack.uid))
}

/// The stack of a uid, or of a name in an environment.
pub(in crate::cli) fn choose(
    wanted: &str,
    environment: Option<&str>,
    stacks: &[Stack],
) -> Result<Chosen, StackError> {
    let mut named: Vec<&Stack> = stacks.iter().filter(|stack| stack.uid == wanted).collect();
    if named.is_empty() {
        named = stacks.iter().filter(|stack| stack.name == wanted).collect();
    }
    let is_there =
        |stack: &&Stack| environment.is_none_or(|wanted| stack.environment.eq_ignore_ascii_case(wanted));
    let fitting: Vec<&Stack> = named.iter().copied().filter(is_there).collect();
    let candidates = |stacks: &[&Stack]| stacks.iter().map(|stack| shown(stack)).collect();
    match (&fitting[..], environment) {
        ([one], _) => Ok(Chosen {
            uid: StackUid::new(&one.uid).map_err(|_| StackError::BadUid(one_line(&one.uid)))?,
            name: Some(one.name.clone()),
            environment: Some(one.environment.clone()).filter(|environment| !environment.is_empty()),
        }),
        ([], Some(environment)) if !named.is_empty() => Err(StackError::OtherEnvironment {
            name: one_line(wanted),
            environment: one_line(environment),
            candidates: candidates(&named),
        }),
        // The list may be of one organisation alone, so that a uid that is not in it is asked about all the same.
        ([], None) => match StackUid::new(wanted) {
            Ok(uid) => Ok(Chosen { uid, name: None, environment: None }),
            Err(_) => Err(StackError::unknown(wanted, stacks)),
        },
        ([], Some(_)) => Err(StackError::unknown(wanted, stacks)),
        (several, _) => {
            Err(StackError::Ambiguous { name: one_line(wanted), candidates: candidates(several) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks() -> Vec<Stack> {
        let stack = |uid: &str, name: &str, environment: &str| Stack {
            uid: uid.into(),
            name: name.into(),
            environment: environment.into(),
            deploying: false,
            maintenance: false,
        };
        vec![
            stack("u1", "web", "production"),
            stack("u2", "web", "staging"),
            stack("u3", "My API", "production"),
            stack("u4", "twin", "production"),
            stack("u5", "twin", "production"),
            // A name that is another stack's uid: the uid goes before.
            stack("u6", "u1", "staging"),
        ]
    }

    fn chosen(wanted: &str, environment: Option<&str>) -> Result<String, String> {
        let chosen = choose(wanted, environment, &stacks());
        chosen.map(|chosen| chosen.uid.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_uid_or_a_name_that_one_stack_has_is_that_stack() {
        assert_eq!(chosen("u2", None).as_deref(), Ok("u2"));
        assert_eq!(chosen("My API", None).as_deref(), Ok("u3"));
        assert_eq!(chosen("web", Some("staging")).as_deref(), Ok("u2"));
        assert_eq!(chosen("web", Some("Production")).as_deref(), Ok("u1"));
        assert_eq!(chosen("u1", None).as_deref(), Ok("u1"));
    }

    #[test]
    fn a_name_that_several_have_is_never_guessed() {
        let error = chosen("web", None).expect_err("there are two");
        assert!(error.contains("`web` (production), uid u1; `web` (staging), uid u2"), "{error}");
        assert!(error.contains("--environment"), "{error}");
        assert!(chosen("twin", Some("production")).expect_err("there are two").contains("write its uid"));
        let error = chosen("web", Some("test")).expect_err("there is none");
        assert!(error.contains("no stack `web` is in the environment `test`"), "{error}");
    }

    #[test]
    fn a_uid_that_the_list_lacks_is_asked_about_and_a_name_is_not() {
        assert_eq!(chosen("u9", None).as_deref(), Ok("u9"));
        let error = chosen("My APY", None).expect_err("there is none");
        assert!(error.contains("did you mean `My API` (production), uid u3?"), "{error}");
        assert!(chosen("wob", Some("production")).is_err());
    }
}
