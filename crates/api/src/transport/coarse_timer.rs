//! A timer that all who wait on a thread share, for what nearly never waits until it ends.
//!
//! A timer of its own for each request would be due before everything else, of which the event loop is told by a call
//! of the kernel, and be gone again before that.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt::{spawn, time};
use tokio::sync::Notify;

/// The time between two ticks.
const INTERVAL: Duration = Duration::from_millis(20);

thread_local! {
    static TIMER: Rc<Timer> = Rc::default();
}

#[derive(Default)]
struct Timer {
    ticks: Notify,
    /// It stops after an interval in which nobody came.
    is_running: Cell<bool>,
    /// Whether somebody came since the last tick.
    is_awaited: Cell<bool>,
}

/// Ends with the thread's next tick: at once, or in 20 ms at most.
pub async fn tick() {
    let timer = TIMER.with(Rc::clone);
    timer.is_awaited.set(true);
    if !timer.is_running.replace(true) {
        spawn(run(Rc::clone(&timer)));
    }
    timer.ticks.notified().await;
}

async fn run(timer: Rc<Timer>) {
    while timer.is_awaited.replace(false) {
        time::sleep(INTERVAL).await;
        timer.ticks.notify_waiters();
    }
    timer.is_running.set(false);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use futures_util::future::join_all;

    use super::*;

    #[test]
    fn all_who_wait_go_on_with_one_tick_and_whoever_comes_later_with_another() {
        actix_web::rt::System::new().block_on(async {
            let timer = TIMER.with(Rc::clone);
            for _ in 0..2 {
                assert!(!timer.is_running.get(), "it stops when nobody comes");
                let all = join_all((0..3).map(|_| tick()));
                time::timeout(100 * INTERVAL, all).await.unwrap();
                time::timeout(100 * INTERVAL, async {
                    while timer.is_running.get() {
                        time::sleep(INTERVAL).await;
                    }
                })
                .await
                .unwrap();
            }
        });
    }
}
