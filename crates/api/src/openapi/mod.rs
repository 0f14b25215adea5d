//! The OpenAPI 3.1 document, made from the route table: the requirements of a route are written nowhere else.

pub mod documentation;

use std::collections::{BTreeMap, BTreeSet};

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::{ArrayItems, Schema};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Info, License, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    Responses, SecurityRequirement,
};
use utoipa::{PartialSchema, ToSchema};

use crate::guard::{Assurance, Requirement};
use crate::middleware::{self, Problem};
use crate::routes::{Entry, RouteTable, Schemas};

/// The document.
pub fn document(table: &RouteTable) -> OpenApi {
    let mut paths: BTreeMap<String, PathItem> = BTreeMap::new();
    for entry in &table.entries {
        let item = paths.entry(entry.path.clone()).or_default();
        let operation = Some(described(entry));
        match entry.method.as_str() {
            "GET" => item.get = operation,
            "POST" => item.post = operation,
            "PUT" => item.put = operation,
            _ => item.delete = operation,
        }
    }
    let mut all = Paths::new();
    for (path, item) in paths {
        all.paths.insert(path, item);
    }
    let mut info = Info::new("Modelgate", env!("CARGO_PKG_VERSION"));
    info.description = Some("ONNX models behind logins, API keys, roles and limits.".into());
    info.license = Some(License::new("Apache-2.0"));
    OpenApiBuilder::new().info(info).paths(all).components(Some(components(table))).build()
}

fn components(table: &RouteTable) -> Components {
    let mut components = Components::new();
    components.schemas.extend(schemas(table));
    name_items(&mut components.schemas);
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    components.security_schemes.insert("bearer".into(), SecurityScheme::Http(bearer).into());
    let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key")));
    components.security_schemes.insert("api_key".into(), key.into());
    components
}

/// Items of a list are references to their schema: spelt out in each list, clients would have a second type of each.
fn name_items(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let known: BTreeSet<String> = schemas.keys().cloned().collect();
    for (name, schema) in schemas {
        let item = name.strip_prefix("List_").filter(|item| known.contains(*item));
        if let (Some(item), RefOr::T(Schema::Object(list))) = (item, schema)
            && let Some(RefOr::T(Schema::Array(items))) = list.properties.get_mut("items")
        {
            items.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(item).into()));
        }
    }
}

fn schemas(table: &RouteTable) -> Schemas {
    let mut schemas = Schemas::new();
    table.entries.iter().for_each(|entry| (entry.schemas)(&mut schemas));
    schemas
}

/// A status and what it means.
type Refusal = (&'static str, &'static str);

/// The handler's own description, with what its guards add: credentials, and the errors that any guarded route gives.
fn described(entry: &Entry) -> Operation {
    let mut operation = (entry.operation)();
    let mut refusals =
        vec![("400", "The request cannot be read or breaks a rule"), ("429", "A limit is reached")];
    if let Some((security, of_caller)) = of_requirement(entry.requirement) {
        operation.security = Some(security);
        refusals.extend(of_caller);
    } else {
        // A handler that checks a credential of its own, such as the metrics token, says so itself.
        operation.security = operation.security.or(Some(vec![]));
    }
    if let Some(body) = &mut operation.request_body {
        if let RefOr::T(body) = body {
            body.content.values_mut().for_each(leave_out);
        }
        refusals.extend([
            ("413", "The body is too large"),
            ("415", "The body's type or encoding is not accepted"),
        ]);
    }
    refusals.push(("503", "Busy, draining, or a dependency is down"));
    refusals.push(("504", "It took too long and was given up; a change may have happened"));
    complete(&mut operation.responses, &refusals, &entry.path);
    operation.extensions = Some(Extensions::builder().add("x-limit-class", entry.class.name()).build());
    operation.operation_id = Some(operation_id(entry.handler_name));
    operation
}

/// The credentials of a route that needs a caller, and how it refuses them.
fn of_requirement(requirement: Requirement) -> Option<(Vec<SecurityRequirement>, [Refusal; 2])> {
    let Requirement::Caller { permission, assurance } = requirement else { return None };
    let scopes: Vec<&str> = permission.iter().map(|permission| permission.name()).collect();
    let mut security = vec![SecurityRequirement::new("bearer", scopes.clone())];
    if assurance == Assurance::Credential {
        security.push(SecurityRequirement::new("api_key", scopes));
    }
    let unproved = match assurance {
        Assurance::Credential | Assurance::Person => "No valid credential",
        Assurance::RecentPerson => "No valid credential, or step-up is needed",
    };
    Some((security, [("401", unproved), ("403", "The caller may not do this")]))
}

/// Adds the refusals that the handler does not describe itself, and the bodies of all.
fn complete(responses: &mut Responses, refusals: &[Refusal], path: &str) {
    for (status, description) in refusals {
        let refusal = || ResponseBuilder::new().description(*description).build().into();
        responses.responses.entry((*status).into()).or_insert_with(refusal);
    }
    for (status, response) in &mut responses.responses {
        let RefOr::T(response) = response else { continue };
        if response.description.is_empty() {
            response.description = "Done".into();
        }
        if status.starts_with(['4', '5']) && response.content.is_empty() {
            let (media_type, content) = error_body(path);
            response.content.insert(media_type.into(), content.into());
        }
    }
}

/// A body that need not come is absent, and not `null`.
fn leave_out(content: &mut RefOr<Content>) {
    let RefOr::T(content) = content else { return };
    let Some(RefOr::T(Schema::OneOf(either))) = &content.schema else { return };
    if let [body @ RefOr::Ref(_), RefOr::T(_)] = either.items.as_slice() {
        content.schema = Some(body.clone());
    }
}

/// Every error has the one body of its surface.
fn error_body(path: &str) -> (&'static str, Content) {
    let (media_type, schema) = if middleware::is_v2(path) {
        ("application/json", "V2Error")
    } else {
        ("application/problem+json", "Problem")
    };
    (media_type, ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).build())
}

/// Unique and stable, for those who make clients from the document: where the handler stands.
fn operation_id(handler_name: &str) -> String {
    handler_name.trim_start_matches("v1_").replacen("oip_rest_", "v2_", 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::Value;

    use super::*;
    use crate::routes;

    /// The names of schemas that a document refers to.
    fn referred<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                let name = members.get("$ref").and_then(Value::as_str);
                found.extend(name.and_then(|name| name.strip_prefix("#/components/schemas/")));
                members.values().for_each(|value| referred(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| referred(value, found)),
            _ => {}
        }
    }

    /// A client that is made from the document has one type for each thing, and an enumeration where there are few names.
    #[test]
    fn every_schema_is_there_and_in_use_and_says_its_names() {
        let document = serde_json::to_value(document(&routes::table())).expect("JSON");
        let mut used = BTreeSet::new();
        referred(&document, &mut used);
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        assert_eq!(used, schemas.keys().map(String::as_str).collect());
        for (name, schema) in schemas {
            for (member, property) in schema["properties"].as_object().into_iter().flatten() {
                let description = property["description"].as_str().unwrap_or_default();
                let lists_names = property["type"] == "string"
                    && description.starts_with('`')
                    && description.contains("` or `");
                assert!(
                    !lists_names || property["enum"].is_array(),
                    "{name}.{member} is an enumeration: crates/api/src/schema_names.rs"
                );
            }
        }
    }

    #[test]
    fn no_two_types_have_one_name() {
        let mut known = HashMap::new();
        for (name, schema) in schemas(&routes::table()) {
            let first = known.entry(name.clone()).or_insert_with(|| schema.clone());
            assert!(*first == schema, "two types are documented as {name}");
        }
    }
}
