//! The body of a file to be stored, not read yet: the file itself, or a form with it.

use std::future::{Ready, ready};

use actix_multipart::{Field, Multipart};
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap};
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;

use super::body::require_plain;
use super::images::{broken_form, filename, media_type};
use crate::app::App;
use crate::error::{ApiError, Code, Result};
use crate::guard::broken;
use crate::transport::encodings::too_large;

/// What a form may have around a file, in bytes: boundaries and the heads of its part.
const FORM_AROUND: usize = 16 << 10;

/// A body that is not read yet, and not announced as too large.
pub struct FileBody {
    source: Source,
    /// The media type that its sender gives it; that of a form's file is known with its first bytes.
    pub declared: String,
    /// What a form calls it; known with its first bytes.
    pub filename: Option<String>,
}

enum Source {
    Whole(Payload),
    Form(Box<Form>),
}

struct Form {
    parts: Multipart,
    /// The file, while it is read.
    file: Option<Field>,
    found: bool,
}

impl FileBody {
    /// The next bytes of the file; none at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Self { source, declared, filename: name } = self;
        let form = match source {
            Source::Whole(payload) => {
                return payload.next().await.transpose().map_err(|error| broken(&error));
            }
            Source::Form(form) => form,
        };
        loop {
            if let Some(chunk) = form.chunk().await? {
                return Ok(Some(chunk));
            }
            let Some(part) = form.part().await? else { return Ok(None) };
            (*declared, *name) = (media_type(&part), filename(&part));
            form.file = Some(part);
        }
    }
}

impl Form {
    /// The next bytes of the part that is read; none at its end, or where none is.
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let Some(file) = &mut self.file else { return Ok(None) };
        let chunk = file.next().await.transpose().map_err(broken_form)?;
        if chunk.is_none() {
            self.file = None;
        }
        Ok(chunk)
    }

    /// The part that is the file; none behind it.
    async fn part(&mut self) -> Result<Option<Field>> {
        let part = self.parts.next().await.transpose().map_err(broken_form)?;
        match part {
            Some(part) if !self.found && part.name() == Some("file") => {
                self.found = true;
                Ok(Some(part))
            }
            Some(_) => {
                let detail = "Send one file at a time, in a form with one part, named file.";
                Err(ApiError::new(Code::MalformedRequest, detail))
            }
            None if self.found => Ok(None),
            None => {
                let detail = "No file selected: the form has no part named file.";
                Err(ApiError::new(Code::InvalidImage, detail))
            }
        }
    }
}

impl FromRequest for FileBody {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(open(request, payload))
    }
}

fn open(request: &HttpRequest, payload: &mut Payload) -> Result<FileBody> {
    require_plain(request.headers())?;
    let limit = App::of(request)?.settings.sizes.upload_bytes();
    let declared = request.content_type().to_ascii_lowercase();
    let announced = announced(request.headers());
    let (most, source) = match declared.as_str() {
        "multipart/form-data" => {
            let parts = Multipart::new(request.headers(), payload.take());
            (limit + FORM_AROUND, Source::Form(Box::new(Form { parts, file: None, found: false })))
        }
        kind if kind.starts_with("image/") || kind == "application/octet-stream" => {
            (limit, Source::Whole(payload.take()))
        }
        _ => {
            let detail = "Send the picture as the body, with an image/… Content-Type or application/octet-stream, or as \
                          multipart/form-data with a part named file.";
            return Err(ApiError::new(Code::UnsupportedMediaType, detail));
        }
    };
    if announced.is_some_and(|announced| announced > most) {
        return Err(too_large(limit));
    }
    Ok(FileBody { source, declared, filename: None })
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
