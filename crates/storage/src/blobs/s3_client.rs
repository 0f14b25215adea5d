//! The client that `s3://` goes through: our own, with its bounds, and what a service answers with an error is not handed on.

use std::pin::Pin;

use futures_util::TryStreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::header::RANGE;
use reqwest::{Client, StatusCode};

use super::web::is_passing;

/// Bytes of an error's answer that are read: the code comes first.
const MOST_OF_ERROR: usize = 4096;
/// The longest code of an error, in bytes; those of S3 are shorter.
const LONGEST_CODE: usize = 48;

/// Hands our own client on.
#[derive(Debug)]
pub(super) struct BoundedClient(pub(super) Client);

/// What a service answered instead of what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("it answered {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    /// The code of the error, such as `ExpiredToken`.
    code: Option<String>,
}

impl HttpConnector for BoundedClient {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Self(self.0.clone())))
    }
}

impl HttpService for BoundedClient {
    fn call<'a, 'answer>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'answer>>
    where
        'a: 'answer,
        Self: 'answer,
    {
        Box::pin(async move {
            let asks_for_rest = request.headers().contains_key(RANGE);
            let answer = HttpService::call(&self.0, request).await?;
            // Where the whole comes instead of a part, that is for the caller to say.
            let is_other = asks_for_rest && answer.status() == StatusCode::OK;
            if answer.status().is_success() && !is_other { Ok(answer) } else { without_text(answer).await }
        })
    }
}

/// An error as its status and its code; those that have a meaning to the store keep it.
async fn without_text(answer: HttpResponse) -> Result<HttpResponse, HttpError> {
    let (parts, body) = answer.into_parts();
    let status = parts.status;
    let has_meaning = [
        StatusCode::NOT_MODIFIED,
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::CONFLICT,
        StatusCode::PRECONDITION_FAILED,
    ];
    if has_meaning.contains(&status) {
        return Ok(HttpResponse::from_parts(parts, Vec::new().into()));
    }
    let code = if status.is_success() { None } else { code(body).await };
    // Sent again by those who do that, like a request that never arrived.
    let kind = if is_passing(status) { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
    Err(HttpError::new(kind, Answered { status, code }))
}

/// The code at the beginning of an error's text, which is read no further.
async fn code(body: HttpResponseBody) -> Option<String> {
    let (mut text, mut parts) = (Vec::new(), body.bytes_stream());
    while let Ok(Some(part)) = parts.try_next().await {
        text.extend_from_slice(&part[..part.len().min(MOST_OF_ERROR - text.len())]);
        if text.len() == MOST_OF_ERROR {
            break;
        }
    }
    code_in(&String::from_utf8_lossy(&text))
}

fn code_in(text: &str) -> Option<String> {
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let is_code = (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_the_code_is_told_and_nothing_else() {
        let text = "<Error><Code>ExpiredToken</Code><Token-0>hush</Token-0></Error>";
        assert_eq!(code_in(text).as_deref(), Some("ExpiredToken"));
        let answered = Answered { status: StatusCode::BAD_REQUEST, code: code_in(text) };
        assert_eq!(answered.to_string(), "it answered 400 Bad Request (ExpiredToken)");
        let long = format!("<Code>{}</Code>", "A".repeat(LONGEST_CODE + 1));
        for none in ["", "<Code>", "<Code></Code>", "<Code>a b</Code>", "<Code>a\n</Code>", &long] {
            assert_eq!(code_in(none), None, "{none:?}");
        }
        let answered = Answered { status: StatusCode::BAD_REQUEST, code: None };
        assert_eq!(answered.to_string(), "it answered 400 Bad Request");
    }
}
