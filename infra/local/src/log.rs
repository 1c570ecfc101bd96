//! Where the functions' output goes.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};

/// Where lines are written.
#[derive(Clone, Debug)]
pub enum LogSink {
    /// Standard error, unchanged.
    Stderr,
    /// Standard error, for people: a line for each delivery, without metrics.
    Readable {
        /// Whether to colour them.
        colour: bool,
    },
    /// Memory, so that a test can show them when it fails.
    Kept(Arc<Mutex<Vec<String>>>),
}

impl Default for LogSink {
    fn default() -> Self {
        Self::Kept(Arc::default())
    }
}

impl LogSink {
    /// For people, in colour on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub fn readable() -> Self {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::Readable {
            colour: is_wanted && std::io::stderr().is_terminal(),
        }
    }

    /// Writes a line of a function.
    pub(crate) fn write(&self, function: &str, line: &str) {
        match self {
            Self::Stderr => eprintln!("[{function}] {line}"),
            Self::Readable { colour } => {
                if let Some(text) = readable(function, line, *colour) {
                    eprintln!("{text}");
                }
            }
            Self::Kept(lines) => lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("[{function}] {line}")),
        }
    }

    /// The lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Stderr | Self::Readable { .. } => Vec::new(),
            Self::Kept(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const GREY: &str = "90";

/// A line for people to read; `None` for one that is of no interest to them.
fn readable(function: &str, line: &str, colour: bool) -> Option<String> {
    let paint = |code: &str, text: &str| match colour {
        true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let name = function.strip_suffix("Function").unwrap_or(function);
    let Ok(Value::Object(mut fields)) = serde_json::from_str(line) else {
        return Some(format!("{} {line}", paint(GREY, name)));
    };
    if fields.contains_key("_aws") {
        return None;
    }
    let mut take = |name: &str| fields.remove(name).map(text).unwrap_or_default();
    let (at, level, message) = (take("timestamp"), take("level"), take("message"));
    let at = at.get(11..19).unwrap_or(&at).to_owned();
    let (code, what) = match message.as_str() {
        "attempted" => attempted(&mut fields),
        _ => (colour_of(&level), message),
    };
    let rest: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| format!("{name}={}", text(value)))
        .collect();
    let (at, rest) = (paint(GREY, &at), paint(GREY, &rest.join(" ")));
    Some(format!(
        "{at} {} {}  {rest}",
        paint(GREY, &format!("{name:<14}")),
        paint(code, &what)
    ))
}

fn colour_of(level: &str) -> &'static str {
    match level {
        "ERROR" => RED,
        "WARN" => YELLOW,
        _ => "0",
    }
}

/// The result of an attempt in plain words; removes the fields that it uses.
fn attempted(fields: &mut Map<String, Value>) -> (&'static str, String) {
    let mut take = |name: &str| fields.remove(name);
    let succeeded = take("success") == Some(Value::Bool(true));
    let (status, class, reason) = (take("status"), take("failure"), take("reason"));
    let failed: Vec<_> = [class, reason].into_iter().flatten().map(text).collect();
    let answer = status.map_or_else(|| failed.join(": "), text);
    let number = take("attempt")
        .and_then(|number| number.as_u64())
        .unwrap_or(0)
        + 1;
    let took = take("duration_ms").map_or(String::new(), |ms| format!(" in {} ms", text(ms)));
    let (code, mark) = match succeeded {
        true => (GREEN, '✓'),
        false => (RED, '✗'),
    };
    (code, format!("{mark} attempt {number}: {answer}{took}"))
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str) -> Option<String> {
        readable("DispatcherFunction", line, false)
    }

    #[test]
    fn an_attempt_is_one_short_line() {
        let line = |rest: &str| {
            let start = r#"{"timestamp":"2026-11-21T17:37:15.87Z","level":"INFO","message":"attempted","msg_id":"msg_1","endpoint_id":"ep_1""#;
            plain(&format!("{start},{rest}}}")).unwrap()
        };
        assert_eq!(
            line(r#""attempt":0,"status":204,"duration_ms":3,"success":true"#),
            "17:37:15 Dispatcher     ✓ attempt 1: 204 in 3 ms  endpoint_id=ep_1 msg_id=msg_1"
        );
        assert_eq!(
            line(
                r#""attempt":1,"failure":"tls","reason":"the certificate has expired","duration_ms":21,"success":false"#
            ),
            "17:37:15 Dispatcher     ✗ attempt 2: tls: the certificate has expired in 21 ms  endpoint_id=ep_1 msg_id=msg_1"
        );
    }

    #[test]
    fn other_lines_keep_what_they_say() {
        assert_eq!(plain(r#"{"_aws":{},"Attempts":1}"#), None);
        let json = r#"{"timestamp":"2026-11-21T17:37:15Z","level":"WARN","message":"disabled","reason":"Gone"}"#;
        let text = plain(json).unwrap();
        assert_eq!(text, "17:37:15 Dispatcher     disabled  reason=Gone");
        assert_eq!(
            plain("thread panicked").unwrap(),
            "Dispatcher thread panicked"
        );
        let coloured = readable("DispatcherFunction", json, true).unwrap();
        assert!(
            coloured.contains("\u{1b}[33mdisabled\u{1b}[0m"),
            "{coloured}"
        );
    }
}
