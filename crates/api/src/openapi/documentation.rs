//! The OpenAPI document and Swagger UI, where they are served.

use actix_web::web::Bytes;
use actix_web::{HttpResponse, ResponseError, web};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::error::ApiError;
use crate::openapi;
use crate::routes::RouteTable;

const DOCUMENT_PATH: &str = "/openapi.json";

/// The document as every worker answers with it.
pub fn document(table: &RouteTable) -> serde_json::Result<Bytes> {
    Ok(openapi::document(table).to_json()?.into())
}

/// Adds `/openapi.json` and `/docs`; without a document both are 404 like any unknown path.
pub fn configure(config: &mut web::ServiceConfig, document: Option<Bytes>) {
    let Some(document) = document else { return };
    let answer = move || {
        let document = document.clone();
        async move { HttpResponse::Ok().content_type("application/json").body(document) }
    };
    let refuse = || async { ApiError::method_not_allowed("GET, HEAD").error_response() };
    let resource = web::resource(DOCUMENT_PATH)
        .route(web::get().to(answer.clone()))
        .route(web::head().to(answer))
        .default_service(web::to(refuse));
    config
        .service(resource)
        .service(web::redirect("/docs", "/docs/"))
        .service(SwaggerUi::new("/docs/{_:.*}").config(Config::from(DOCUMENT_PATH)));
}
