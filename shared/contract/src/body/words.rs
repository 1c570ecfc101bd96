//! The parsers' messages in the API's own words.

/// Turns a deserializer's message into a rule in the API's own words.
pub(super) fn in_our_words(text: &str) -> String {
    let is_of_parser = PARSER_PREFIXES.iter().any(|it| text.starts_with(it));
    // The caller's own text stands before what was expected, and may hold these words as well.
    if let Some((_, expected)) = text.rsplit_once(", expected ").filter(|_| is_of_parser) {
        return format!("must be {}", kind_of(expected));
    }
    match text {
        "provided string was not `true` or `false`" => "must be true or false".to_owned(),
        "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too large to fit in target type"
        | "number too small to fit in target type" => "must be a whole number".to_owned(),
        rule => rule.to_owned(),
    }
}

/// The starts of serde's messages that say what was expected.
const PARSER_PREFIXES: [&str; 4] = [
    "invalid type: ",
    "invalid value: ",
    "invalid length ",
    "unknown variant ",
];

/// What is wrong with JSON that is valid and cannot be kept, by serde_json's message.
pub(super) fn unkept(text: &str) -> &'static str {
    let is_about = |words: &[&str]| words.iter().any(|it| text.starts_with(it));
    if is_about(&[
        "lone leading surrogate",
        "unexpected end of hex escape",
        "invalid unicode",
    ]) {
        "must be valid Unicode"
    } else if is_about(&["number out of range"]) {
        "must be a smaller number"
    } else {
        "must be of another type"
    }
}

/// What a value must be, for people who do not know Rust.
fn kind_of(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "unit" => "null",
        "a map" => "a JSON object",
        of if of.starts_with("struct ") || of.starts_with("internally tagged") => "a JSON object",
        of if of.starts_with("any valid JSON") || of.starts_with("any value") => "any JSON value",
        of => of,
    }
}

/// The rule without the position that serde_json appends: the field's name says more.
pub(super) fn rule(text: &str) -> &str {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_position = |text: &str| {
        let numbers = text.split_once(" column ");
        numbers.is_some_and(|(line, column)| is_number(line) && is_number(column))
    };
    match text.rsplit_once(" at line ") {
        Some((rule, position)) if is_position(position) => rule,
        _ => text,
    }
}
