//! The log of a running server, collected as it is written.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

#[derive(Debug, Default)]
struct Collected {
    text: String,
    /// Streams that have not ended.
    open: usize,
}

/// Standard output and standard error, line by line.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<(Mutex<Collected>, Condvar)>);

impl Log {
    /// Collects a stream until it ends.
    pub fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        log.change(|collected| collected.open += 1);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.change(|collected| {
                    collected.text.push_str(&line);
                    collected.text.push('\n');
                });
            }
            log.change(|collected| collected.open -= 1);
        })
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// Waits for a line that `find` finds something in; nothing when the streams end or the time is up.
    pub fn wait_for<T>(&self, patience: Duration, find: impl Fn(&Value) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let (lock, changed) = &*self.0;
        let mut collected = lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let lines = collected.text.lines().filter_map(|line| serde_json::from_str(line).ok());
            if let Some(found) = lines.into_iter().find_map(|line: Value| find(&line)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || collected.open == 0 {
                return None;
            }
            collected = changed.wait_timeout(collected, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn change(&self, change: impl FnOnce(&mut Collected)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }
}
