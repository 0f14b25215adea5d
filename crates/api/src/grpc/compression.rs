//! Compressed messages (`grpc-encoding`; gRPC over HTTP/2, "Compression"): unpacked before the framework, which knows no
//! bound, gets to see them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use actix_web::web;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};
use tonic::Status;

use super::body::{BoundedBody, PREFIX};
use super::status::refuse;
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::transport::HeaderLines;
use crate::transport::encodings::{Encoding, unsupported};

/// Says how the messages of a call are compressed, those that are.
const ENCODING: &str = "grpc-encoding";

/// Takes from the headers how compressed messages are to be unpacked; none where there are none.
pub fn take_encoding(headers: &mut HeaderMap) -> Result<Option<Encoding>> {
    let encoding = match headers.text(ENCODING) {
        Some("identity") => None,
        Some(name) => Some(Encoding::named(name).ok_or_else(|| unsupported(Encoding::NAMES))?),
        None if headers.contains_key(ENCODING) => return Err(unsupported(Encoding::NAMES)),
        None => None,
    };
    headers.remove(ENCODING);
    Ok(encoding)
}

/// A body whose messages are given as if they had never been compressed, one after the other.
pub struct UnpackedBody {
    inner: BoundedBody,
    encoding: Encoding,
    app: web::Data<App>,
    /// What came and belongs to later messages.
    waiting: Bytes,
    /// What came of the present message, with what stands before it.
    packed: BytesMut,
    /// The present message while it is being unpacked.
    unpacking: Option<Unpacking>,
    /// The unpacked message, of which only the beginning is given yet.
    unpacked: Option<Bytes>,
}

type Unpacking = Pin<Box<dyn Future<Output = Result<Bytes>> + Send>>;

impl UnpackedBody {
    /// Unpacks messages within the bounds of `inner`.
    pub fn new(inner: BoundedBody, encoding: Encoding, app: web::Data<App>) -> Self {
        let (waiting, packed) = (Bytes::new(), BytesMut::new());
        Self { inner, encoding, app, waiting, packed, unpacking: None, unpacked: None }
    }

    /// What can be given of what has come; none where more has to come first.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(message) = self.unpacked.take() {
            return Poll::Ready(Ok(Some(message)));
        }
        if self.unpacking.is_none() {
            let Some(message) = self.message() else { return Poll::Ready(Ok(None)) };
            if message.first() != Some(&1) {
                return Poll::Ready(Ok(Some(message)));
            }
            self.unpacking = Some(self.unpack(message.slice(PREFIX..)));
        }
        let Some(unpacking) = &mut self.unpacking else { return Poll::Ready(Ok(None)) };
        let unpacked = ready!(unpacking.as_mut().poll(context));
        self.unpacking = None;
        Poll::Ready(unpacked.and_then(|message| self.begin(message)).map(Some))
    }

    /// The present message with what stands before it, once all of it has come.
    fn message(&mut self) -> Option<Bytes> {
        self.collect(PREFIX);
        let &[_, a, b, c, d] = self.packed.first_chunk::<PREFIX>()?;
        let whole =
            PREFIX.saturating_add(usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX));
        self.collect(whole);
        (self.packed.len() >= whole).then(|| self.packed.split().freeze())
    }

    /// Moves what waits to the present message, until that has this length.
    fn collect(&mut self, length: usize) {
        let lacking = length.saturating_sub(self.packed.len());
        let more = self.waiting.split_to(lacking.min(self.waiting.len()));
        self.packed.extend_from_slice(&more);
    }

    /// Unpacks a message where bodies of HTTP are: by as few at a time, for a short one may become a long one.
    fn unpack(&self, packed: Bytes) -> Unpacking {
        let (app, encoding, limit) = (self.app.clone(), self.encoding, self.inner.limit());
        let resources = self.inner.resources().clone();
        Box::pin(async move {
            let account = resources.messages().room.account();
            let (length, room) = (packed.len(), app.bodies.expect_beside(account, 0, packed.len())?);
            let decode = move || encoding.decode(&packed, room, limit);
            let unpacked = app.bodies.work(limit, app.deadline(Instant::now()), decode).await?;
            let message = unpacked.map_err(in_words_of_grpc)?;
            // Until the framework has its copy, the message has room of its own.
            let mut messages = resources.messages();
            messages.room.set_beside(message.len());
            messages.room.grow_to(length.saturating_add(message.len()))?;
            messages.room.set_beside(0);
            drop(messages);
            Ok(message)
        })
    }

    /// Gives what stands before the unpacked message, and keeps that for the next time.
    fn begin(&mut self, message: Bytes) -> Result<Bytes> {
        let mut prefix = BytesMut::with_capacity(PREFIX);
        prefix.put_u8(0);
        prefix.put_u32(u32::try_from(message.len()).map_err(ApiError::internal)?);
        self.unpacked = Some(message);
        Ok(prefix.freeze())
    }
}

/// An error of HTTP, which has another header.
fn in_words_of_grpc(error: ApiError) -> ApiError {
    if error.code != Code::MalformedRequest {
        return error;
    }
    ApiError::new(error.code, "The message is not what grpc-encoding says, or not all of it.")
}

impl Body for UnpackedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Status>>> {
        loop {
            match ready!(self.poll_next(context)) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(refuse(error)))),
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.waiting = data,
                Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                None if self.packed.is_empty() => return Poll::Ready(None),
                // The framework says what it says of any message that breaks off.
                None => return Poll::Ready(Some(Ok(Frame::data(self.packed.split().freeze())))),
            }
        }
    }
}
