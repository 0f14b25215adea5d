//! `ModelStreamInfer`: calls one after the other on one stream. Each message is let in by itself, as if it came
//! alone: the credential is looked at again, the limits count it, and its answer is an answer or an error of its own.

use std::sync::Arc;
use std::time::Instant;

use auth::LimitClass;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::HeaderMap;
use storage::IpPlace;
use tonic::{Request, Status, Streaming};

use super::call::Call;
use super::proto::inference as of;
use super::record::Record;
use super::service::Inference;
use super::status;
use crate::error::{ApiError, Code, Result};
use crate::guard::permission::ModelsInfer;
use crate::guard::{self, AdmissionRequest, Caller, FirstArgument};
use crate::middleware::log_error;
use crate::request_context::RequestContext;

const PATH: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

type StreamItem = std::result::Result<of::ModelStreamInferResponse, Status>;

/// A stream of calls.
pub struct InferStream {
    inference: Inference,
    call: Call,
    /// Where the credential stands.
    headers: HeaderMap,
    messages: Streaming<of::ModelInferRequest>,
}

impl InferStream {
    /// The answers to what is asked.
    pub fn begin(
        inference: Inference,
        call: Call,
        request: Request<Streaming<of::ModelInferRequest>>,
    ) -> impl Stream<Item = StreamItem> + Send {
        let (metadata, _, messages) = request.into_parts();
        let headers = metadata.into_headers();
        unfold(Some(Self { inference, call, headers, messages }), async |conversation| {
            conversation?.next().await
        })
    }

    /// Waits for the next call and answers it; then there is no next one where the stream ends with an error.
    async fn next(mut self) -> Option<(StreamItem, Option<Self>)> {
        let message = match self.listen().await {
            Ok(message) => message?,
            Err(error) => return Some((self.ended(&error), None)),
        };
        let id = message.id.clone();
        let context = RequestContext { arrived: Instant::now(), ..RequestContext::clone(&self.call.context) };
        let mut record =
            Record::new(self.inference.app.clone(), Arc::new(context), Some(PATH), self.call.deadline);
        let answer = self.answer(message, &mut record).await;
        record.ended(answer.as_ref().map(drop).map_err(|error| error.code));
        self.call.resources.next();
        let response = match answer {
            Ok(answer) => of::ModelStreamInferResponse { infer_response: Some(answer), ..Default::default() },
            // A caller without access any more ends the stream.
            Err(error) if matches!(error.code.status(), 401 | 403) || error.hints.is_nobodys => {
                return Some((self.ended(&error), None));
            }
            Err(error) => {
                log_error(&error, &self.call.context);
                let answer = of::ModelInferResponse { id, ..Default::default() };
                of::ModelStreamInferResponse { error_message: error.detail, infer_response: Some(answer) }
            }
        };
        Some((Ok(response), Some(self)))
    }

    /// The next message; none at the end.
    async fn listen(&mut self) -> Result<Option<of::ModelInferRequest>> {
        let late = async {
            match self.call.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = self.messages.message() => message.map_err(|status| status::cause(&status)),
            () = late => Err(inference::Error::Deadline.into()),
            _ = self.inference.stopping.wait_for(|stopping| *stopping) => {
                Err(ApiError::new(Code::Unavailable, "The server is shutting down; open another stream."))
            }
        }
    }

    async fn answer(
        &self,
        message: of::ModelInferRequest,
        record: &mut Record,
    ) -> Result<of::ModelInferResponse> {
        let address = self.call.context.address;
        self.inference.app.auth.require_address(address, IpPlace::All)?;
        self.inference.address_limit.count(address)?;
        let admission = AdmissionRequest {
            requirement: <Caller<ModelsInfer> as FirstArgument>::REQUIREMENT,
            class: LimitClass::Infer,
            changes: false,
            address,
            request_id: &self.call.context.id,
            model: None,
            headers: &self.headers,
            target: None,
        };
        let admitted = guard::admit(&self.inference.app, admission).await?;
        record.belongs_to(admitted.proof.as_ref().map(|proof| proof.principal.account));
        let origin = self.call.origin.clone();
        let caller = Caller::proven(admitted.proof.as_ref(), origin, Instant::now())?;
        self.inference.infer(&self.call, &caller, message).await
    }

    fn ended(&self, error: &ApiError) -> StreamItem {
        log_error(error, &self.call.context);
        Err(status::write(error, &self.call.context))
    }
}
