//! A request to a server of files, read whole.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

/// What was asked for.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// As it was sent.
    pub query: String,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// Reads one; nothing where the visitor goes away before it is whole.
    pub fn read(stream: &mut impl Read) -> Option<Self> {
        let mut reader = BufReader::new(stream);
        let mut lines = reader.by_ref().lines().map_while(Result::ok);
        let first = lines.next()?;
        let (method, target) = first.strip_suffix(" HTTP/1.1")?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let header = |line: String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers: BTreeMap<_, _> = lines.take_while(|line| !line.is_empty()).filter_map(header).collect();
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (method, path, query) = (method.to_owned(), path.to_owned(), query.to_owned());
        Some(Self { method, path, query, headers, body })
    }

    /// The first byte that is asked for.
    pub fn from(&self) -> usize {
        let range = self.headers.get("range");
        range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0)
    }

    /// A member of the query, decoded as far as the names of files need it.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.replace("%2F", "/"))
    }
}
