//! Events of the audit trail as they come. The caller's permission is checked again before anything is sent.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderMap;
use actix_web::web::{self, Bytes};
use auth::{LimitClass, Permission, PresentedCredential, Principal};
use chrono::{DateTime, Utc};
use futures_util::Stream;
use futures_util::stream::unfold;
use storage::{AuditEvent, AuditFilter, IpPlace, with_causes};
use tokio::sync::OwnedSemaphorePermit;

use super::audit::AuditEventView;
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::guard::permission::AuditRead;
use crate::guard::{Caller, credential};

/// How often new events are looked for.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long nothing may be sent: a listener who has gone away is noticed by sending, and keeps a place until then.
const SILENCE: Duration = Duration::from_secs(2);
/// Events sent at a time.
const BATCH: u32 = 100;

/// One who reads the trail for longer than one answer takes.
pub struct Listener {
    pub(super) app: web::Data<App>,
    pub(super) filter: AuditFilter,
    address: IpAddr,
    /// Where the credential stands.
    headers: HeaderMap,
    principal: Arc<Principal>,
    /// Given back when nobody listens any more.
    _place: OwnedSemaphorePermit,
}

/// Where a stream is.
struct Position {
    listener: Listener,
    after: i64,
    until: DateTime<Utc>,
    last_sent: Instant,
    is_first: bool,
}

impl Listener {
    /// Takes a place; 503 where all are taken.
    pub fn new(
        app: &web::Data<App>,
        caller: &Caller<AuditRead>,
        headers: HeaderMap,
        filter: AuditFilter,
    ) -> Result<Self> {
        let address =
            caller.origin.address.ok_or_else(|| ApiError::internal("a request without an address"))?;
        let place = Arc::clone(&app.audit_readers).try_acquire_owned();
        let place = place.map_err(|_| {
            ApiError::new(
                Code::Overloaded,
                "As many read the audit trail at length as AUDIT_READERS allows; try again later.",
            )
        })?;
        let principal = Arc::clone(&caller.principal);
        Ok(Self { app: app.clone(), filter, address, headers, principal, _place: place })
    }

    /// Whether the caller may go on reading.
    pub(super) async fn may_go_on(&self) -> bool {
        if self.app.known_health.draining.load(Ordering::Relaxed) {
            return false;
        }
        let auth = &self.app.auth;
        if auth.require_address(self.address, IpPlace::Admin).is_err() {
            return false;
        }
        match credential::read(&self.headers) {
            Ok(text) => {
                let (credential, permission) =
                    (PresentedCredential::Whole(text), Some(Permission::AuditRead));
                let admitted =
                    auth.admit(&credential, self.address, permission, LimitClass::Exempt, None).await;
                // How much the caller does besides ends no reading.
                admitted.map_or_else(|refusal| matches!(refusal.error, auth::Error::Throttled(_)), |_| true)
            }
            // A signature is good once.
            Err(_) => auth.may_still(&self.principal, Permission::AuditRead).await,
        }
    }

    /// The events behind a number, until the right or the time ends.
    pub fn events(
        self,
        after: i64,
        seconds: u32,
    ) -> impl Stream<Item = std::result::Result<Bytes, Infallible>> {
        let until = self.app.auth.now() + Duration::from_secs(u64::from(seconds));
        let place = Position { listener: self, after, until, last_sent: Instant::now(), is_first: true };
        unfold(place, |mut place| async move {
            let text = place.next().await?;
            place.last_sent = Instant::now();
            Some((Ok(Bytes::from(text)), place))
        })
    }
}

impl Position {
    /// What to send next; none: no more.
    async fn next(&mut self) -> Option<String> {
        if std::mem::take(&mut self.is_first) {
            return Some(": the audit trail\n\n".into());
        }
        loop {
            if !self.listener.may_go_on().await {
                return None;
            }
            let Listener { app, filter, .. } = &self.listener;
            match app.auth.audit_events_linked_after(self.after, filter, BATCH).await {
                Ok(events) if !events.is_empty() => return Some(self.render(events)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(error = with_causes(&error), "a stream of the audit trail ends early");
                    return None;
                }
            }
            if self.until <= app.auth.now() {
                return None;
            }
            if self.last_sent.elapsed() >= SILENCE {
                return Some(": nothing new\n\n".into());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    fn render(&mut self, events: Vec<AuditEvent>) -> String {
        let mut text = String::new();
        for event in events {
            self.after = event.seq.unwrap_or(self.after);
            let data = serde_json::to_string(&AuditEventView::from(event)).unwrap_or_default();
            text.push_str(&format!("id: {}\ndata: {data}\n\n", self.after));
        }
        text
    }
}
