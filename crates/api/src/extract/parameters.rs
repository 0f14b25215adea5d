//! Arguments from the path and the query.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use storage::{Cursor, PageRequest, UnknownName};
use utoipa::IntoParams;
use uuid::Uuid;

use super::number::PageLimit;
use super::urlencoded;
use crate::error::{ApiError, Code, Result};

/// `{id}` of the path; what is no UUID names nothing.
pub struct Id(pub Uuid);

/// `{key_id}` of the path.
pub struct KeyId(pub Uuid);

/// `{identity_id}` of the path.
pub struct IdentityId(pub Uuid);

/// `{entry_id}` of the path.
pub struct EntryId(pub Uuid);

/// `{name}` of the path, of a model or a role.
pub struct Name(pub String);

/// `{version}` of the path, a model's.
pub struct ModelVersion(pub String);

/// `{role}` of the path.
pub struct RoleName(pub String);

/// Query parameters; an unknown or malformed one is an error.
pub struct Parameters<T>(pub T);

/// The requested page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Most items, 1 to 100; 50 if none is given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub limit: Option<PageLimit>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

impl PageParameters {
    /// The page to read.
    pub fn request(&self) -> Result<PageRequest> {
        page(self.limit, self.cursor.as_deref())
    }
}

/// Reads the name of one of a few things; the error says which there are.
pub fn named<T: FromStr<Err = UnknownName>>(field: &str, name: &str) -> Result<T> {
    name.parse().map_err(|unknown: UnknownName| ApiError::field(field, unknown.to_string()))
}

/// Reads the two parameters of every list.
pub fn page(limit: Option<PageLimit>, cursor: Option<&str>) -> Result<PageRequest> {
    let limit = limit.map_or(PageRequest::default().limit, PageLimit::get);
    let cursor = cursor.map(|text| {
        Cursor::parse(text).ok_or_else(|| ApiError::field("cursor", "use next_cursor of the page before"))
    });
    Ok(PageRequest { limit, cursor: cursor.transpose()? })
}

fn segment<'a>(request: &'a HttpRequest, name: &str) -> &'a str {
    request.match_info().get(name).unwrap_or_default()
}

macro_rules! ids {
    ($($argument:ident = $name:literal;)*) => { $(
        impl FromRequest for $argument {
            type Error = ApiError;
            type Future = Ready<Result<Self>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let id = auth::parse_id(segment(request, $name)).map(Self);
                ready(id.ok_or_else(|| ApiError::new(Code::NotFound, "There is nothing with this id.")))
            }
        }
    )* };
}

ids! {
    Id = "id";
    KeyId = "key_id";
    IdentityId = "identity_id";
    EntryId = "entry_id";
}

/// Nothing here has a control character in its name.
fn text(request: &HttpRequest, name: &str) -> Result<String> {
    let text = segment(request, name);
    let harmless = !text.chars().any(char::is_control);
    harmless
        .then(|| text.to_owned())
        .ok_or_else(|| ApiError::new(Code::NotFound, "There is nothing of this name."))
}

macro_rules! segments {
    ($($argument:ident = $name:literal;)*) => { $(
        impl FromRequest for $argument {
            type Error = ApiError;
            type Future = Ready<Result<Self>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready(text(request, $name).map(Self))
            }
        }
    )* };
}

segments! {
    Name = "name";
    ModelVersion = "version";
    RoleName = "role";
}

impl<T: DeserializeOwned> FromRequest for Parameters<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(urlencoded::read(request.query_string()).map(Self))
    }
}
