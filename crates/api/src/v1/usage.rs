//! What was used, and how quotas stand: one's own, and in the shape in which administrators see everyone's.

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{self, Bytes};
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use storage::{Scope, Store, UsageCounts, UsageCursor, UsageFilter, UsageSlice};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::Parameters;
use crate::guard::{Caller, EXPORT_TIME, Own};

/// The longest time that is told of at once.
const MAX_DAYS: i64 = 366;
/// Days told of where nobody says how many, before the last.
const DEFAULT_DAYS: u64 = 30;
/// Rows of an export read at a time: so many are in memory.
const EXPORT_ROWS: u32 = 1000;

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Days {
    /// First day (UTC); 30 days ago if none is given.
    pub from: Option<NaiveDate>,
    /// Last day (UTC); today if none is given.
    pub to: Option<NaiveDate>,
}

impl Days {
    /// The first and the last.
    pub fn read(&self, today: NaiveDate) -> Result<(NaiveDate, NaiveDate)> {
        let to = self.to.unwrap_or(today);
        let before = || to.checked_sub_days(chrono::Days::new(DEFAULT_DAYS)).unwrap_or(NaiveDate::MIN);
        let from = self.from.unwrap_or_else(before);
        // Other years cannot be written in four digits, nor kept by every database.
        if ![from, to].iter().all(|day| (1..=9999).contains(&day.year())) {
            return Err(ApiError::field("from", "use years from 1 to 9999"));
        }
        if from > to || to - from > chrono::Duration::days(MAX_DAYS) {
            return Err(ApiError::field("from", "use at most 366 days, the first before the last"));
        }
        Ok((from, to))
    }
}

/// By what usage is added up.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Span {
    /// Days.
    #[default]
    Day,
    /// Months of the calendar.
    Month,
}

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

/// What was used on one day of one model with one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageItem {
    day: NaiveDate,
    model: String,
    version: String,
    /// The API key; null: access tokens.
    api_key_id: Option<Uuid>,
    requests: i64,
    /// Rows or pictures that the model answered.
    inferences: i64,
    images: i64,
    /// Bytes of the requests' bodies.
    bytes: i64,
    /// Time that the model ran, in microseconds.
    compute_microseconds: i64,
    failures: i64,
    /// What the inferences cost, each the price of its model.
    credits: i64,
}

impl From<storage::UsageRow> for UsageItem {
    fn from(row: storage::UsageRow) -> Self {
        Self {
            day: row.day,
            model: row.model,
            version: row.version,
            api_key_id: (!row.api_key_id.is_nil()).then_some(row.api_key_id),
            requests: row.counts.requests,
            inferences: row.counts.inferences,
            images: row.counts.images,
            bytes: row.counts.bytes,
            compute_microseconds: row.counts.compute_microseconds,
            failures: row.counts.failures,
            credits: row.counts.credits,
        }
    }
}

/// What an account used in a day or a month of one model with one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageEntry {
    /// `2026-03-01`, or `2026-03` for a month.
    period: String,
    account_id: Uuid,
    /// The API key; null: access tokens.
    api_key_id: Option<Uuid>,
    model: String,
    version: String,
    requests: i64,
    /// Rows or pictures that the model answered.
    inferences: i64,
    images: i64,
    /// Bytes of the requests' bodies.
    bytes: i64,
    /// Time that the model ran, in microseconds.
    compute_microseconds: i64,
    failures: i64,
    /// What the inferences cost, each the price of its model.
    credits: i64,
}

impl From<UsageSlice> for UsageEntry {
    fn from(slice: UsageSlice) -> Self {
        Self {
            period: slice.period,
            account_id: slice.account_id,
            api_key_id: (!slice.api_key_id.is_nil()).then_some(slice.api_key_id),
            model: slice.model,
            version: slice.version,
            requests: slice.counts.requests,
            inferences: slice.counts.inferences,
            images: slice.counts.images,
            bytes: slice.counts.bytes,
            compute_microseconds: slice.counts.compute_microseconds,
            failures: slice.counts.failures,
            credits: slice.counts.credits,
        }
    }
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

/// How a quota stands: what admission goes by.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaStanding {
    /// Its name in `RateLimit-Policy`.
    name: &'static str,
    /// The key that it is of; null: the account's.
    api_key_id: Option<Uuid>,
    /// `requests`, `inferences`, `images`, `bytes`, `compute_ms` or `credits`.
    unit: &'static str,
    /// `day` or `month`, in UTC.
    period: &'static str,
    limit: i64,
    /// Whether what is beyond is refused.
    hard: bool,
    /// What was used and is written.
    used: i64,
    /// What may still be used; without what other servers keep ready for requests that may come, which goes back
    /// within seconds.
    remaining: i64,
    resets_at: DateTime<Utc>,
}

impl From<auth::QuotaView> for QuotaStanding {
    fn from(view: auth::QuotaView) -> Self {
        let auth::QuotaView { quota, used, remaining, resets_at } = view;
        Self {
            name: quota.policy(),
            api_key_id: quota.is_key.then_some(quota.subject),
            unit: quota.unit.name(),
            period: quota.period.name(),
            limit: quota.cap,
            hard: quota.hard,
            used,
            remaining,
            resets_at,
        }
    }
}

/// Usage by day, model and credential, and how quotas stand.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    items: Vec<UsageItem>,
    /// The account's, and those of the key that asks.
    quotas: Vec<QuotaStanding>,
}

/// What one has used, and how one's quotas stand. The last seconds may be missing: usage is written in batches.
#[utoipa::path(get, path = "/api/v1/me/usage", tag = "me", params(Days), responses((status = 200, body = Usage)))]
pub async fn own(
    caller: Caller<Own>,
    app: web::Data<App>,
    days: Parameters<Days>,
) -> Result<web::Json<Usage>> {
    let (from, to) = days.0.read(app.auth.now().date_naive())?;
    let account = caller.principal.account;
    let mut tx = app.store.read(Scope::Account(account)).await?;
    let rows = tx.usage().summary(account, from, to).await?;
    drop(tx);
    let quotas = app.auth.own_quotas(&caller.principal).await?;
    Ok(web::Json(Usage {
        items: rows.into_iter().map(Into::into).collect(),
        quotas: quotas.into_iter().map(Into::into).collect(),
    }))
}

/// What one has used, whole, as JSON or CSV, the oldest first.
#[utoipa::path(get, path = "/api/v1/me/usage/export", tag = "me", params(OwnExport),
    responses((status = 200, content((Vec<UsageEntry> = "application/json"), (String = "text/csv")))))]
pub async fn export_own(
    caller: Caller<Own>,
    app: web::Data<App>,
    wanted: Parameters<OwnExport>,
) -> Result<HttpResponse> {
    let OwnExport { from, to, by, format } = wanted.0;
    let (from, to) = Days { from, to }.read(app.auth.now().date_naive())?;
    let account = caller.principal.account;
    let filter =
        UsageFilter { account: Some(account), from, to, by_month: by.is_month(), ..UsageFilter::default() };
    export(app.store.clone(), Scope::Account(account), filter, format).await
}

impl Span {
    /// Whether months are added up.
    pub fn is_month(self) -> bool {
        matches!(self, Self::Month)
    }
}

/// What is still to be written of an export.
struct Rest {
    store: Store,
    scope: Scope,
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
pub async fn export(store: Store, scope: Scope, filter: UsageFilter, format: Format) -> Result<HttpResponse> {
    let (page, next) = read(&store, scope, &filter, None).await?;
    let until = store.clock().now() + EXPORT_TIME;
    let rest = Rest { store, scope, filter, format, page, next, is_first: true, until };
    let (kind, file) = match format {
        Format::Json => ("application/json", "attachment; filename=\"usage.json\""),
        Format::Csv => ("text/csv; charset=utf-8; header=present", "attachment; filename=\"usage.csv\""),
    };
    let mut answer = HttpResponse::Ok();
    answer.content_type(kind).insert_header((CONTENT_DISPOSITION, file));
    Ok(answer.streaming(pieces(rest)))
}

async fn read(
    store: &Store,
    scope: Scope,
    filter: &UsageFilter,
    after: Option<&UsageCursor>,
) -> storage::Result<(Vec<UsageSlice>, Option<UsageCursor>)> {
    let mut tx = store.read(scope).await?;
    tx.usage().slices(filter, after, EXPORT_ROWS).await
}

fn pieces(rest: Rest) -> impl Stream<Item = std::result::Result<Bytes, storage::Error>> {
    stream::try_unfold(Some(rest), async |rest| {
        let Some(mut rest) = rest else { return Ok(None) };
        let piece = rest.write();
        let Some(next) = rest.next.take() else { return Ok(Some((piece, None))) };
        if rest.until <= rest.store.clock().now() {
            return Err(storage::Error::Refused("the export took too long"));
        }
        (rest.page, rest.next) = read(&rest.store, rest.scope, &rest.filter, Some(&next)).await?;
        Ok(Some((piece, Some(rest))))
    })
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
