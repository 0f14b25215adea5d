//! A client of gRPC that checks every answer.

use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::runtime::Runtime;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::server::Server;

pub use acceptance::proto::{health, inference};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the clients of all tests work.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Calls one server over gRPC, with the metadata that it was given.
#[derive(Clone)]
pub struct Grpc {
    channel: Channel,
    metadata: MetadataMap,
}

/// What a call got: the answer, or an error that has been checked.
pub type Answer<Message> = Result<Response<Message>, Status>;

/// Waits for what a test does with gRPC.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(work)
}

impl Grpc {
    /// A client of a server with GRPC_PORT.
    pub fn of(server: &Server) -> Self {
        let address = server.grpc_address();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let _inside = RUNTIME.enter();
        Self { channel: endpoint.connect_lazy(), metadata: MetadataMap::new() }
    }

    /// The same client with one more entry in its metadata.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        let name: AsciiMetadataKey = name.parse().expect("a name");
        client.metadata.append(name, value.parse().expect("a value"));
        client
    }

    /// Calls a method, such as `inference.GRPCInferenceService/ServerLive`.
    #[track_caller]
    pub fn call<Question, Reply>(&self, method: &str, question: Question) -> Answer<Reply>
    where
        Question: Message + 'static,
        Reply: Message + Default + 'static,
    {
        wait(self.ask(method, question))
    }

    /// As [`call`](Self::call), to be waited for elsewhere.
    pub async fn ask<Question, Reply>(&self, method: &str, question: Question) -> Answer<Reply>
    where
        Question: Message + 'static,
        Reply: Message + Default + 'static,
    {
        let mut request = Request::new(question);
        *request.metadata_mut() = self.metadata.clone();
        if !self.metadata.contains_key("grpc-timeout") {
            request.set_timeout(TIMEOUT);
        }
        let mut client = tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(usize::MAX);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = client.unary(request, path(method), ProstCodec::default()).await;
        match &answer {
            Ok(answer) => {
                assert!(answer.metadata().contains_key("x-request-id"), "{method}: no x-request-id")
            }
            Err(status) => check(method, status),
        }
        answer
    }

    /// Opens a stream from the server.
    #[track_caller]
    pub fn listen<Question, Reply>(&self, method: &str, question: Question) -> Answer<Streaming<Reply>>
    where
        Question: Message + 'static,
        Reply: Message + Default + 'static,
    {
        wait(async {
            let mut request = Request::new(question);
            *request.metadata_mut() = self.metadata.clone();
            let mut client = tonic::client::Grpc::new(self.channel.clone());
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            client.server_streaming(request, path(method), ProstCodec::default()).await
        })
    }

    /// Opens a stream in both directions, on which these messages are sent as they come.
    pub async fn talk(
        &self,
        calls: tokio::sync::mpsc::Receiver<inference::ModelInferRequest>,
    ) -> Answer<Streaming<inference::ModelStreamInferResponse>> {
        let calls = futures_util::stream::unfold(calls, async |mut calls| Some((calls.recv().await?, calls)));
        let mut request = Request::new(calls);
        *request.metadata_mut() = self.metadata.clone();
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let method = path("inference.GRPCInferenceService/ModelStreamInfer");
        client.streaming(request, method, ProstCodec::default()).await
    }

    /// Runs a model.
    #[track_caller]
    pub fn infer(&self, call: inference::ModelInferRequest) -> Answer<inference::ModelInferResponse> {
        self.call("inference.GRPCInferenceService/ModelInfer", call)
    }
}

fn path(method: &str) -> PathAndQuery {
    format!("/{method}").parse().expect("a path")
}

/// Fails where an error breaks a rule that has no exception. What the client itself gave up is none of the server's.
#[track_caller]
pub fn check(method: &str, status: &Status) {
    let by_client = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded | Code::Unavailable);
    if by_client && status.details().is_empty() {
        return;
    }
    assert_ne!(status.code(), Code::Internal, "{method}: {status:?}");
    let (details, metadata) = (status.get_error_details(), status.metadata());
    let info = details.error_info().unwrap_or_else(|| panic!("{method}: no details: {status:?}"));
    assert_eq!(info.domain, "modelgate", "{method}");
    let id = metadata.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    assert!(!id.is_empty(), "{method}: no x-request-id");
    assert_eq!(details.request_info().map(|info| info.request_id.as_str()), Some(id), "{method}");
    assert!(!status.message().is_empty(), "{method}: an error without words");
    let waits = details.retry_info().is_some();
    assert_eq!(waits, metadata.contains_key("retry-after"), "{method}: {status:?}");
    assert!(waits || status.code() != Code::Unavailable, "{method}: unavailable for how long? {status:?}");
}

/// Fails unless a call was refused with this code, in gRPC's words and in ours; gives the message.
#[track_caller]
pub fn refused<Message: std::fmt::Debug>(answer: Answer<Message>, code: Code, name: &str) -> String {
    let status = answer.expect_err("a refusal");
    let told = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    assert_eq!((status.code(), told.as_str()), (code, name), "{status:?}");
    status.message().to_owned()
}

/// One input for `digits`, as bytes: rows of 64 numbers.
pub fn digits(rows: &[f32]) -> inference::ModelInferRequest {
    let input = inference::model_infer_request::InferInputTensor {
        name: "x".into(),
        datatype: "FP32".into(),
        shape: vec![i64::try_from(rows.len() / 64).expect("rows"), 64],
        ..Default::default()
    };
    inference::ModelInferRequest {
        model_name: "digits".into(),
        inputs: vec![input],
        raw_input_contents: vec![rows.iter().flat_map(|number| number.to_le_bytes()).collect()],
        ..Default::default()
    }
}

impl Server {
    /// A client of gRPC without a credential.
    pub fn grpc(&self) -> Grpc {
        Grpc::of(self)
    }

    /// One with an access token.
    pub fn grpc_user(&self, token: &str) -> Grpc {
        self.world.remember(token);
        self.grpc().with("authorization", &format!("Bearer {token}"))
    }

    /// One with an API key.
    pub fn grpc_key(&self, key: &str) -> Grpc {
        self.world.remember(key);
        self.grpc().with("x-api-key", key)
    }
}
