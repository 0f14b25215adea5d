//! Messages to bytes and back: prost's, after a look at what a message holds and will take.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::call::CallResources;
use super::proto::health::HealthCheckRequest;
use super::proto::inference as of;
use super::status::refuse;
use super::wire::{self, Bounded};
use crate::error::{ApiError, Code, Result as ApiResult};
use crate::transport::bodies::SMALL;

macro_rules! without_bounds_of_their_own {
    ($($message:ty)*) => { $(impl Bounded for $message {})* };
}

without_bounds_of_their_own! {
    HealthCheckRequest
    of::ServerLiveRequest
    of::ServerReadyRequest
    of::ServerMetadataRequest
    of::ModelReadyRequest
    of::ModelMetadataRequest
    of::ModelConfigRequest
    of::ModelStatisticsRequest
    of::RepositoryIndexRequest
    of::RepositoryModelLoadRequest
    of::RepositoryModelUnloadRequest
}

impl Bounded for of::ModelInferRequest {
    fn grown(message: &[u8]) -> Result<usize, String> {
        wire::check_infer_request(message)
    }
}

/// Reads and writes messages; every generated service uses it.
pub struct BoundedCodec<Encode, Decode>(PhantomData<fn(Encode) -> Decode>);

impl<Encode, Decode> Default for BoundedCodec<Encode, Decode> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Encode, Decode> Codec for BoundedCodec<Encode, Decode>
where
    Encode: Message + 'static,
    Decode: Message + Default + Bounded + 'static,
{
    type Encode = Encode;
    type Decode = Decode;
    type Encoder = Self;
    type Decoder = BoundedDecoder<Decode>;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> BoundedDecoder<Decode> {
        BoundedDecoder { resources: CallResources::of_this_call(), message: PhantomData }
    }
}

impl<Encode: Message, Decode> Encoder for BoundedCodec<Encode, Decode> {
    type Item = Encode;
    type Error = Status;

    fn encode(&mut self, message: Encode, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        aside(message.encoded_len(), || message.encode(buffer))
            .map_err(|error| refuse(ApiError::internal(error)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// Reads the messages of one call.
pub struct BoundedDecoder<Decode> {
    resources: ApiResult<CallResources>,
    message: PhantomData<fn() -> Decode>,
}

impl<Decode> BoundedDecoder<Decode> {
    /// Makes room for a message and what it becomes, before it does.
    fn make_room(&self, length: usize) -> ApiResult<()> {
        self.resources.as_ref().map_err(Clone::clone)?.messages().room.grow_to(length)
    }
}

impl<Decode: Message + Default + Bounded> Decoder for BoundedDecoder<Decode> {
    type Item = Decode;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Decode>, Status> {
        let malformed = |reason: String| {
            refuse(ApiError::new(Code::MalformedRequest, format!("The message is not valid: {reason}.")))
        };
        let length = buffer.remaining();
        aside(length, || {
            // A message lies in one piece.
            let grown = Decode::grown(buffer.chunk()).map_err(malformed)?;
            self.make_room(length.saturating_add(grown)).map_err(refuse)?;
            Decode::decode(buffer).map(Some).map_err(|error| malformed(error.to_string()))
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// Large messages are worked on while other tasks of this thread are carried on by another one.
fn aside<T>(size: usize, work: impl FnOnce() -> T) -> T {
    if size <= SMALL { work() } else { tokio::task::block_in_place(work) }
}
