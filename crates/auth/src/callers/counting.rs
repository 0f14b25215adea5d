//! Counting a request: every window and whether the caller is still who they were, in one round trip or, for a caller
//! with many requests a second, in none (docs/decisions/0039).

use std::time::Instant;

use storage::{Check, Outcome, WindowState};

use super::admission::{AllowanceState, IN_FLIGHT_RETRY};
use crate::keys::signed_requests;
use crate::limits::Window;
use crate::limits::ahead::Moment;
use crate::quotas::QuotaUnit;
use crate::{Auth, Error, Principal, Result, Throttle};

/// The store's decision on a request.
pub(super) enum Verdict {
    Admitted(Vec<AllowanceState>),
    /// Something about the caller changed since it was cached.
    Stale,
    Throttled(Throttle),
}

/// A key and the number of the last change under it that is known.
type Seen = (String, i64);

impl Auth {
    /// Counts one attempt in all of the given windows, or in none, before it is made.
    pub(crate) async fn reserve(&self, windows: &[Window]) -> Result<Vec<AllowanceState>> {
        match self.count(&[], windows).await? {
            Verdict::Throttled(throttle) => Err(Error::Throttled(throttle)),
            Verdict::Admitted(states) => Ok(states),
            Verdict::Stale => Ok(Vec::new()),
        }
    }

    /// Counts a request of a caller.
    pub(super) async fn count_caller(&self, principal: &Principal, windows: &[Window]) -> Result<Verdict> {
        if !self.ephemeral.is_redis() {
            // What the store in memory knows of changes it was told here, where they were known before.
            if !principal.is_unchanged(&self.freshness) {
                return Ok(Verdict::Stale);
            }
            return self.count(&[], windows).await;
        }
        let moment = Moment { clock: self.now(), asked: Instant::now() };
        let was_confirmed = principal.confirmation.holds(moment.asked);
        if was_confirmed && let Some(states) = self.counted_ahead.draw(windows, moment) {
            return Ok(Verdict::Admitted(states_of(windows, &states)));
        }
        let seen = principal.watched_checks();
        match self.count_ahead(principal, &seen, windows, moment, was_confirmed).await {
            Err(error) => self.stand_in(error, &seen, windows).await,
            verdict => verdict,
        }
    }

    /// Counts a request and, where many come, some of the next ones.
    async fn count_ahead(
        &self,
        principal: &Principal,
        seen: &[Seen],
        windows: &[Window],
        moment: Moment,
        was_confirmed: bool,
    ) -> Result<Verdict> {
        let mut counts = self.counted_ahead.plan(windows, moment);
        let mut outcome = self.ask(seen, windows, &counts).await?;
        let is_full = |outcome: &Outcome| outcome.refused.is_some_and(|index| index >= seen.len());
        if is_full(&outcome) {
            // For what was planned, or by what was counted ahead before: once more, with as little as will do.
            let least = self.counted_ahead.draw_some(windows, moment);
            if least != counts {
                counts = least;
                outcome = self.ask(seen, windows, &counts).await?;
            }
        }
        if outcome.refused.is_none() {
            self.counted_ahead.keep(windows, &counts, &mut outcome.windows, moment, was_confirmed);
        } else {
            self.counted_ahead.put_back(windows, &counts);
        }
        if outcome.refused.is_none() || is_full(&outcome) {
            principal.confirmation.note(moment.asked);
        }
        Ok(read_outcome(&outcome, seen.len(), windows))
    }

    async fn count(&self, seen: &[Seen], windows: &[Window]) -> Result<Verdict> {
        match self.ask(seen, windows, &[]).await {
            Ok(outcome) => Ok(read_outcome(&outcome, seen.len(), windows)),
            Err(error) => self.stand_in(error, seen, windows).await,
        }
    }

    /// Asks the store, in one round trip.
    async fn ask(&self, seen: &[Seen], windows: &[Window], counts: &[u32]) -> Result<Outcome> {
        let checks = checks_of(seen, windows, counts);
        let outcome = self.ephemeral.decide(&checks).await?;
        if self.ephemeral.is_redis() && !checks.is_empty() {
            self.freshness.note_contact();
        }
        Ok(outcome)
    }

    /// Counts in this process while the store is away; revocations are known here through the change feed.
    async fn stand_in(&self, error: Error, seen: &[Seen], windows: &[Window]) -> Result<Verdict> {
        if !matches!(error, Error::Unavailable(_)) || !signed_requests::can_stand_in(windows) {
            return Err(error);
        }
        let shares: Vec<Window> = windows
            .iter()
            .map(|window| Window { limit: self.outage.share(window), ..window.clone() })
            .collect();
        let outcome = self.stand_in.decide(&checks_of(seen, &shares, &[])).await?;
        Ok(read_outcome(&outcome, seen.len(), &shares))
    }
}

/// One request is counted in each window for which `counts` says nothing else.
fn checks_of<'a>(seen: &'a [Seen], windows: &'a [Window], counts: &'a [u32]) -> Vec<Check<'a>> {
    let fresh_checks = seen.iter().map(|(key, seen)| Check::Unchanged { key, seen: *seen });
    let window_checks = windows.iter().enumerate().map(|(index, window)| Check::Window {
        key: &window.key,
        limit: window.limit,
        period: window.period,
        cost: counts.get(index).copied().unwrap_or(1),
    });
    fresh_checks.chain(window_checks).collect()
}

impl Principal {
    fn watched_checks(&self) -> Vec<Seen> {
        self.watched().into_iter().map(|watched| (watched.ephemeral_key(), self.seen)).collect()
    }
}

fn states_of(windows: &[Window], states: &[WindowState]) -> Vec<AllowanceState> {
    let state_of = |(window, state): (&Window, &WindowState)| AllowanceState {
        name: window.name,
        limit: window.limit.into(),
        period: window.period,
        remaining: state.remaining.into(),
        reset_after: state.reset_after,
        unit: QuotaUnit::Requests,
        is_over: false,
    };
    windows.iter().zip(states).map(state_of).collect()
}

fn read_outcome(outcome: &Outcome, fresh: usize, windows: &[Window]) -> Verdict {
    let states = states_of(windows, &outcome.windows);
    match outcome.refused {
        None => Verdict::Admitted(states),
        Some(index) if index < fresh => Verdict::Stale,
        Some(index) => {
            let refusing = states.get(index - fresh);
            Verdict::Throttled(Throttle {
                policy: refusing.map_or("", |state| state.name),
                // Another window may be exhausted as well: the wait is over when all of them are.
                retry_after: states
                    .iter()
                    .filter(|state| state.remaining == 0)
                    .map(|state| state.reset_after)
                    .max()
                    .unwrap_or(IN_FLIGHT_RETRY),
                windows: states,
            })
        }
    }
}
