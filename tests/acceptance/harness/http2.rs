//! HTTP/2 by hand, for what no client of gRPC does: calls that are begun and not ended, answers that are not read.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, SendRequest};
use http::Request;
use prost::Message;
use tonic::{Code, Status};

use super::server::Server;

/// A connection of a client's own.
pub struct Connection {
    requests: SendRequest<Bytes>,
}

/// A call that was begun.
pub struct Begun {
    pub body: h2::SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

impl Connection {
    /// Opens one; `window` is how much of each answer it takes before it reads any.
    pub async fn open(server: &Server, window: u32) -> Self {
        let stream = tokio::net::TcpStream::connect(server.grpc_address()).await.expect("the server listens");
        let mut builder = Builder::new();
        builder.initial_window_size(window);
        let (requests, connection) = builder.handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { requests }
    }

    /// Begins a call with this metadata, and sends nothing else yet.
    pub async fn begin(&mut self, method: &str, metadata: &[(&str, &str)]) -> Result<Begun, h2::Error> {
        let mut request = Request::post(format!("http://api.example.com/{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in metadata {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await?;
        let (answer, body) = requests.send_request(request.body(()).expect("a request"), false)?;
        Ok(Begun { body, answer })
    }
}

impl Begun {
    /// Sends bytes as they are. A call that is answered already takes none.
    pub fn send(&mut self, bytes: impl Into<Bytes>, is_end: bool) {
        let _ = self.body.send_data(bytes.into(), is_end);
    }

    /// Waits for the status: of the answer's head, or of its end.
    pub async fn status(self) -> Result<Status, h2::Error> {
        Ok(self.answer().await?.1)
    }

    /// Waits for all of the answer: its body, and its status.
    pub async fn answer(self) -> Result<(Bytes, Status), h2::Error> {
        let (head, mut body) = self.answer.await?.into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Ok((Bytes::new(), status));
        }
        let mut whole = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            whole.extend_from_slice(&data);
        }
        let end = body.trailers().await?.unwrap_or_default();
        let status = Status::from_header_map(&end).unwrap_or_else(|| Status::new(Code::Unknown, "no status"));
        Ok((whole.freeze(), status))
    }

    /// Waits for the head of the answer and reads nothing of it.
    pub async fn unread(self) -> Result<h2::RecvStream, h2::Error> {
        Ok(self.answer.await?.into_body())
    }
}

/// A message as it stands in a body.
pub fn framed(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).expect("a length"));
    message.encode(&mut bytes).expect("a message");
    bytes.freeze()
}
