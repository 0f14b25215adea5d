//! The audit trail as a file, page by page: as much is in memory as is on its way.

use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use storage::{named_enum, with_causes};
use utoipa::ToSchema;
use uuid::Uuid;

use super::audit::AuditEventView;
use super::audit_stream::Listener;
use crate::guard::EXPORT_TIME;

/// Events of one page.
const PAGE: u32 = 500;
const COLUMNS: &str = "seq,id,at,action,outcome,actor,target,request_id,address,detail\r\n";

named_enum! {
    /// How a file is written.
    #[derive(Default, Deserialize, ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Format {
        /// A JSON object a line.
        #[default]
        Jsonl = "jsonl",
        /// RFC 4180, with a line of names.
        Csv = "csv",
    }
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/jsonl",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }

    fn line(self, event: &AuditEventView) -> String {
        if self == Self::Jsonl {
            return serde_json::to_string(event).unwrap_or_default() + "\n";
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let cells = [
            event.seq.map(|seq| seq.to_string()).unwrap_or_default(),
            event.id.to_string(),
            event.at.to_rfc3339(),
            event.action.clone(),
            event.outcome.clone(),
            event.actor.map(|actor| actor.to_string()).unwrap_or_default(),
            text(&event.target),
            text(&event.request_id),
            text(&event.address),
            event.detail.to_string(),
        ];
        cells.map(|cell| quoted(&cell)).join(",") + "\r\n"
    }
}

/// A cell; one that a spreadsheet would take for a formula becomes text.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let escaped = cell.replace('"', "\"\"");
    if formula {
        format!("\"'{escaped}\"")
    } else if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{escaped}\"")
    } else {
        escaped
    }
}

/// A file being written.
pub struct Export {
    listener: Listener,
    format: Format,
    after: Uuid,
    is_first: bool,
    is_over: bool,
    until: DateTime<Utc>,
}

impl Export {
    /// An export of the events that pass a filter.
    pub fn new(listener: Listener, format: Format) -> Self {
        let until = listener.app.auth.now() + EXPORT_TIME;
        Self { listener, format, after: Uuid::nil(), is_first: true, is_over: false, until }
    }

    /// Its pages. One that ends early ends with an error, which breaks the connection off.
    pub fn pages(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
        unfold(self, |mut export| async move {
            if export.is_over {
                return None;
            }
            let page = export.page().await;
            export.is_over |= page.is_err();
            Some((page.map(Bytes::from), export))
        })
    }

    async fn page(&mut self) -> Result<String, std::io::Error> {
        let Listener { app, filter, .. } = &self.listener;
        if self.until <= app.auth.now() {
            return Err(std::io::Error::other("the export took too long"));
        }
        if !self.listener.may_go_on().await {
            return Err(std::io::Error::other("the right to read the audit trail has ended"));
        }
        let events = app.auth.audit_events_after(self.after, filter, PAGE).await;
        let events = events.map_err(|error| std::io::Error::other(with_causes(&error)))?;
        self.is_over = events.len() < PAGE as usize;
        let mut text = String::from(if self.is_first && self.format == Format::Csv { COLUMNS } else { "" });
        self.is_first = false;
        for event in events {
            self.after = event.id;
            text.push_str(&self.format.line(&event.into()));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_cell_is_one_cell_and_never_a_formula() {
        for (cell, written) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"it\"", "\"say \"\"it\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "\"'=1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-1", "\"'-1\""),
        ] {
            assert_eq!(quoted(cell), written);
        }
    }
}
