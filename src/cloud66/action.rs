//! The action that run_now returns, taken as it comes.
//!
//! The API's documents, examples and clients disagree on the types of its fields. An action is
//! read field by field: what has an unexpected type is kept in `more` and stops nothing.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// The number of an action in Cloud 66.
pub type ActionId = u64;

/// The message at the end of an action is kept up to this many bytes.
const LONGEST_MESSAGE: usize = 4 << 10;

/// Any other text of an action is kept up to this many bytes. A log line then stays under the 48
/// KiB that systemd's journal takes, whatever the API answers.
const LONGEST_TEXT: usize = 512;

/// Fields that this program does not know are kept up to so many bytes altogether.
const LONGEST_MORE: usize = 8 << 10;

/// An action of Cloud 66. Every field may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Action {
    /// The action's number, which names it in the API.
    pub id: Option<ActionId>,
    /// The user whose token started the action.
    pub user: Option<String>,
    /// The kind of thing that the action acts on: `stack`.
    pub resource_type: Option<String>,
    /// The name of the action: `job_run_now`.
    pub action: Option<String>,
    /// The stack's database number. It is not the stack's uid.
    pub resource_id: Option<String>,
    /// The way in which the action was started: `api`.
    pub started_via: Option<String>,
    /// Start of the action, as the API wrote it.
    pub started_at: Option<String>,
    /// End of the action, as the API wrote it. `None` while the action runs.
    pub finished_at: Option<String>,
    /// The outcome. `None` while the action runs.
    pub finished_success: Option<bool>,
    /// The message at the action's end.
    pub finished_message: Option<String>,
    /// Fields this program does not know, and known ones with a type it does not expect.
    pub more: Map<String, Value>,
}

impl Action {
    /// Reads an action, wrapped in `response` or bare. `None` when the value is no JSON object.
    pub fn from_json(answer: Value) -> Option<Action> {
        let Value::Object(mut fields) = answer else {
            return None;
        };
        if fields.contains_key("response") {
            let Some(Value::Object(inner)) = fields.remove("response") else {
                return None;
            };
            fields = inner;
        }
        let mut action = Action {
            id: take(&mut fields, "id", number),
            user: words(&mut fields, "user", LONGEST_TEXT),
            resource_type: words(&mut fields, "resource_type", LONGEST_TEXT),
            action: words(&mut fields, "action", LONGEST_TEXT),
            resource_id: words(&mut fields, "resource_id", LONGEST_TEXT),
            started_via: words(&mut fields, "started_via", LONGEST_TEXT),
            started_at: words(&mut fields, "started_at", LONGEST_TEXT),
            finished_at: words(&mut fields, "finished_at", LONGEST_TEXT),
            finished_success: take(&mut fields, "finished_success", truth),
            finished_message: words(&mut fields, "finished_message", LONGEST_MESSAGE),
            more: Map::new(),
        };
        fields.iter_mut().for_each(|(name, value)| match name.as_str() {
            "finished_result" => cut_texts(value, LONGEST_MESSAGE),
            _ => cut_texts(value, LONGEST_TEXT),
        });
        let mut left = LONGEST_MORE;
        fields.retain(|name, value| {
            let fits = left.checked_sub(name.len() + value.to_string().len());
            left = fits.unwrap_or(left);
            fits.is_some()
        });
        action.more = fields;
        Some(action)
    }

    /// Returns true when the action has ended, with or without success.
    pub fn finished(&self) -> bool {
        self.finished_at.is_some() || self.finished_success.is_some()
    }

    /// Returns true when the action has ended with success. An end without `finished_success` is no
    /// success.
    pub fn succeeded(&self) -> bool {
        self.finished_success == Some(true)
    }

    /// Returns the action's start by the API's clock. `None`: the text cannot be read as an
    /// instant.
    pub fn started(&self) -> Option<Timestamp> {
        self.started_at.as_deref()?.parse().ok()
    }

    /// When it ended, by the API's clock. `None` when it has not, or that cannot be read.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.finished_at.as_deref()?.parse().ok()
    }

    /// Returns the run time in milliseconds, by the API's own clock.
    pub fn duration_ms(&self) -> Option<i64> {
        let start = self.started()?;
        i64::try_from(self.ended_at()?.duration_since(start).as_millis()).ok()
    }
}

/// Takes a field out when `read` understands it. Null is a field that is not there.
fn take<T>(fields: &mut Map<String, Value>, name: &str, read: fn(&Value) -> Option<T>) -> Option<T> {
    let value = fields.get(name)?;
    let read = read(value);
    if read.is_some() || value.is_null() {
        fields.shift_remove(name);
    }
    read
}

/// Takes a text out, as much of it as is kept.
fn words(fields: &mut Map<String, Value>, name: &str, most: usize) -> Option<String> {
    let mut text = take(fields, name, text)?;
    cut(&mut text, most);
    Some(text)
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

/// Cuts every text of a value. An answer has at most 128 levels: no more are read.
fn cut_texts(value: &mut Value, most: usize) {
    match value {
        Value::String(text) => cut(text, most),
        Value::Array(items) => items.iter_mut().for_each(|item| cut_texts(item, most)),
        Value::Object(fields) => fields.values_mut().for_each(|field| cut_texts(field, most)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => match text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_too_long_for_a_line_is_cut_or_left_out() {
        let mut answer = documented();
        answer["user"] = "é".repeat(1000).into();
        answer["finished_message"] = "m".repeat(1 << 20).into();
        answer["finished_result"] = "r".repeat(1 << 20).into();
        answer["metadata"] = json!({ "text": "t".repeat(1 << 20) });
        for n in 0..10 {
            answer[format!("new{n}")] = "x".repeat(1000).into();
        }
        answer["newest"] = json!(7);
        let action = Action::from_json(answer).expect("an action");
        assert_eq!(action.user, Some("é".repeat(256) + "…"), "at a character's end");
        assert_eq!(action.finished_message, Some("m".repeat(4096) + "…"));
        assert_eq!(action.more["finished_result"], "r".repeat(4096) + "…");
        assert_eq!(action.more["metadata"]["text"], "t".repeat(512) + "…");
        assert_eq!(action.more["new0"], "x".repeat(512) + "…");
        assert!(!action.more.contains_key("new9"), "too many are left out: {:?}", action.more.keys());
        assert_eq!(action.more["newest"], 7);
    }

    fn documented() -> Value {
        json!({"id": 2593, "user": "test@example.com", "resource_type": "stack", "action": "job_run_now",
            "resource_id": "1602", "started_via": "api", "started_at": "2016-02-04T12:52:24Z",
            "finished_at": null, "finished_success": null, "finished_message": null})
    }

    #[test]
    fn the_documented_action_is_read_whole() {
        let action = Action::from_json(json!({ "response": documented() })).expect("an action");
        assert_eq!(action.id, Some(2593));
        assert_eq!(action.resource_id.as_deref(), Some("1602"));
        assert!(!action.finished(), "null means unfinished");
        assert!(action.more.is_empty(), "nothing is left over: {:?}", action.more);
    }

    #[test]
    fn a_bare_action_is_the_same_action() {
        assert_eq!(Action::from_json(documented()), Action::from_json(json!({ "response": documented() })));
    }

    #[test]
    fn retyped_fields_are_understood() {
        let action =
            Action::from_json(json!({"id": "2593", "resource_id": 1602, "finished_success": "false"}))
                .expect("an action");
        assert_eq!(action.id, Some(2593));
        assert_eq!(action.resource_id.as_deref(), Some("1602"));
        assert!(action.finished() && !action.succeeded());
    }

    #[test]
    fn what_is_not_understood_is_kept() {
        let action =
            Action::from_json(json!({"id": [1], "user": null, "finished_result": "ok"})).expect("an action");
        assert_eq!(action.id, None);
        assert_eq!(Value::Object(action.more), json!({"id": [1], "finished_result": "ok"}));
    }

    #[test]
    fn what_is_no_object_is_no_action() {
        for answer in
            [json!(null), json!([]), json!("ok"), json!({"response": null}), json!({"response": [1]})]
        {
            assert_eq!(Action::from_json(answer.clone()), None, "{answer} is no action");
        }
    }

    #[test]
    fn the_duration_is_by_the_api_clock() {
        let action = Action::from_json(
            json!({"started_at": "2016-02-04T12:52:24Z", "finished_at": "2016-02-04T12:53:24.500Z"}),
        )
        .expect("an action");
        assert_eq!(action.duration_ms(), Some(60_500));
    }
}
