//! The ephemeral engine in this process: one map behind one lock, held for microseconds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Check, Outcome, WindowState, micros};

/// A bounded map whose values expire.
#[derive(Debug)]
pub(super) struct Memory {
    max_entries: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    values: HashMap<Arc<str>, Entry>,
    /// The same keys by the moment at which they expire, so that the next to go is found without a search.
    by_expiry: BTreeSet<(i64, Arc<str>)>,
}

/// A value and the moment (in microseconds) from which it is absent.
#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    expires: i64,
}

/// As it was given: counts are not made text and read again with each request.
#[derive(Clone, Debug)]
enum Value {
    Number(i64),
    Text(String),
}

impl Entry {
    /// The value as a number. A text counts as the highest: a key of the wrong kind must refuse.
    fn number(&self) -> i64 {
        let text = match &self.value {
            Value::Number(number) => return *number,
            Value::Text(text) => text,
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).unwrap_or(i64::MAX)
    }

    fn text(&self) -> String {
        match &self.value {
            Value::Number(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        }
    }
}

impl Memory {
    pub(super) fn new(max_entries: usize) -> Self {
        Self { max_entries: max_entries.max(1), entries: Mutex::default() }
    }

    pub(super) fn decide(&self, checks: &[Check<'_>], now: i64) -> Outcome {
        let mut entries = self.entries.lock();
        let mut decision = Decision {
            entries: &entries,
            now,
            shortened: Vec::new(),
            pending: Vec::with_capacity(checks.len()),
            windows: Vec::with_capacity(checks.len()),
        };
        let mut refused = None;
        for (index, check) in checks.iter().enumerate() {
            if !decision.passes(check) {
                refused = refused.or(Some(index));
            }
        }
        let Decision { shortened, pending, windows, .. } = decision;
        let windows =
            windows.into_iter().map(|(before, after)| if refused.is_some() { before } else { after });
        let outcome = Outcome { refused, windows: windows.collect() };
        let counted = pending.into_iter().filter(|_| outcome.refused.is_none());
        for (key, entry) in shortened.into_iter().chain(counted) {
            entries.put(key, entry, self.max_entries);
        }
        outcome
    }

    pub(super) fn raise(&self, key: &str, value: i64, now: i64, life: i64) {
        let mut entries = self.entries.lock();
        let mut entry = Entry { value: Value::Number(value), expires: now + life };
        if let Some(old) = entries.live(key, now) {
            entry.expires = entry.expires.max(old.expires);
            if old.number() > value {
                entry.value.clone_from(&old.value);
            }
        }
        entries.put(key, entry, self.max_entries);
    }

    pub(super) fn put_if_absent(&self, key: &str, value: &str, now: i64, life: i64) -> bool {
        let mut entries = self.entries.lock();
        if entries.live(key, now).is_some() {
            return false;
        }
        entries.put(
            key,
            Entry { value: Value::Text(value.to_owned()), expires: now + life },
            self.max_entries,
        );
        true
    }

    pub(super) fn get(&self, key: &str, now: i64) -> Option<String> {
        self.entries.lock().live(key, now).map(Entry::text)
    }

    pub(super) fn forget(&self, key: &str, now: i64) -> bool {
        let mut entries = self.entries.lock();
        let was_live = entries.live(key, now).is_some();
        entries.remove(key);
        was_live
    }
}

impl Entries {
    fn live(&self, key: &str, now: i64) -> Option<&Entry> {
        self.values.get(key).filter(|entry| entry.expires > now)
    }

    fn put(&mut self, key: &str, entry: Entry, max_entries: usize) {
        // A window keeps its end, so that counting in it changes nothing but the count.
        if let Some(old) = self.values.get_mut(key).filter(|old| old.expires == entry.expires) {
            old.value = entry.value;
            return;
        }
        self.remove(key);
        // Whatever has expired is first in line, and after it what will soonest.
        while self.values.len() >= max_entries {
            let Some((_, oldest)) = self.by_expiry.pop_first() else { break };
            self.values.remove(&oldest);
        }
        let key: Arc<str> = key.into();
        self.by_expiry.insert((entry.expires, Arc::clone(&key)));
        self.values.insert(key, entry);
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.values.remove_entry(key) {
            self.by_expiry.remove(&(entry.expires, key));
        }
    }
}

/// A decision in the making: what it would store, and each window before and after.
struct Decision<'entries, 'keys> {
    entries: &'entries Entries,
    now: i64,
    /// Windows that would last longer than their period, because the clock was set back.
    shortened: Vec<(&'keys str, Entry)>,
    /// At most one for each window check.
    pending: Vec<(&'keys str, Entry)>,
    windows: Vec<(WindowState, WindowState)>,
}

impl<'keys> Decision<'_, 'keys> {
    fn passes(&mut self, check: &Check<'keys>) -> bool {
        match *check {
            Check::Unchanged { key, seen } => {
                self.entries.live(key, self.now).is_none_or(|old| old.number() <= seen)
            }
            Check::Absent { key } => self.entries.live(key, self.now).is_none(),
            Check::Window { key, limit, period, cost } => self.window(key, limit, period, cost),
        }
    }

    fn window(&mut self, key: &'keys str, limit: u32, period: Duration, cost: u32) -> bool {
        let place = self.pending.iter().position(|(pending, _)| *pending == key);
        let latest = self.now + micros(period);
        let old = match place {
            Some(place) => Some(&self.pending[place].1),
            None => self.entries.live(key, self.now),
        };
        let count = old.map_or(0, Entry::number);
        let total = count.saturating_add(i64::from(cost));
        let late = old.filter(|old| place.is_none() && old.expires > latest).map(|late| late.value.clone());
        let expires = old.filter(|_| late.is_none()).map_or(latest, |old| old.expires);
        let started = old.is_some();
        self.shortened.extend(late.map(|value| (key, Entry { value, expires })));
        self.windows.push((
            self.state(limit, count, started.then_some(expires)),
            self.state(limit, total, (started || cost > 0).then_some(expires)),
        ));
        if cost > 0 {
            let entry = Entry { value: Value::Number(total), expires };
            match place {
                Some(place) => self.pending[place].1 = entry,
                None => self.pending.push((key, entry)),
            }
        }
        total <= i64::from(limit)
    }

    fn state(&self, limit: u32, count: i64, expires: Option<i64>) -> WindowState {
        let remaining = u32::try_from(i64::from(limit).saturating_sub(count)).unwrap_or(0);
        let left = expires.map_or(0, |expires| expires - self.now);
        WindowState { limit, remaining, reset_after: Duration::from_micros(u64::try_from(left).unwrap_or(0)) }
    }
}
