//! What every gRPC call passes through before its message is read: what middleware and guards are to HTTP, in the same
//! order.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::web;
use auth::{AllowanceState, LimitClass, QuotaLease};
use futures_util::FutureExt;
use http::{Method as HttpMethod, Request, Response};
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tower_service::Service;

use super::body::{BoundedBody, Bounds};
use super::call::{Call, CallResources};
use super::compression::UnpackedBody;
use super::connection::Peer;
use super::health::Health;
use super::methods::{self, Method};
use super::proto::health::health_server::HealthServer;
use super::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::record::Record;
use super::service::Inference;
use super::unsent::Unsent;
use super::{compression, status, timeout};
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::guard::{self, AdmissionRequest, TimeLimit, write_rate_headers};
use crate::middleware::{AddressLimit, log_error, refuse};
use crate::request_context::{REQUEST_ID, RequestContext};
use crate::transport::{Encoding, HeaderLines, Reservation};

/// Lets calls in and sends answers out.
#[derive(Clone)]
pub struct Interceptor {
    app: web::Data<App>,
    address_limit: AddressLimit,
    inference: GrpcInferenceServiceServer<Inference>,
    health: HealthServer<Health>,
}

/// A call that may go on to its method.
struct AdmittedCall {
    request: Request<Body>,
    windows: Vec<AllowanceState>,
    lease: Option<Arc<QuotaLease>>,
    /// Kept until the answer is made.
    resources: CallResources,
}

impl Interceptor {
    /// In front of all services, until the server stops.
    pub fn new(app: web::Data<App>, address_limit: AddressLimit, stopping: watch::Receiver<bool>) -> Self {
        // The body has the bound of its method; this one only replaces the decoder's own.
        let most = app.settings.sizes.infer_bytes();
        let inference = GrpcInferenceServiceServer::new(Inference::new(
            app.clone(),
            address_limit.clone(),
            stopping.clone(),
        ))
        .max_decoding_message_size(most)
        .max_encoding_message_size(most);
        let health = HealthServer::new(Health::new(app.clone(), stopping));
        Self { app, address_limit, inference, health }
    }

    async fn answer(mut self, request: Request<Body>, arrived: Instant) -> Response<Body> {
        let peer = request.extensions().get::<Peer>().cloned();
        let trusted = &self.app.settings.program.trusted_proxies;
        let address = peer.as_ref().map(|peer| peer.address);
        let context = Arc::new(RequestContext::read(address, request.headers(), trusted));
        let method = methods::find(request.uri().path());
        let deadline = timeout::deadline(request.headers(), arrived);
        let until = deadline.as_ref().ok().copied().flatten();
        let mut record =
            Record::new(self.app.clone(), Arc::clone(&context), method.map(|method| method.path), until);
        let through = match deadline {
            Ok(deadline) => self.through(request, method, &context, deadline, &mut record).await,
            Err(error) => Err(error),
        };
        let room = self.app.bodies.empty_reservation(None);
        let (response, windows, room) =
            through.unwrap_or_else(|error| (status::refuse(error).into_http(), Vec::new(), room));
        let unsent = peer.map(|peer| (peer.answers, room));
        finish(response, &windows, &context, &mut record, unsent)
    }

    async fn through(
        &mut self,
        request: Request<Body>,
        method: Option<&Method>,
        context: &Arc<RequestContext>,
        deadline: Option<Instant>,
        record: &mut Record,
    ) -> Result<(Response<Body>, Vec<AllowanceState>, Reservation)> {
        let admit = self.admit(request, method, context, deadline, record);
        let AdmittedCall { request, mut windows, lease, resources } =
            timeout::before(deadline, admit).await??;
        let (time_limit, changes) =
            method.map_or((TimeLimit::Prompt, false), |method| (method.time_limit, method.changes));
        let until = time_limit.until(&self.app, context.arrived);
        let answer = resources.clone().during(self.ask(request, deadline));
        let response = guard::in_time(until, changes, answer).await;
        let response = response.unwrap_or_else(|late| status::refuse(late).into_http());
        if resources.messages().broke_off {
            record.given_up();
        }
        windows.append(&mut resources.messages().windows);
        if let Some(lease) = lease {
            lease.refresh_states(&mut windows);
        }
        // What the answer takes it takes until it is sent; a stream goes on with what it has.
        let room = match method {
            Some(method) if !method.streams => resources.take_room(&self.app.bodies),
            _ => self.app.bodies.empty_reservation(None),
        };
        Ok((response, windows, room))
    }

    /// The checks that need no look-up: host, client address, its limit in this process, and whether there is such a method.
    fn check<'a>(
        &self,
        request: &Request<Body>,
        method: Option<&'a Method>,
        context: &RequestContext,
    ) -> Result<&'a Method> {
        let is_probe = method.is_some_and(|method| method.class == LimitClass::Exempt);
        let host = request.uri().authority().map(|authority| authority.as_str());
        let host = host.or_else(|| request.headers().text("host"));
        if let Some(error) = refuse(&self.app, context, is_probe, host) {
            return Err(error);
        }
        if !is_probe {
            self.address_limit.count(context.address)?;
        }
        let method = method.ok_or_else(unknown_method)?;
        check_kind(request)?;
        Ok(method)
    }

    async fn admit(
        &self,
        request: Request<Body>,
        method: Option<&Method>,
        context: &Arc<RequestContext>,
        deadline: Option<Instant>,
        record: &mut Record,
    ) -> Result<AdmittedCall> {
        let method = self.check(&request, method, context)?;
        let (mut parts, body) = request.into_parts();
        let encoding = compression::take_encoding(&mut parts.headers)?;
        let request = AdmissionRequest {
            requirement: method.requirement,
            class: method.class,
            changes: method.changes,
            address: context.address,
            request_id: &context.id,
            model: None,
            headers: &parts.headers,
            target: None,
        };
        let admitted = guard::admit(&self.app, request).await?;
        let account = admitted.proof.as_ref().map(|proof| proof.principal.account);
        record.belongs_to(account);
        let origin = context.origin_of(&parts.headers);
        let resources = CallResources::new(admitted.in_flight, self.app.bodies.empty_reservation(account));
        let body = self.bounded(body, method, encoding, resources.clone());
        let context = Arc::clone(context);
        parts.extensions.insert(Call {
            context,
            origin,
            proof: admitted.proof,
            deadline,
            resources: resources.clone(),
        });
        let request = Request::from_parts(parts, body);
        Ok(AdmittedCall { request, windows: admitted.windows, lease: admitted.lease, resources })
    }

    /// A body within the bounds of its method, and unpacked.
    fn bounded(
        &self,
        body: Body,
        method: &Method,
        encoding: Option<Encoding>,
        resources: CallResources,
    ) -> Body {
        let sizes = &self.app.settings.sizes;
        let bounds =
            Bounds { size: (method.size)(sizes), time: sizes.body_timeout(), streams: method.streams };
        let body = BoundedBody::new(body, resources, bounds);
        match encoding {
            Some(encoding) => Body::new(UnpackedBody::new(body, encoding, self.app.clone())),
            None => Body::new(body),
        }
    }

    /// Has the method answer, within the time that the caller waits. A fault costs one answer.
    async fn ask(&mut self, request: Request<Body>, deadline: Option<Instant>) -> Response<Body> {
        let is_health = request.uri().path().starts_with("/grpc.health.");
        let call = if is_health { self.health.call(request) } else { self.inference.call(request) };
        let call = AssertUnwindSafe(call).catch_unwind();
        match timeout::before(deadline, call).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_)) => status::refuse(ApiError::internal("a method panicked")).into_http(),
            Err(late) => status::refuse(late).into_http(),
        }
    }
}

impl Service<Request<Body>> for Interceptor {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = std::result::Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The transport counts from now on, not from when there is time to look at the call.
        let (interceptor, arrived) = (self.clone(), Instant::now());
        Box::pin(async move { Ok(interceptor.answer(request, arrived).await) })
    }
}

/// Writes what the caller gets: an error whole, an answer with its request's id and limits.
fn finish(
    response: Response<Body>,
    windows: &[AllowanceState],
    context: &RequestContext,
    record: &mut Record,
    unsent: Option<(Unsent, Reservation)>,
) -> Response<Body> {
    if let Some(status) = response.extensions().get::<Status>() {
        let error = status::cause(status).with_windows(windows.to_vec());
        log_error(&error, context);
        record.ended(Err(error.code));
        return status::write(&error, context).into_http();
    }
    record.ended(Ok(()));
    let (mut parts, body) = response.into_parts();
    let mut metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
    write_rate_headers(windows, |header, value| status::put_into(&mut metadata)(header.name(), value));
    status::put_into(&mut metadata)(REQUEST_ID, context.id.clone());
    parts.headers = metadata.into_headers();
    let body = match unsent {
        Some((answers, room)) => answers.track_body(body, room),
        None => body,
    };
    Response::from_parts(parts, body)
}

fn unknown_method() -> ApiError {
    ApiError::new(Code::MethodNotAllowed, "There is no such method here; docs/API.md lists what there is.")
}

/// Whether it is a call of gRPC at all.
fn check_kind(request: &Request<Body>) -> Result<()> {
    let kind = request.headers().text("content-type").unwrap_or_default();
    let is_grpc = kind
        .strip_prefix("application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']));
    if request.method() == HttpMethod::POST && is_grpc {
        return Ok(());
    }
    Err(ApiError::new(Code::UnsupportedMediaType, "Only gRPC is spoken here; HTTP has a port of its own."))
}
