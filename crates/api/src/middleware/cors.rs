//! Which web pages may call the API.

use actix_cors::Cors;
use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, RETRY_AFTER,
    WWW_AUTHENTICATE,
};

use crate::guard::{API_KEY, RateHeader};
use crate::oip::infer::JSON_LENGTH;
use crate::request_context::REQUEST_ID;
use crate::settings::Origins;

/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: usize = 3600;

/// The listed origins, with the methods and headers that the API has.
pub fn cors(origins: &Origins) -> Cors {
    let header = HeaderName::from_static;
    let cors = origins.0.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    cors.allowed_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allowed_headers([
            ACCEPT,
            AUTHORIZATION,
            CONTENT_ENCODING,
            CONTENT_TYPE,
            header(API_KEY),
            header(REQUEST_ID),
            JSON_LENGTH,
        ])
        .expose_headers(RateHeader::ALL.map(|told| header(told.name())))
        .expose_headers([header(REQUEST_ID), JSON_LENGTH, CONTENT_DISPOSITION, RETRY_AFTER, WWW_AUTHENTICATE])
        .block_on_origin_mismatch(false)
        .max_age(MAX_AGE)
}
