//! `modelgate openapi`

use super::{CommandResult, print};
use crate::{openapi, routes};

/// Prints the OpenAPI document.
pub fn run() -> CommandResult {
    let document = openapi::document(&routes::table()).to_pretty_json().map_err(|error| error.to_string())?;
    print(&document);
    Ok(())
}
