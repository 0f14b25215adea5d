//! One connection: taken while there is room for it, ended where its client does not play along.
//!
//! HTTP/2 itself bounds streams and headers, and asks a silent peer for a sign of life. What it does not bound is how
//! long a client takes to say its first words, and how long it lets an answer wait by never widening its window.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Interval, interval};
use tonic::transport::server::Connected;

use super::unsent::Unsent;

/// How long a client may take to send the first words of HTTP/2.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Length of these words (RFC 9113, section 3.4).
const PREFACE_LENGTH: usize = 24;
/// How often a connection is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is accepted after that failed: what is missing, such as file descriptors, needs a moment to come
/// back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections as they come, no more than there are places for at a time.
pub fn incoming(
    listener: TcpListener,
    places: u32,
    patience: Duration,
) -> impl Stream<Item = io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS)));
    unfold((listener, places), move |(listener, places)| async move {
        let place = Arc::clone(&places).acquire_owned().await.ok()?;
        let connection = accept(&listener, place, patience).await;
        Some((Ok(connection), (listener, places)))
    })
}

async fn accept(listener: &TcpListener, place: OwnedSemaphorePermit, patience: Duration) -> Connection {
    loop {
        let accepted = listener.accept().await.and_then(|(stream, peer)| {
            stream.set_nodelay(true)?;
            Ok((stream, peer))
        });
        match accepted {
            Ok((stream, peer)) => return Connection::new(stream, peer, place, patience),
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A client's connection.
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    answers: Unsent,
    patience: Duration,
    opened: Instant,
    /// Bytes of the first words that have not come yet.
    preface: usize,
    look: Interval,
    _place: OwnedSemaphorePermit,
}

/// What a request knows of its connection.
#[derive(Clone)]
pub struct Peer {
    /// The other end.
    pub address: SocketAddr,
    /// The connection's answers on their way.
    pub answers: Unsent,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer { address: self.peer, answers: self.answers.clone() }
    }
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit, patience: Duration) -> Self {
        Self {
            stream,
            peer,
            answers: Unsent::default(),
            patience,
            opened: Instant::now(),
            preface: PREFACE_LENGTH,
            look: interval(LOOK_INTERVAL),
            _place: place,
        }
    }

    /// Ends a connection that waits when its time is up. What can be done is done first: a busy server's delay is not
    /// the client's.
    fn waits<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.look.poll_tick(context).is_ready() {
            let mute = self.preface > 0 && self.opened.elapsed() > PREFACE_TIMEOUT;
            if mute || self.answers.longest().is_some_and(|wait| wait > self.patience) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        Poll::Pending
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, buffer)?.is_pending() {
            return self.waits(context);
        }
        self.preface = self.preface.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.waits(context),
            written => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, slices) {
            Poll::Pending => self.waits(context),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
