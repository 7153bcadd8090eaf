//! Whole HTTP/1.1 messages, for clients and servers that are not themselves what is tested.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

/// Longest head and longest body that are read: a test that goes past them has run away.
const HEAD_BYTES_MAX: u64 = 64 << 10;
const BODY_BYTES_MAX: u64 = 256 << 20;

/// A request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line.
    pub start: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Without the framing of chunks; still compressed, if it was.
    pub body: Vec<u8>,
}

impl Message {
    /// Reads the next request; `None` if the other side closed before it began.
    pub fn read_request(stream: &mut impl BufRead) -> Result<Option<Message>> {
        let Some(mut message) = Message::read_head(stream)? else { return Ok(None) };
        message.read_body(stream)?;
        Ok(Some(message))
    }

    /// Reads an answer to a request other than HEAD.
    pub fn read_answer(stream: &mut impl BufRead) -> Result<Message> {
        let mut message = Message::read_head(stream)?.ok_or(ErrorKind::UnexpectedEof)?;
        let framed =
            ["content-length", "transfer-encoding"].iter().any(|name| message.header(name).is_some());
        if framed || message.status() == Some(204) {
            message.read_body(stream)?;
        } else {
            stream.take(BODY_BYTES_MAX).read_to_end(&mut message.body)?;
        }
        Ok(message)
    }

    /// Reads a start line and headers, but none of the body; `None` if there is nothing.
    pub fn read_head(stream: &mut impl BufRead) -> Result<Option<Message>> {
        let mut head = stream.take(HEAD_BYTES_MAX);
        let mut message = Message { start: line(&mut head)?, ..Message::default() };
        if message.start.is_empty() {
            return Ok(None);
        }
        loop {
            let line = line(&mut head)?;
            if line.is_empty() {
                return Err(Error::new(ErrorKind::UnexpectedEof, "a head without its end"));
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header line", &line))?;
            message.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        message.start.truncate(message.start.trim_end().len());
        Ok(Some(message))
    }

    /// Reads the body that the head announces.
    pub fn read_body(&mut self, stream: &mut impl BufRead) -> Result<()> {
        if self.header("transfer-encoding").is_some() {
            return self.read_chunks(stream);
        }
        let length = self.body_length()?;
        stream.take(length).read_to_end(&mut self.body)?;
        if (self.body.len() as u64) < length {
            return Err(Error::new(ErrorKind::UnexpectedEof, "a body shorter than its Content-Length"));
        }
        Ok(())
    }

    /// What Content-Length says; 0 without.
    pub fn body_length(&self) -> Result<u64> {
        let text = self.header("content-length").unwrap_or("0");
        let length = text.parse().map_err(|_| invalid("Content-Length", text))?;
        if length > BODY_BYTES_MAX { Err(invalid("Content-Length", text)) } else { Ok(length) }
    }

    /// The first value of a header, whose name is given in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The status of an answer.
    pub fn status(&self) -> Option<u16> {
        self.start.split(' ').nth(1)?.parse().ok()
    }

    fn read_chunks(&mut self, stream: &mut impl BufRead) -> Result<()> {
        loop {
            let size_line = line(&mut stream.take(HEAD_BYTES_MAX))?;
            let digits = size_line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16).map_err(|_| invalid("a chunk's size", &size_line))?;
            if size.saturating_add(self.body.len() as u64) > BODY_BYTES_MAX {
                return Err(invalid("a chunk's size", &size_line));
            }
            let read = stream.take(size).read_to_end(&mut self.body)?;
            if (read as u64) < size {
                return Err(Error::new(ErrorKind::UnexpectedEof, "a chunk shorter than its size"));
            }
            // The end of the chunk; after the last one, trailers and the end of the message.
            loop {
                let end = line(&mut stream.take(HEAD_BYTES_MAX))?;
                if end.is_empty() {
                    return Err(Error::new(ErrorKind::UnexpectedEof, "a chunk without its end"));
                }
                if end == "\r\n" {
                    break;
                }
                if size > 0 {
                    return Err(invalid("the end of a chunk", &end));
                }
            }
            if size == 0 {
                return Ok(());
            }
        }
    }
}

/// One line with its end; empty at the end of the stream.
fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn invalid(what: &str, found: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{what}: {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(mut bytes: &[u8]) -> Result<Option<Message>> {
        Message::read_request(&mut bytes)
    }

    #[test]
    fn bodies_by_length_by_chunks_and_to_the_end() {
        let two = b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
            PUT /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Y:  z \r\n\r\n\
            2;ext=1\r\nde\r\n1\r\nf\r\n0\r\nTrailer: 1\r\n\r\nrest";
        let mut stream = &two[..];
        let first = Message::read_request(&mut stream).unwrap().unwrap();
        assert_eq!((first.start.as_str(), &first.body[..]), ("POST /a HTTP/1.1", &b"abc"[..]));
        let second = Message::read_request(&mut stream).unwrap().unwrap();
        assert_eq!((second.start.as_str(), &second.body[..]), ("PUT /b HTTP/1.1", &b"def"[..]));
        assert_eq!(second.header("x-y"), Some("z"));
        assert_eq!(stream, b"rest");
        let answer = Message::read_answer(&mut &b"HTTP/1.0 200 OK\r\n\r\nto the end"[..]).unwrap();
        assert_eq!((answer.status(), &answer.body[..]), (Some(200), &b"to the end"[..]));
        assert_eq!(request(b"").unwrap(), None);
    }

    #[test]
    fn what_is_cut_or_broken_is_an_error() {
        let broken: [&[u8]; 9] = [
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab",
            b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ];
        for bytes in broken {
            assert!(request(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}
