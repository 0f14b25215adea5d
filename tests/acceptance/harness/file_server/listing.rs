//! The listing of a bucket (ListObjectsV2), a few objects a page, so that the client has to go on.

use std::collections::{BTreeMap, BTreeSet};

use super::Stored;
use super::request::Request;

/// Entries of one answer.
const PAGE: usize = 2;

/// The files below a prefix, or what stands before the next delimiter.
pub fn of(files: &BTreeMap<String, Stored>, request: &Request) -> (String, Vec<u8>) {
    let bucket = format!("{}/", request.path.trim_end_matches('/'));
    let prefix = request.parameter("prefix").unwrap_or_default();
    let after = request.parameter("continuation-token").unwrap_or_default();
    let (mut keys, mut folders) = (Vec::new(), BTreeSet::new());
    for (path, stored) in files {
        let Some(key) = path.strip_prefix(&bucket).filter(|key| key.starts_with(&prefix)) else { continue };
        match key[prefix.len()..].split_once('/').filter(|_| request.parameter("delimiter").is_some()) {
            Some((folder, _)) => drop(folders.insert(format!("{prefix}{folder}/"))),
            None => keys.push((key, stored)),
        }
    }
    let folders = folders.into_iter().map(|folder| {
        let text = format!("<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
        (folder, text)
    });
    let keys = keys.into_iter().map(|(key, Stored { content, since })| {
        let (since, size) = (since.to_rfc3339(), content.len());
        let text = format!(
            "<Contents><Key>{key}</Key><LastModified>{since}</LastModified><Size>{size}</Size></Contents>"
        );
        (key.to_owned(), text)
    });
    let mut entries: Vec<_> = folders.chain(keys).filter(|(name, _)| *name > after).collect();
    entries.sort();
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    let mut text = String::from("<ListBucketResult>");
    text.extend(entries.iter().map(|(_, entry)| entry.as_str()));
    if let Some((last, _)) = entries.last().filter(|_| more) {
        text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    text.push_str("</ListBucketResult>");
    let head = format!("200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n", text.len());
    (head, text.into_bytes())
}
