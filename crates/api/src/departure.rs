//! Clients that go away while their answer is being made. The framework lets a handler finish all the same, and a model
//! would be kept busy for nobody.

use std::any::Any;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;

/// How often to look again while bytes of a next request lie unread before the end.
const AGAIN: Duration = Duration::from_millis(100);

/// A second handle of a client's connection, which only looks whether it has ended.
struct Connection(TcpStream);

impl Connection {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        let twin = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        TcpStream::from_std(twin).map(Self)
    }

    /// Ends when the client has closed its side.
    async fn gone(&self) {
        while matches!(self.0.peek(&mut [0]).await, Ok(1..)) {
            actix_web::rt::time::sleep(AGAIN).await;
        }
    }
}

/// For each connection that is accepted. One that cannot be watched, for want of handles, is served all the same.
pub fn watch(connection: &dyn Any, data: &mut Extensions) {
    if let Some(Ok(connection)) = connection.downcast_ref::<TcpStream>().map(Connection::of) {
        data.insert(connection);
    }
}

/// Ends when the client of the request has closed its side of the connection; never where that cannot be seen.
pub async fn of(request: &HttpRequest) {
    match request.conn_data::<Connection>() {
        Some(connection) => connection.gone().await,
        None => std::future::pending().await,
    }
}

/// Drops the run where its client departs before it ends; the answer is then for nobody.
pub async fn unless<Answer>(
    departure: impl Future<Output = ()>,
    run: impl Future<Output = Result<Answer, inference::Error>>,
) -> Result<Answer, inference::Error> {
    tokio::select! {
        biased;
        answer = run => answer,
        () = departure => Err(inference::Error::Deadline),
    }
}
