//! Connections of clients: those that close while an answer is being made, and those that stay idle.
//!
//! The framework lets a handler finish after its client has gone, so a model would work for nobody. It bounds the time
//! for the first head of a connection and the time between requests, but neither a later head that has begun nor an
//! answer that nobody reads: each would hold a connection for ever.

use std::any::Any;
use std::cell::Cell;
use std::future;
use std::io;
use std::net;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::body::BodySize;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::JoinHandle;
use actix_web::rt::{spawn, time};
use rustix::net::Shutdown;

use super::coarse_timer;

/// How long a request may take that no setting bounds: a model may be large, and its trial long.
pub const LONGEST_REQUEST: Duration = Duration::from_secs(2 * 3600);

/// How long an answer may be streamed, in seconds; who listens then continues with `Last-Event-ID`.
pub const LONGEST_STREAM_SECONDS: u32 = 86_400;

/// How often to look again while bytes of a next request lie unread before the end.
const AGAIN: Duration = Duration::from_millis(100);

/// How slowly an answer may be read, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// A second handle of a client's connection, to see whether it has ended, and to end it when it is overdue. The event
/// loop knows it only while somebody looks: it would wake for each request a second time.
struct Connection {
    stream: Rc<net::TcpStream>,
    due: Rc<Cell<Instant>>,
    /// How long after an answer the next head may have come whole.
    next_head: Duration,
    timer: JoinHandle<()>,
}

impl Connection {
    /// One that is cut unless a request came over it within `next_head`.
    fn of(stream: &TcpStream, next_head: Duration) -> io::Result<Self> {
        let stream = Rc::new(net::TcpStream::from(stream.as_fd().try_clone_to_owned()?));
        let due = Rc::new(Cell::new(Instant::now() + next_head));
        let timer = spawn(cut(Rc::clone(&stream), Rc::clone(&due), next_head));
        Ok(Self { stream, due, next_head, timer })
    }

    /// Ends when the client has closed its side; never where that cannot be seen, for want of handles.
    async fn gone(&self) {
        // Most answers are made before that, and each look costs calls of the kernel.
        coarse_timer::tick().await;
        let Ok(stream) = self.stream.try_clone().and_then(TcpStream::from_std) else {
            return future::pending().await;
        };
        while matches!(stream.peek(&mut [0]).await, Ok(1..)) {
            time::sleep(AGAIN).await;
        }
    }

    /// It may do other things for this long, and then there is time for the next head.
    fn is_busy_for(&self, time: Duration) {
        self.due.set(Instant::now() + time + self.next_head);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// Cuts a connection when it is due; looks at least once in `often`, for it may be due earlier than it was.
async fn cut(stream: Rc<net::TcpStream>, due: Rc<Cell<Instant>>, often: Duration) {
    loop {
        let left = due.get().saturating_duration_since(Instant::now());
        if left.is_zero() {
            // One that has ended by itself needs nothing.
            let _ = rustix::net::shutdown(&*stream, Shutdown::Both);
            return;
        }
        time::sleep(left.min(often)).await;
    }
}

/// To be called when a request has arrived, which has bounds of its own, none of them longer.
pub fn request_started(request: &HttpRequest) {
    if let Some(connection) = request.conn_data::<Connection>() {
        connection.is_busy_for(LONGEST_REQUEST);
    }
}

/// To be called when an answer is sent: there is time to read it, and then for the next head.
pub fn answer_started(request: &HttpRequest, size: BodySize) {
    if let Some(connection) = request.conn_data::<Connection>() {
        connection.is_busy_for(time_to_read(size));
    }
}

fn time_to_read(size: BodySize) -> Duration {
    match size {
        BodySize::None => Duration::ZERO,
        BodySize::Sized(bytes) => Duration::from_secs(bytes / SLOWEST),
        BodySize::Stream => Duration::from_secs(LONGEST_STREAM_SECONDS.into()),
    }
}

/// For each connection that is accepted, with how long after an answer the next head may have come whole. One that
/// cannot be watched, for want of handles, is served all the same.
pub fn watch(next_head: Duration) -> impl Fn(&dyn Any, &mut Extensions) {
    move |connection, data| {
        let stream = connection.downcast_ref::<TcpStream>();
        if let Some(Ok(connection)) = stream.map(|stream| Connection::of(stream, next_head)) {
            data.insert(connection);
        }
    }
}

/// Ends when the client of the request has closed its side of the connection; never where that cannot be seen.
pub async fn closed(request: &HttpRequest) {
    match request.conn_data::<Connection>() {
        Some(connection) => connection.gone().await,
        None => future::pending().await,
    }
}

/// Drops the run where its client goes away before it ends; the answer is then for nobody.
pub async fn unless_closed<Answer>(
    closed: impl Future<Output = ()>,
    run: impl Future<Output = Result<Answer, inference::Error>>,
) -> Result<Answer, inference::Error> {
    tokio::select! {
        biased;
        answer = run => answer,
        () = closed => Err(inference::Error::CallerLeft),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::io::Read;

    use actix_web::rt::System;
    use actix_web::rt::net::TcpListener;
    use actix_web::web;

    use super::*;

    #[test]
    fn a_connection_over_which_nothing_comes_in_time_is_cut_and_one_at_work_is_not() {
        const TIME: Duration = Duration::from_millis(20);
        System::new().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            for at_work in [false, true] {
                let mut client = net::TcpStream::connect(address).unwrap();
                let (stream, _) = listener.accept().await.unwrap();
                let connection = Connection::of(&stream, TIME).unwrap();
                if at_work {
                    connection.is_busy_for(LONGEST_REQUEST);
                    client.set_read_timeout(Some(TIME * 10)).unwrap();
                }
                let read = web::block(move || client.read(&mut [0])).await.unwrap();
                assert_eq!(read.is_err(), at_work, "{read:?}");
            }
        });
    }

    #[test]
    fn large_answers_may_be_read_longer() {
        assert_eq!(time_to_read(BodySize::Sized(100)), Duration::ZERO);
        assert_eq!(time_to_read(BodySize::Sized(64 << 20)), Duration::from_secs(4096));
        assert_eq!(time_to_read(BodySize::Sized(u64::MAX)), Duration::from_secs(u64::MAX / SLOWEST));
    }
}
