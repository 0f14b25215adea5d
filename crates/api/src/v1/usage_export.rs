//! Exports of usage, as JSON or CSV.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{self, Bytes};
use auth::{Auth, UsageScope};
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use storage::{UsageCounts, UsageCursor, UsageFilter, UsageSlice};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::error::Result;
use crate::extract::Parameters;
use crate::guard::{Authenticated, Caller, EXPORT_TIME};
use crate::v1::usage::{Days, Span, UsageEntry};

/// Rows of an export read at a time: so many are in memory.
const EXPORT_ROWS: u32 = 1000;

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A list of objects.
    #[default]
    Json,
    /// RFC 4180, with a head.
    Csv,
}

/// Which days of one's own, and how they are written.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnExport {
    /// First day (UTC); 30 days ago if none is given.
    from: Option<NaiveDate>,
    /// Last day (UTC); today if none is given.
    to: Option<NaiveDate>,
    /// `day` if none is given.
    #[serde(default)]
    #[param(inline)]
    by: Span,
    /// `json` if none is given.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// One's own usage, whole, as JSON or CSV, the oldest first.
#[utoipa::path(get, path = "/api/v1/me/usage/export", tag = "me", params(OwnExport),
    responses((status = 200, content((Vec<UsageEntry> = "application/json"), (String = "text/csv")))))]
pub async fn own(
    caller: Caller<Authenticated>,
    app: web::Data<App>,
    wanted: Parameters<OwnExport>,
) -> Result<HttpResponse> {
    let OwnExport { from, to, by, format } = wanted.0;
    let (from, to) = Days { from, to }.read(app.auth.now().date_naive())?;
    let filter = UsageFilter { from, to, by_month: by.is_month(), ..UsageFilter::default() };
    export(&app, UsageScope::Account(caller.principal.account), filter, format).await
}

/// What is still to be written of an export.
struct Rest {
    auth: Arc<Auth>,
    whose: UsageScope,
    filter: UsageFilter,
    format: Format,
    /// Rows that were read, and where to go on after them.
    page: Vec<UsageSlice>,
    next: Option<UsageCursor>,
    is_first: bool,
    until: DateTime<Utc>,
}

/// Writes an export page by page, so that its length costs no memory. What fails later breaks it off, which a client of
/// HTTP notices.
pub async fn export(
    app: &App,
    whose: UsageScope,
    filter: UsageFilter,
    format: Format,
) -> Result<HttpResponse> {
    let auth = app.auth.clone();
    let (page, next) = auth.usage(whose, &filter, None, EXPORT_ROWS).await?;
    let until = auth.now() + EXPORT_TIME;
    let rest = Rest { auth, whose, filter, format, page, next, is_first: true, until };
    let (kind, file) = match format {
        Format::Json => ("application/json", "attachment; filename=\"usage.json\""),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "attachment; filename=\"usage.csv\""),
    };
    let mut answer = HttpResponse::Ok();
    answer.content_type(kind).insert_header((CONTENT_DISPOSITION, file));
    Ok(answer.streaming(pieces(rest)))
}

fn pieces(rest: Rest) -> impl Stream<Item = std::result::Result<Bytes, auth::Error>> {
    stream::try_unfold(Some(rest), async |rest| {
        let Some(mut rest) = rest else { return Ok(None) };
        let piece = rest.write();
        let Some(next) = rest.next.take() else { return Ok(Some((piece, None))) };
        if rest.until <= rest.auth.now() {
            return Err(auth::Error::Internal("the export took too long".into()));
        }
        (rest.page, rest.next) = rest.auth.usage(rest.whose, &rest.filter, Some(&next), EXPORT_ROWS).await?;
        Ok(Some((piece, Some(rest))))
    })
}

/// The head of an export as CSV.
fn csv_head() -> String {
    format!("period,account_id,api_key_id,model,version,{}\n", UsageCounts::NAMES.join(","))
}

/// A line of CSV. Nothing in it needs quoting: ids, numbers, and names of models, which have no commas.
fn csv_line(slice: &UsageSlice) -> String {
    let UsageSlice { period, account_id, api_key_id, model, version, counts } = slice;
    let key = if api_key_id.is_nil() { String::new() } else { api_key_id.to_string() };
    let counts: Vec<_> = counts.values().map(|count| count.to_string()).collect();
    format!("{period},{account_id},{key},{model},{version},{}\n", counts.join(","))
}

impl Rest {
    fn write(&mut self) -> Bytes {
        let is_first = std::mem::take(&mut self.is_first);
        let page = std::mem::take(&mut self.page);
        let text = match self.format {
            Format::Csv => {
                let lines: String = page.iter().map(csv_line).collect();
                if is_first { csv_head() + &lines } else { lines }
            }
            Format::Json => {
                let entries = page.into_iter().map(UsageEntry::from);
                let items: Vec<String> =
                    entries.map(|entry| serde_json::to_string(&entry).unwrap_or_default()).collect();
                let (start, end) =
                    (if is_first { "[" } else { ",\n" }, if self.next.is_none() { "]\n" } else { "" });
                format!("{start}{}{end}", items.join(",\n"))
            }
        };
        Bytes::from(text)
    }
}
