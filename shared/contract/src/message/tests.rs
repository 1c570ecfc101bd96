//! What is accepted as a message, and how it is shown.

use super::*;
use crate::body::parse_body;

fn read(body: &str) -> Result<NewMessage, FieldError> {
    parse_body::<MessageIn>(body.as_bytes())?.check()
}

fn with(fields: &str) -> String {
    format!(r#"{{"eventType":"a","payload":{{}},{fields}}}"#)
}

#[test]
fn a_payload_keeps_its_bytes() {
    let body =
        r#"{"eventType":"a","payload": { "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 } }"#;
    let message = read(body).unwrap();
    assert_eq!(
        message.payload.as_str(),
        r#"{ "z" : 1, "a":"\u00e9\ud83d\ude80 \u00fc", "n":1.50e2 }"#
    );
    assert_eq!(message.payload.content_type(), "application/json");
}

#[test]
fn a_raw_payload_is_any_text_with_its_content_type() {
    let xml = r#""transformationsParams":{"rawPayload":"<a b=\"1\"/>\n","headers":{"Content-Type":"text/xml; charset=utf-8"}}"#;
    let json = r#""transformationsParams":{"rawPayload":"{ \"n\" : 1 }"}"#;
    for (body, text, content_type) in [
        (with(xml), "<a b=\"1\"/>\n", "text/xml; charset=utf-8"),
        (with(json), "{ \"n\" : 1 }", "application/json"),
        (
            format!(r#"{{"eventType":"a","payload":"",{json}}}"#),
            "{ \"n\" : 1 }",
            "application/json",
        ),
        (
            format!(r#"{{"eventType":"a",{xml}}}"#),
            "<a b=\"1\"/>\n",
            "text/xml; charset=utf-8",
        ),
        (
            with(r#""transformationsParams":{"rawPayload":""}"#),
            "",
            "application/json",
        ),
        (
            with(
                r#""transformationsParams":{"headers":{"content-type":"application/vnd.a+json"}}"#,
            ),
            "{}",
            "application/vnd.a+json",
        ),
        (
            with(r#""transformationsParams":null,"deliverAt":null,"payloadRetentionHours":null"#),
            "{}",
            "application/json",
        ),
    ] {
        let payload = read(&body).unwrap().payload;
        assert_eq!(
            (payload.as_str(), payload.content_type()),
            (text, content_type),
            "{body}"
        );
    }
}

#[test]
fn every_field_names_itself_when_it_is_wrong() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(101), "}".repeat(101));
    for (loc, body) in [
        ("eventType", r#"{"payload":{}}"#.to_owned()),
        (
            "eventType",
            r#"{"eventType":"a b","payload":{}}"#.to_owned(),
        ),
        ("payload", r#"{"eventType":"a"}"#.to_owned()),
        ("payload", r#"{"eventType":"a","payload":[1]}"#.to_owned()),
        ("payload", r#"{"eventType":"a","payload":"x"}"#.to_owned()),
        ("payload", r#"{"eventType":"a","payload":null}"#.to_owned()),
        (
            "payload",
            format!(r#"{{"eventType":"a","payload":{deep}}}"#),
        ),
        (
            "payload",
            r#"{"eventType":"a","payload":{"a":1},"transformationsParams":{"rawPayload":"x"}}"#
                .to_owned(),
        ),
        ("eventId", with(r#""eventId":"""#)),
        (
            "eventId",
            with(r#""eventId":"msg_2KWPBgLlAfxdpx2AI54pPJ85f4W""#),
        ),
        ("channels", with(r#""channels":[]"#)),
        ("channels", with(r#""channels":["a","a"]"#)),
        ("tags.0", with(r#""tags":["a b"]"#)),
        (
            "payloadRetentionPeriod",
            with(r#""payloadRetentionPeriod":4"#),
        ),
        (
            "payloadRetentionHours",
            with(r#""payloadRetentionHours":5"#),
        ),
        ("deliverAt", with(r#""deliverAt":"2030-01-01T00:00:00Z""#)),
        ("eventtype", with(r#""eventtype":"b""#)),
        (
            "transformationsParams.rawPayload",
            with(r#""transformationsParams":{"rawPayload":{}}"#),
        ),
        (
            "transformationsParams.x",
            with(r#""transformationsParams":{"x":1}"#),
        ),
        (
            "transformationsParams.headers.x-a",
            with(r#""transformationsParams":{"headers":{"x-a":"b"}}"#),
        ),
        (
            "transformationsParams.headers.content-type",
            with(
                r#""transformationsParams":{"headers":{"Content-Type":"a/b","content-type":"a/b"}}"#,
            ),
        ),
        (
            "transformationsParams.headers.content-type",
            with(r#""transformationsParams":{"headers":{"content-type":"a/b\r\nx: y"}}"#),
        ),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!(error.loc[1..].join("."), loc, "{body}: {error:?}");
    }
}

#[test]
fn text_that_is_no_object_is_shown_inside_of_one() {
    let shown = |text: &str| {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let message = Message {
            id: MessageId::new(at, [1; 15]),
            event_type: "a".to_owned().try_into().unwrap(),
            event_id: None,
            channels: None,
            tags: None,
            payload: Some(Payload::raw(text.to_owned(), None)),
            destinations: vec![],
            created_at: at,
            expires_at: at,
        };
        serde_json::to_string(&MessageOut::new(&message, true).payload).unwrap()
    };
    let deep = format!("{}1{}", r#"{"a":"#.repeat(101), "}".repeat(101));
    assert_eq!(shown(r#"{ "a" : 1 }"#), r#"{ "a" : 1 }"#);
    assert_eq!(shown("[1]"), r#"{"rawPayload":"[1]"}"#);
    assert_eq!(shown("<a/>"), r#"{"rawPayload":"<a/>"}"#);
    assert_eq!(shown(""), r#"{"rawPayload":""}"#);
    let shown = shown(&deep);
    assert!(
        shown.starts_with(r#"{"rawPayload":""#),
        "lists of it can be read"
    );
}
