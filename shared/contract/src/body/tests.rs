//! Bodies that are right and wrong, and what is said of them.

use posthorn_domain::{change::Change, name::Channel};
use serde::Deserialize;

use super::{unknown::is_harmless, *};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Form {
    #[expect(dead_code, reason = "only parsing is tested")]
    event_type: String,
    #[expect(dead_code, reason = "only parsing is tested")]
    channels: Option<Vec<Channel>>,
}

fn location(body: &str) -> Vec<String> {
    parse_body::<Form>(body.as_bytes()).unwrap_err().loc
}

#[test]
fn the_wrong_field_is_named() {
    assert_eq!(location(r#"{"channels":[]}"#), ["body", "eventType"]);
    assert_eq!(location(r#"{"eventType":5}"#), ["body", "eventType"]);
    assert_eq!(
        location(r#"{"eventType":"a","channels":["x","a b"]}"#),
        ["body", "channels", "1"]
    );
}

#[test]
fn an_unknown_field_is_refused_unless_it_is_null_or_harmless() {
    for body in [
        r#"{"eventType":"a","deliverAt":"x"}"#,
        r#"{"deliverAt":{"a":[1]}}"#,
    ] {
        assert_eq!(location(body), ["body", "deliverAt"], "{body}");
    }
    for more in [
        r#""deliverAt":null"#,
        r#""deliverAt":null,"deliverAt":null"#,
        r#""a/b":null,"c~d":null,"":null"#,
        r#""version":3"#,
    ] {
        let body = format!(r#"{{"eventType":"a",{more}}}"#);
        assert!(parse_body::<Form>(body.as_bytes()).is_ok(), "{body}");
    }
    for doubled in ["5,\"x\":null", "null,\"x\":5", "{\"x\":null}"] {
        let body = format!(r#"{{"eventType":"a","x":{doubled}}}"#);
        assert_eq!(location(&body), ["body", "x"], "{body}");
    }
}

#[test]
fn harmless_fields_are_so_where_things_are_that_can_be_read() {
    let way = |way: &str| way.split('.').map(str::to_owned).collect::<Vec<_>>();
    for harmless in [
        "id",
        "application.id",
        "message.id",
        "message.application.version",
    ] {
        assert!(is_harmless(&way(harmless)), "{harmless}");
    }
    for not in [
        "transformationsParams.id",
        "message.x.id",
        "message",
        "id.id",
    ] {
        assert!(!is_harmless(&way(not)), "{not}");
    }
}

#[test]
fn a_field_given_twice_or_with_what_cannot_be_kept_is_named() {
    for (body, field, msg) in [
        (
            &br#"{"eventType":"a","eventType":"b"}"#[..],
            "eventType",
            "must not be given twice",
        ),
        (
            br#"{"eventType":"a\ud800b"}"#,
            "eventType",
            "must be valid Unicode",
        ),
        (
            br#"{"eventType":"a\ud800"}"#,
            "eventType",
            "must be valid Unicode",
        ),
        (
            b"{\"eventType\":\"\xff\"}",
            "eventType",
            "must be valid Unicode",
        ),
        (
            br#"{"eventType":1e400}"#,
            "eventType",
            "must be a smaller number",
        ),
    ] {
        let error = parse_body::<Form>(body).unwrap_err();
        assert_eq!(
            (error.loc[1..].join("."), &*error.msg),
            (field.to_owned(), msg)
        );
    }
}

#[test]
fn a_rule_is_told_in_our_words() {
    for (text, rule) in [
        ("invalid digit found in string", "must be a whole number"),
        (
            "invalid type: string \"x\", expected u16",
            "must be a whole number, not negative",
        ),
        (
            "unknown variant `x`, expected `ascending` or `descending`",
            "must be `ascending` or `descending`",
        ),
        (
            "invalid type: integer `5`, expected a map",
            "must be a JSON object",
        ),
        (
            "invalid type: sequence, expected struct RecoverIn",
            "must be a JSON object",
        ),
        (
            "invalid type: string \"x, expected y\", expected i64",
            "must be a whole number",
        ),
        (
            "unknown variant `x, expected `Secret`, said at line 5`, expected one of `a`, `b`",
            "must be one of `a`, `b`",
        ),
        ("must be unique", "must be unique"),
        (
            "`x, expected y` is not a header name",
            "`x, expected y` is not a header name",
        ),
    ] {
        assert_eq!(in_our_words(text), rule);
    }
}

#[test]
fn a_body_is_an_object() {
    for body in ["[\"a\", null]", "null", "5", "\"a\""] {
        let error = parse_body::<Form>(body.as_bytes()).unwrap_err();
        assert_eq!(
            (error.loc, error.msg.as_str()),
            (vec!["body".to_owned()], "must be a JSON object")
        );
    }
}

#[test]
fn any_depth_is_read_without_a_stack() {
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(60_000));
    assert_eq!(location(&format!(r#"{{"x":{deep}}}"#)), ["body", "x"]);
    let wrong = format!(r#"{{"eventType":{deep}}}"#);
    assert_eq!(location(&wrong), ["body", "eventType"]);
}

#[test]
fn only_a_position_is_left_out_of_a_rule() {
    assert_eq!(rule("must be so at line 1 column 20"), "must be so");
    assert_eq!(rule("`x at line 5` is wrong"), "`x at line 5` is wrong");
}

#[test]
fn broken_json_is_named_as_such() {
    let error = parse_body::<Form>(b"{\"eventType\":").unwrap_err();
    assert_eq!(error.kind, "value_error.jsondecode");
    assert!(parse_body::<Form>(b"{\"eventType\":\"a\"} x").is_err());
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Patch {
    name: Change<String>,
    uid: Change<Option<String>>,
}

#[test]
fn absent_null_and_value_are_told_apart() {
    let patch = |body: &str| parse_body::<Patch>(body.as_bytes());
    assert_eq!(patch("{}").unwrap(), Patch::default());
    assert_eq!(patch(r#"{"uid":null}"#).unwrap().uid, Change::Set(None));
    let both = patch(r#"{"uid":"a","name":"b"}"#).unwrap();
    assert_eq!(both.uid.over(None), Some("a".to_owned()));
    assert_eq!(both.name.over("before".to_owned()), "b");
    let error = patch(r#"{"name":null}"#).unwrap_err();
    assert_eq!(error.loc, ["body", "name"], "this field is never empty");
}
