//! MessageGroupId on standard queues: AWS accepts it and uses it for fair queues, but rustack
//! refuses it. So it passes through rustack as a message attribute.

use serde_json::{Value, json};

/// The message attribute that carries a group id.
const ATTRIBUTE: &str = "posthorn.MessageGroupId";

/// Moves an entry's group id into the message attribute.
pub(super) fn hide_group(entry: &mut Value) {
    let attributes = &entry["MessageAttributes"];
    if !attributes.is_object() && !attributes.is_null() {
        return; // rustack refuses it.
    }
    let group = entry
        .as_object_mut()
        .and_then(|it| it.remove("MessageGroupId"));
    if let Some(group) = group.filter(Value::is_string) {
        entry["MessageAttributes"][ATTRIBUTE] =
            json!({ "DataType": "String", "StringValue": group });
    }
}

/// The group id of an entry that went through [`hide_group`].
pub(super) fn group_of(entry: &Value) -> Option<String> {
    let group = &entry["MessageAttributes"][ATTRIBUTE]["StringValue"];
    group.as_str().map(str::to_owned)
}

/// Removes a checksum that covers the attribute, because the reader does not know the attribute.
pub(super) fn drop_checksum(message: &mut Value) {
    if let Some(message) = message.as_object_mut() {
        message.remove("MD5OfMessageAttributes");
    }
}

/// Which attributes a receiver asked for.
pub(super) struct Requested {
    group: bool,
}

/// Makes a ReceiveMessage return the attribute.
pub(super) fn request_group(request: &mut Value) -> Requested {
    let names = &mut request["MessageAttributeNames"];
    match names {
        Value::Array(names) => names.push(ATTRIBUTE.into()),
        Value::Null => *names = json!([ATTRIBUTE]),
        _ => {}
    }
    let lists = ["AttributeNames", "MessageSystemAttributeNames"];
    let mut names = lists
        .iter()
        .filter_map(|list| request[*list].as_array())
        .flatten();
    Requested {
        group: names.any(|name| name == "All" || name == "MessageGroupId"),
    }
}

impl Requested {
    /// Moves the attribute back, as `MessageGroupId` among the system attributes.
    pub(super) fn show_group(&self, message: &mut Value) {
        drop_checksum(message);
        let attributes = message["MessageAttributes"].as_object_mut();
        let group = attributes.and_then(|attributes| attributes.remove(ATTRIBUTE));
        if let Some(group) = group.filter(|_| self.group) {
            message["Attributes"]["MessageGroupId"] = group["StringValue"].clone();
        }
        if let Some(message) = message.as_object_mut() {
            message.retain(|field, value| {
                field != "MessageAttributes" || value.as_object().is_some_and(|it| !it.is_empty())
            });
        }
    }
}
