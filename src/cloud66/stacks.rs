//! The stacks that a token can see.

use serde_json::{Map, Value};

use super::client::Client;
use super::pages::{Listed, PageNumber, number, text, truth};
use super::reply::Reply;

/// A stack, as the list of stacks tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The uid, which names the stack in the API. It stays text even if it looks like a number.
    pub uid: String,
    /// The name for people, unique only together with the environment. The uid where the stack has
    /// no name.
    pub name: String,
    /// The environment, such as `production`. Empty: the answer has no such field.
    pub environment: String,
    /// A deployment is under way, during which jobs fail.
    pub deploying: bool,
    /// Somebody has put it into maintenance mode.
    pub maintenance: bool,
}

/// The statuses of a stack that is being deployed.
const DEPLOYING: [u64; 2] = [5, 6];

impl Stack {
    /// Reads a stack. `None` where it has no uid: nothing can be done with it.
    fn read(fields: Map<String, Value>) -> Option<Stack> {
        let uid = text(&fields, "uid")?;
        Some(Stack {
            name: text(&fields, "name").unwrap_or_else(|| uid.clone()),
            environment: text(&fields, "environment").unwrap_or_default(),
            deploying: fields.get("status").is_some_and(is_deploying),
            maintenance: fields.get("maintenance_mode").and_then(truth).unwrap_or(false),
            uid,
        })
    }
}

/// Returns true when a `status` is that of a stack that deploys.
pub(super) fn is_deploying(status: &Value) -> bool {
    number(status).is_some_and(|status| DEPLOYING.contains(&status))
}

impl Client {
    /// Asks for a page of the stacks.
    pub async fn stacks(&self, number: PageNumber) -> Reply<Listed<Stack>> {
        self.page(&["stacks"], number, Stack::read).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(stack: Value) -> Option<Stack> {
        let Value::Object(fields) = stack else { panic!("an object: {stack}") };
        Stack::read(fields)
    }

    #[test]
    fn a_stack_is_deploying_at_status_5_and_6_however_they_are_written() {
        for (status, deploying) in [
            (json!(1), false),
            (json!(5), true),
            (json!("6"), true),
            (json!("deploying"), false),
            (json!(null), false),
        ] {
            let stack = read(json!({"uid": "s", "status": status})).expect("a stack");
            assert_eq!(stack.deploying, deploying, "{status}");
        }
    }

    #[test]
    fn only_the_uid_must_be_there() {
        let stack = read(json!({"uid": 7})).expect("a stack");
        assert_eq!((stack.name.as_str(), stack.environment.as_str(), stack.maintenance), ("7", "", false));
        assert!(read(json!({"uid": "s", "maintenance_mode": "true"})).expect("a stack").maintenance);
        assert_eq!(read(json!({"name": "web"})), None);
    }
}
