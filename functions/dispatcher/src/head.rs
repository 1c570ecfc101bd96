//! What an HTTP/1 answer has said by the time that the rest of it cannot be read: its status, and how long it asks
//! to be left alone. The status decides, whatever follows it.

/// Bytes of a line that are looked at: the lines that count are shorter.
const MAX_LINE: usize = 128;

/// The head of the answer to one request, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Head {
    at: At,
    /// The beginning of the line that is being read.
    line: Vec<u8>,
    status: Option<u16>,
    retry_after: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    StatusLine,
    Headers,
    /// The head is over, or it is none.
    End,
}

impl Head {
    /// The status and the value of `Retry-After`, once a status was read that is not informational.
    pub(crate) fn told(&self) -> Option<(u16, Option<&str>)> {
        let status = self.status.filter(|status| !is_informational(*status))?;
        Some((status, self.retry_after.as_deref()))
    }

    /// Reads on.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match (&self.at, byte) {
                (At::End, _) => return,
                (_, b'\n') => self.end_line(),
                _ if self.line.len() == MAX_LINE => {}
                (at, byte) => {
                    self.line.push(*byte);
                    if *at == At::StatusLine && self.status.is_none() {
                        self.status = status(&self.line);
                    }
                }
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        match self.at {
            // Empty lines before a status line are no part of the answer (RFC 9112, section 2.2).
            At::StatusLine if line.is_empty() => {}
            At::StatusLine => {
                self.status = self.status.or_else(|| status(&[line, b" "].concat()));
                self.at = match self.status {
                    Some(_) => At::Headers,
                    None => At::End,
                };
            }
            At::Headers if line.is_empty() && self.told().is_none() => *self = Self::default(),
            At::Headers if line.is_empty() => self.at = At::End,
            At::Headers if self.retry_after.is_none() => self.retry_after = retry_after(line),
            At::Headers | At::End => {}
        }
    }
}

/// Another status follows; not so after 101 (RFC 9110, section 15.2).
fn is_informational(status: u16) -> bool {
    status < 200 && status != 101
}

/// The status at the beginning of a line, once it is whole.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0' | b'1', b' ', digits @ ..] = rest else {
        return None;
    };
    let (digits, [b' ' | b'\r', ..]) = digits.split_at_checked(3)? else {
        return None;
    };
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (is_number && number >= 100).then_some(number)
}

fn retry_after(line: &[u8]) -> Option<String> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let is_it = name.trim_end().eq_ignore_ascii_case("retry-after");
    is_it.then(|| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_known_as_soon_as_it_is_read() {
        for (says, told) in [
            ("", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 200", None),
            ("HTTP/1.1 200 ", Some((200, None))),
            ("HTTP/1.1 204\r", Some((204, None))),
            ("HTTP/1.1 204\n", Some((204, None))),
            ("\r\n\nHTTP/1.0 410 Gone", Some((410, None))),
            ("HTTP/1.1 200 O\0K\r\nX: \0\r\n", Some((200, None))),
            ("HTTP/1.1 101 X\r\n", Some((101, None))),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 099 X\r\n", None),
            ("HTTP/1.1 +20 X\r\n", None),
            ("HTTP/2.0 200 OK\r\n", None),
            ("http/1.1 200 OK\r\n", None),
            ("ICY 200 OK\r\nHTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 100 Continue\r\n\r\n", None),
            (
                "HTTP/1.1 103 X\r\nRetry-After: 9\r\n\r\nHTTP/1.1 429 X\r\n",
                Some((429, None)),
            ),
            (
                "HTTP/1.1 429 X\r\nretry-AFTER : 12 \r\nRetry-After: 9\r\n",
                Some((429, Some("12"))),
            ),
            ("HTTP/1.1 429 X\r\nRetry-After: 1", Some((429, None))),
            (
                "HTTP/1.1 503 X\r\n\r\nRetry-After: 9\r\nHTTP/1.1 200 OK\r\n",
                Some((503, None)),
            ),
        ] {
            let mut whole = Head::default();
            whole.read(says.as_bytes());
            assert_eq!(whole.told(), told, "{says:?}");
            let mut bit_by_bit = Head::default();
            says.as_bytes()
                .chunks(1)
                .for_each(|byte| bit_by_bit.read(byte));
            assert_eq!(bit_by_bit.told(), told, "{says:?}, byte by byte");
        }
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut head = Head::default();
        head.read(b"HTTP/1.1 200 ");
        head.read(&[b'x'; 10_000]);
        assert_eq!(
            (head.told(), head.line.len()),
            (Some((200, None)), MAX_LINE)
        );
    }
}
