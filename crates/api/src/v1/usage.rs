//! Usage and remaining quotas: one's own, and the rows in which administrators see everyone's.

use actix_web::web;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use storage::UsageSlice;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::app::App;
use crate::error::{ApiError, Result};
use crate::extract::Parameters;
use crate::guard::{Authenticated, Caller};
use crate::schema_names::{QuotaPeriod, QuotaUnit};

/// The longest range of one answer.
const MAX_DAYS: i64 = 366;
/// The default range, in days before the last.
const DEFAULT_DAYS: u64 = 30;

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

impl Span {
    /// Whether months are added up.
    pub fn is_month(self) -> bool {
        matches!(self, Self::Month)
    }
}

/// What was used on one day of one model with one credential.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageItem {
    day: NaiveDate,
    model: String,
    version: String,
    /// The API key; null: access tokens.
    api_key_id: Option<Uuid>,
    /// Calls that came to the model; those that failed, or whose caller went away, are among them.
    requests: i64,
    /// Rows or pictures that the model answered.
    inferences: i64,
    images: i64,
    /// Bytes of the requests' bodies.
    bytes: i64,
    /// Time that the model ran, in microseconds.
    compute_microseconds: i64,
    /// Requests whose answer could not be given; they cost nothing.
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
    /// Calls that came to the model; those that failed, or whose caller went away, are among them.
    requests: i64,
    /// Rows or pictures that the model answered.
    inferences: i64,
    images: i64,
    /// Bytes of the requests' bodies.
    bytes: i64,
    /// Time that the model ran, in microseconds.
    compute_microseconds: i64,
    /// Requests whose answer could not be given; they cost nothing.
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

/// The state of a quota, as admission sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuotaStanding {
    /// Its name in `RateLimit-Policy`.
    name: &'static str,
    /// The key that it is of; null: the account's.
    api_key_id: Option<Uuid>,
    #[schema(value_type = QuotaUnit)]
    unit: &'static str,
    #[schema(value_type = QuotaPeriod)]
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

/// Usage by day, model and credential, and the state of the quotas.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    items: Vec<UsageItem>,
    /// The account's, and those of the key that asks.
    quotas: Vec<QuotaStanding>,
}

/// One's own usage and the state of one's quotas. The last seconds may be missing: usage is written in batches.
#[utoipa::path(get, path = "/api/v1/me/usage", tag = "me", params(Days), responses((status = 200, body = Usage)))]
pub async fn own(
    caller: Caller<Authenticated>,
    app: web::Data<App>,
    days: Parameters<Days>,
) -> Result<web::Json<Usage>> {
    let (from, to) = days.0.read(app.auth.now().date_naive())?;
    let rows = app.auth.own_usage(&caller.principal, from, to).await?;
    let quotas = app.auth.own_quotas(&caller.principal).await?;
    Ok(web::Json(Usage {
        items: rows.into_iter().map(Into::into).collect(),
        quotas: quotas.into_iter().map(Into::into).collect(),
    }))
}
