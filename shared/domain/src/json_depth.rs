//! How deep JSON is nested.

/// The deepest nesting of JSON that is accepted and shown, in levels: many clients' parsers give up
/// soon after.
pub const MAX_DEPTH: usize = 100;

/// The message for JSON deeper than [`MAX_DEPTH`].
pub const TOO_DEEP: &str = "must not be nested deeper than 100 levels";

/// Whether JSON has more levels of objects and lists than this. For text that is not JSON, its
/// brackets count.
pub fn is_deeper_than(json: &str, levels: usize) -> bool {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for byte in json.as_bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' | b'[' if !is_string => depth += 1,
            b'}' | b']' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > levels {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        for (json, depth) in [
            ("1", 0),
            ("{}", 1),
            (r#"{"a":[1,{"b":[]}]}"#, 4),
            (r#"["[[[[","\"[[","\\"]"#, 1),
            (r#"[[],[],[[]]]"#, 3),
        ] {
            assert!(!is_deeper_than(json, depth), "{json}");
            assert!(depth == 0 || is_deeper_than(json, depth - 1), "{json}");
        }
    }
}
