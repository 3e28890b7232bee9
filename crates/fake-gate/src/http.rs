//! As much of HTTP/1.1 as an API's client speaks: one request and one answer for each connection.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// Longest head of a request, in octets; a longer one is refused.
const MAX_HEAD_OCTETS: u64 = 16 * 1024;

/// Longest body of a request, in octets; a longer one is refused.
const MAX_BODY_OCTETS: usize = 64 * 1024;

/// Fields of a body and headers that are secret: a record has their presence alone.
const SECRETS: &[&str] =
    &["authKey", "password", "token", "mfaOTPCode", "x-soracom-api-key", "x-soracom-token"];

/// What stands in a secret's place.
const HIDDEN: &str = "(hidden)";

/// A request as it was made, without its secrets.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// `GET`, `POST`, `DELETE`.
    pub method: String,
    /// With the leading `/v1`, as it was sent.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Null where there was none, or no JSON.
    pub body: Value,
}

/// A request with its secrets.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// Reads one; an error where the caller sends none, or something else.
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Request> {
        let mut reader = BufReader::new(stream);
        // What begins otherwise, as TLS does, need have no line to its end.
        if !reader.fill_buf()?.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut head = (&mut reader).take(MAX_HEAD_OCTETS);
        let mut line = || {
            let mut text = String::new();
            if head.read_line(&mut text)? == 0 || !text.ends_with('\n') {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(text.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut headers = Vec::new();
        loop {
            let header = line()?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let octets = match length {
            Some((_, value)) => value.parse().map_err(|_| io::ErrorKind::InvalidData)?,
            None => 0_usize,
        };
        if octets > MAX_BODY_OCTETS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; octets];
        reader.read_exact(&mut body)?;
        Ok(Request { method, path, headers, body })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(named, _)| named == name).map(|(_, value)| value.as_str())
    }

    /// The body; null where there is none, or no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What may be kept of it.
    pub(crate) fn recorded(&self) -> Recorded {
        let mut body = self.json();
        let hide = |name: &str, value: &mut Value| {
            if SECRETS.contains(&name) && !value.is_null() {
                *value = HIDDEN.into();
            }
        };
        if let Value::Object(fields) = &mut body {
            fields.iter_mut().for_each(|(name, value)| hide(name, value));
        }
        let headers = self.headers.iter().map(|(name, value)| {
            let value = if SECRETS.contains(&name.as_str()) { HIDDEN } else { value };
            (name.clone(), value.to_owned())
        });
        Recorded { method: self.method.clone(), path: self.path.clone(), headers: headers.collect(), body }
    }
}

impl Recorded {
    /// A header's value, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(named, _)| named == name).map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: &str) -> Answer {
        let headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
        Answer { status, headers, body: body.to_owned() }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Answer {
        Answer::new(status, "application/json", &body.to_string())
    }

    /// Success with nothing to say.
    pub(crate) fn empty(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes it; after `cut` octets of the body, where that is given, the rest is missing.
    pub(crate) fn write(&self, mut stream: &TcpStream, cut: Option<usize>) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            // A String takes all that is written to it.
            let _ = write!(head, "{name}: {value}\r\n");
        }
        // RFC 9110 section 8.6: no length where there can be no content.
        if self.status != 204 {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body.as_bytes()[..cut.unwrap_or(self.body.len())])?;
        stream.flush()
    }
}

/// What the status line says besides the number; nobody reads it but people.
fn reason(status: u16) -> &'static str {
    match status {
        200..=299 => "OK",
        300..=399 => "Redirected",
        400..=499 => "Refused",
        _ => "Failed",
    }
}
