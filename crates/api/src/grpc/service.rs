//! `GRPCInferenceService`: look up, decide, act, answer, as the handlers of `/v2` do.

use std::pin::Pin;
use std::sync::Arc;

use actix_web::web;
use auth::ModelChange;
use futures_util::Stream;
use inference::{Model, NamedTensor};
use prost::Message;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::call::Call;
use super::proto::inference as of;
use super::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use super::proto::inference::repository_index_response::ModelIndex;
use super::status::refuse;
use super::stream::InferStream;
use super::tensors;
use crate::app::App;
use crate::error::{ApiError, Code, Result as ApiResult};
use crate::guard::Caller;
use crate::guard::permission::{ModelsInfer, ModelsManage, ModelsRead};
use crate::middleware::AddressLimit;
use crate::model_acts;
use crate::oip::config::ModelConfig;
use crate::oip::infer::{CompletedCall, ReceivedCall, classified, invalid, perform, with_deadline};
use crate::oip::metadata::ServerMetadata;
use crate::oip::repository::refuse_files;
use crate::oip::request::{Signature, WantedOutput};

type Answer<Message> = Result<Response<Message>, Status>;

/// The models, over gRPC.
#[derive(Clone)]
pub struct Inference {
    pub(super) app: web::Data<App>,
    pub(super) address_limit: AddressLimit,
    /// True when the last answers are given.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Inference {
    /// Of this server.
    pub fn new(app: web::Data<App>, address_limit: AddressLimit, stopping: watch::Receiver<bool>) -> Self {
        Self { app, address_limit, stopping }
    }

    /// Answers one message of a call.
    pub(super) async fn infer(
        &self,
        call: &Call,
        caller: &Caller<ModelsInfer>,
        message: of::ModelInferRequest,
    ) -> ApiResult<of::ModelInferResponse> {
        let app = &self.app;
        let model = app.model_for(&caller.principal, &message.model_name, version(&message.model_version))?;
        let windows = app.auth.admit_to_model(&caller.principal, model.name()).await?;
        call.resources.messages().windows = windows;
        let size = message.encoded_len();
        let ticket = with_deadline(app.ticket(&caller.principal, caller.arrived), call.deadline);
        let of = Arc::clone(&model);
        let parse = move || tensors::read(message, Signature { inputs: of.inputs(), outputs: of.outputs() });
        let parsed = app.bodies.work(size, ticket.deadline, parse).await?.map_err(invalid)?;
        let held = call.resources.messages().room.bytes();
        let received = ReceivedCall { parsed, size, held };
        let CompletedCall { id, answer, wanted, size, room, charge } =
            perform(app, caller, &model, ticket, received, std::future::pending()).await?;
        // Given back with that of the message that is answered.
        call.resources.messages().room.merge(room);
        let of = Arc::clone(&model);
        let write = move || written(&of, id, answer, &wanted);
        let answer = app.bodies.work(size, ticket.deadline, write).await?.map_err(invalid)?;
        let limit = app.settings.sizes.infer_bytes();
        if answer.encoded_len() > limit {
            let detail = format!(
                "The answer is too large: the limit is {limit} bytes; ask for fewer rows or outputs."
            );
            return Err(ApiError::new(Code::TooLarge, detail));
        }
        charge.take();
        Ok(answer)
    }
}

fn written(
    model: &Model,
    id: Option<String>,
    answer: Vec<NamedTensor>,
    wanted: &[WantedOutput],
) -> Result<of::ModelInferResponse, String> {
    let outputs = classified(answer, wanted, model)?;
    let outputs: Vec<_> = outputs.into_iter().map(tensors::write).collect::<Result<_, _>>()?;
    let (outputs, raw_output_contents) = outputs.into_iter().unzip();
    Ok(of::ModelInferResponse {
        model_name: model.name().to_owned(),
        model_version: model.version().to_owned(),
        id: id.unwrap_or_default(),
        outputs,
        raw_output_contents,
        ..of::ModelInferResponse::default()
    })
}

/// No version is the empty one.
fn version(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<of::ServerLiveRequest>) -> Answer<of::ServerLiveResponse> {
        Ok(Response::new(of::ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<of::ServerReadyRequest>) -> Answer<of::ServerReadyResponse> {
        Ok(Response::new(of::ServerReadyResponse { ready: self.app.is_ready() }))
    }

    async fn server_metadata(
        &self,
        request: Request<of::ServerMetadataRequest>,
    ) -> Answer<of::ServerMetadataResponse> {
        Call::of(&request)?.caller::<ModelsRead>()?;
        let ServerMetadata { name, version, extensions } = ServerMetadata::of(env!("CARGO_PKG_VERSION"));
        Ok(Response::new(of::ServerMetadataResponse { name, version, extensions }))
    }

    async fn model_ready(&self, request: Request<of::ModelReadyRequest>) -> Answer<of::ModelReadyResponse> {
        let caller = Call::of(&request)?.caller::<ModelsRead>()?;
        let wanted = request.into_inner();
        let ready = self
            .app
            .model_ready(&caller.principal, &wanted.name, version(&wanted.version))
            .map_err(refuse)?;
        Ok(Response::new(of::ModelReadyResponse { ready }))
    }

    async fn model_metadata(
        &self,
        request: Request<of::ModelMetadataRequest>,
    ) -> Answer<of::ModelMetadataResponse> {
        let caller = Call::of(&request)?.caller::<ModelsRead>()?;
        let wanted = request.into_inner();
        let model =
            self.app.model_for(&caller.principal, &wanted.name, version(&wanted.version)).map_err(refuse)?;
        Ok(Response::new(model.as_ref().into()))
    }

    async fn model_infer(&self, request: Request<of::ModelInferRequest>) -> Answer<of::ModelInferResponse> {
        let call = Call::of(&request)?;
        let caller = call.caller::<ModelsInfer>()?;
        let answer = self.infer(&call, &caller, request.into_inner()).await;
        answer.map(Response::new).map_err(refuse)
    }

    async fn repository_index(
        &self,
        request: Request<of::RepositoryIndexRequest>,
    ) -> Answer<of::RepositoryIndexResponse> {
        let caller = Call::of(&request)?.caller::<ModelsRead>()?;
        let only_ready = request.into_inner().ready;
        let models = self.app.index_for(&caller.principal, only_ready).into_iter().map(ModelIndex::from);
        Ok(Response::new(of::RepositoryIndexResponse { models: models.collect() }))
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<of::ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<of::ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let call = Call::of(&request)?;
        call.caller::<ModelsInfer>()?;
        Ok(Response::new(Box::pin(InferStream::begin(self.clone(), call, request))))
    }

    async fn model_config(
        &self,
        request: Request<of::ModelConfigRequest>,
    ) -> Answer<of::ModelConfigResponse> {
        let caller = Call::of(&request)?.caller::<ModelsRead>()?;
        let wanted = request.into_inner();
        let model =
            self.app.model_for(&caller.principal, &wanted.name, version(&wanted.version)).map_err(refuse)?;
        Ok(Response::new(of::ModelConfigResponse { config: Some(ModelConfig::of(&model).into()) }))
    }

    async fn model_statistics(
        &self,
        request: Request<of::ModelStatisticsRequest>,
    ) -> Answer<of::ModelStatisticsResponse> {
        let caller = Call::of(&request)?.caller::<ModelsRead>()?;
        let wanted = request.into_inner();
        let (name, version) = (version(&wanted.name), version(&wanted.version));
        let counted = self.app.statistics_for(&caller.principal, name, version).map_err(refuse)?;
        let model_stats = counted.model_stats.into_iter().map(Into::into).collect();
        Ok(Response::new(of::ModelStatisticsResponse { model_stats }))
    }

    async fn repository_model_load(
        &self,
        request: Request<of::RepositoryModelLoadRequest>,
    ) -> Answer<of::RepositoryModelLoadResponse> {
        let caller = Call::of(&request)?.caller::<ModelsManage>()?;
        let wanted = request.into_inner();
        refuse_files(wanted.parameters.keys()).map_err(refuse)?;
        let load = ModelChange::Load { accept_changes: false };
        let changed = model_acts::change(self.app.clone(), caller, wanted.model_name, load).await;
        changed.map(|()| Response::new(of::RepositoryModelLoadResponse {})).map_err(refuse)
    }

    async fn repository_model_unload(
        &self,
        request: Request<of::RepositoryModelUnloadRequest>,
    ) -> Answer<of::RepositoryModelUnloadResponse> {
        let caller = Call::of(&request)?.caller::<ModelsManage>()?;
        let wanted = request.into_inner();
        refuse_files(wanted.parameters.keys()).map_err(refuse)?;
        let changed =
            model_acts::change(self.app.clone(), caller, wanted.model_name, ModelChange::Unload).await;
        changed.map(|()| Response::new(of::RepositoryModelUnloadResponse {})).map_err(refuse)
    }
}
