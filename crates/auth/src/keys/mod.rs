//! API keys, and the requests that are signed with them.

pub(crate) mod api_keys;
pub(crate) mod key_format;
pub(crate) mod signed_requests;
