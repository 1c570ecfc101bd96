//! Trace context: which trace a message and its attempts belong to (W3C Trace Context, "traceparent
//! header"; OpenTelemetry reads and writes the same).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A span of a trace, as the `traceparent` header names it. Only version 00 is written; `tracestate`
/// is not passed on, which the specification allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The text is not a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 00-<32 hexadecimal digits>-<16>-<2>, not all zeros")]
pub struct TraceParentError;

/// The flag that asks for the trace to be recorded ("sampled flag").
const SAMPLED: u8 = 1;

impl TraceParent {
    /// The first span of a new trace. The identifiers are random.
    pub fn begin(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self {
            trace: u128::from_be_bytes(trace).max(1),
            span: u64::from_be_bytes(span).max(1),
            flags: SAMPLED,
        }
    }

    /// A span inside this one.
    #[must_use]
    pub fn child(self, span: [u8; 8]) -> Self {
        Self {
            span: u64::from_be_bytes(span).max(1),
            ..self
        }
    }

    /// The trace, 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span, 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace, self.span, self.flags
        )
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let is_lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
            let part = parts.next().filter(|part| part.len() == digits);
            let part = part.filter(|part| part.bytes().all(is_lower));
            part.and_then(|part| u128::from_str_radix(part, 16).ok())
                .ok_or(TraceParentError)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // A later version may have more parts ("Versioning of traceparent"); version 255 is
        // invalid.
        let is_known = version != 0xff && (version > 0 || parts.next().is_none());
        if !is_known || trace == 0 || span == 0 {
            return Err(TraceParentError);
        }
        Ok(Self {
            trace,
            span: u64::try_from(span).map_err(|_| TraceParentError)?,
            flags: u8::try_from(flags).map_err(|_| TraceParentError)? & SAMPLED,
        })
    }
}

impl TryFrom<String> for TraceParent {
    type Error = TraceParentError;

    fn try_from(text: String) -> Result<Self, TraceParentError> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the specification's examples.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.to_string(), EXAMPLE);
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = parent.child([0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_eq!(child.span_id(), "0000000000000007");
        let json = serde_json::to_string(&parent).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), parent);
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-comes-then";
        assert_eq!(later.parse(), Ok(parent), "a later version");
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473+-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(TraceParentError), "{text}");
        }
    }
}
