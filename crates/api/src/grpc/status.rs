//! Errors of gRPC: the code, the text that HTTP has, and metadata that helps a client.

use std::sync::Arc;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code as GrpcCode, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{ApiError, Code};
use crate::guard::{whole_seconds, write_rate_headers};
use crate::request_context::{REQUEST_ID, RequestContext};

/// What `ErrorInfo` calls us.
const DOMAIN: &str = "modelgate";
/// Most characters of a message: clients bound what they take of metadata, and lose the answer with it.
const MAX_MESSAGE: usize = 1024;

/// What a code of ours is in gRPC. The HTTP status decides, so that the two surfaces agree.
pub const fn grpc_code(code: Code) -> GrpcCode {
    match code.status() {
        400 => GrpcCode::InvalidArgument,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        404 => GrpcCode::NotFound,
        // A method that is not there, and a content that is not taken.
        405 | 415 => GrpcCode::Unimplemented,
        409 => GrpcCode::FailedPrecondition,
        // Too large is what the protocol's own libraries call exhausted, too; only a limit tells when to come back.
        413 | 429 => GrpcCode::ResourceExhausted,
        499 => GrpcCode::Cancelled,
        503 => GrpcCode::Unavailable,
        504 => GrpcCode::DeadlineExceeded,
        _ => GrpcCode::Internal,
    }
}

/// An error on its way to [`write`], which knows the request.
pub fn refuse(error: impl Into<ApiError>) -> Status {
    let error = error.into();
    let mut status = Status::new(grpc_code(error.code), error.detail.clone());
    status.set_source(Arc::new(error));
    status
}

/// The error behind a status. One that tonic made is about the message: what we make ourselves carries its error.
pub fn cause(status: &Status) -> ApiError {
    let ours = std::error::Error::source(status).and_then(|source| source.downcast_ref::<ApiError>());
    ours.cloned().unwrap_or_else(|| match status.code() {
        GrpcCode::OutOfRange | GrpcCode::ResourceExhausted => {
            ApiError::new(Code::TooLarge, "The message is too large.")
        }
        GrpcCode::Cancelled => ApiError::new(Code::MalformedRequest, "The message broke off."),
        _ => ApiError::new(
            Code::MalformedRequest,
            "The message cannot be read; send one that the method takes.",
        ),
    })
}

/// The error as the client gets it.
pub fn write(error: &ApiError, context: &RequestContext) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(error.code.name(), DOMAIN, []);
    details.set_request_info(context.id.as_str(), "");
    let mut metadata = MetadataMap::new();
    if let Some(wait) = error.hints.retry_after {
        let seconds = whole_seconds(wait).max(1);
        details.set_retry_info(Some(Duration::from_secs(seconds)));
        put_into(&mut metadata)("retry-after", seconds.to_string());
    }
    for (field, messages) in error.hints.violations.iter().flatten() {
        for message in messages {
            details.add_bad_request_violation(field, message);
        }
    }
    if let Some(encodings) = error.hints.accept_encoding {
        put_into(&mut metadata)("grpc-accept-encoding", encodings.to_owned());
    }
    write_rate_headers(&error.hints.windows, |header, value| put_into(&mut metadata)(header.name(), value));
    put_into(&mut metadata)(REQUEST_ID, context.id.clone());
    let message: String = error.detail.chars().take(MAX_MESSAGE).collect();
    Status::with_error_details_and_metadata(grpc_code(error.code), message, details, metadata)
}

/// Puts what HTTP has as headers into the metadata of an answer.
pub fn put_into(metadata: &mut MetadataMap) -> impl FnMut(&'static str, String) {
    |name, value| {
        if let Ok(value) = AsciiMetadataValue::try_from(value) {
            metadata.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_told_as_what_it_is() {
        for code in Code::ALL {
            let is_fault = grpc_code(*code) == GrpcCode::Internal;
            assert_eq!(is_fault, code.status() == 500, "{}", code.name());
        }
    }
}
