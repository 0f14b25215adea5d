//! The route table: each route stands here once, and its guard, its limits and its OpenAPI entry come from that line.
//!
//! A line names the limit class, the pace where it is not the class's, and the handlers. Method, path and
//! documentation are the handler's `#[utoipa::path]`, and so is whether it takes a body; what its caller must have is the
//! type of the handler's first argument.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::guard as accept;
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{FromRequest, Handler, HttpMessage, Responder, ResponseError, Route, web};
use auth::LimitClass;
use utoipa::openapi::HttpMethod;
use utoipa::openapi::path::Operation;

use crate::error::ApiError;
use crate::guard::{FirstArgument, Requirement, TimeLimit, run_guarded};
use crate::middleware::{Endpoint, is_v2};
use crate::{health, metrics, oip, v1, well_known};

/// A schema by name, as utoipa collects them.
pub type Schemas = Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::schema::Schema>)>;

/// One route.
pub struct Entry {
    /// Path pattern, such as `/api/v1/models/{name}`.
    pub path: String,
    /// Method.
    pub method: Method,
    /// What its caller must have.
    pub requirement: Requirement,
    /// Which limits it falls under.
    pub class: LimitClass,
    /// Its documentation, made when it is asked for: that of all routes takes megabytes.
    pub operation: fn() -> Operation,
    /// Adds the schemas that its documentation refers to.
    pub schemas: fn(&mut Schemas),
    /// Where its handler stands, such as `v1_auth_login`.
    pub handler_name: &'static str,
    build: Box<dyn Fn() -> Route + Send + Sync>,
}

/// All routes.
#[derive(Default)]
pub struct RouteTable {
    /// In the order in which they are declared.
    pub entries: Vec<Entry>,
}

/// Arguments of a handler, the first of which says what the caller must have.
pub trait Guarded: FromRequest + 'static {
    /// What the caller must have.
    const REQUIREMENT: Requirement;
}

macro_rules! guarded {
    ($($rest:ident)*) => {
        impl<First: FirstArgument, $($rest: FromRequest + 'static),*> Guarded for (First, $($rest,)*) {
            const REQUIREMENT: Requirement = First::REQUIREMENT;
        }
    };
}

guarded!();
guarded!(A);
guarded!(A B);
guarded!(A B C);
guarded!(A B C D);
guarded!(A B C D E);

impl RouteTable {
    fn add<Document, Function, Arguments>(
        &mut self,
        class: LimitClass,
        time_limit: TimeLimit,
        handler_name: &'static str,
        handler: Function,
    ) where
        Document: utoipa::Path + utoipa::__dev::SchemaReferences + for<'tag> utoipa::__dev::Tags<'tag>,
        Function: Handler<Arguments> + Send + Sync,
        Function::Output: Responder + 'static,
        Arguments: Guarded,
    {
        let is_v2 = is_v2(&Document::path());
        for method in Document::methods() {
            let method = actix_method(&method);
            // Others pass over a body that they do not take, as HTTP and the protocol of `/v2` would have it.
            let takes_body = is_v2 || method.is_safe() || Document::operation().request_body.is_some();
            let (handler, accepted) = (handler.clone(), method.clone());
            let endpoint = Endpoint(Document::path().into());
            let build = Box::new(move || {
                let endpoint = endpoint.clone();
                let guard = move |request: ServiceRequest, next| {
                    request.extensions_mut().insert(endpoint.clone());
                    run_guarded(Arguments::REQUIREMENT, class, time_limit, takes_body, request, next)
                };
                route(&accepted).to(handler.clone()).wrap(from_fn(guard))
            });
            self.entries.push(Entry {
                path: Document::path(),
                method,
                requirement: Arguments::REQUIREMENT,
                class,
                operation: operation::<Document>,
                schemas: Document::schemas,
                handler_name,
                build,
            });
        }
    }

    /// Puts every route into a worker's application; a known path with another method is 405.
    ///
    /// The framework tries one pattern after the other, so what is called most comes first. No path fits two of them
    /// but where one names what is a parameter of the other, and those stay in their order.
    pub fn configure(self: &Arc<Self>, config: &mut web::ServiceConfig) {
        let mut by_path: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            by_path.entry(&entry.path).or_default().push(entry);
        }
        let mut by_path: Vec<_> = by_path.into_iter().collect();
        by_path.sort_by_key(|(_, entries)| entries.iter().all(|entry| entry.class != LimitClass::Infer));
        for (path, entries) in by_path {
            let allow = allowed(&entries);
            let refuse = move || std::future::ready(ApiError::method_not_allowed(&allow).error_response());
            let resource =
                entries.iter().fold(web::resource(path), |resource, entry| resource.route((entry.build)()));
            config.service(resource.default_service(web::to(refuse)));
        }
    }
}

fn operation<Document: utoipa::Path + for<'tag> utoipa::__dev::Tags<'tag>>() -> Operation {
    let mut operation = Document::operation();
    operation.tags = Some(Document::tags().into_iter().map(str::to_owned).collect());
    operation
}

/// What is read with GET may be asked about with HEAD (RFC 9110, section 9.3.2).
fn route(method: &Method) -> Route {
    if method == Method::GET {
        Route::new().guard(accept::Any(accept::Get()).or(accept::Head()))
    } else {
        web::method(method.clone())
    }
}

fn allowed(entries: &[&Entry]) -> String {
    let mut methods: Vec<&str> = entries.iter().map(|entry| entry.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.join(", ")
}

fn actix_method(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

macro_rules! routes {
    ($($class:ident $(/ $time_limit:ident)? $($module:ident)::+ => $($handler:ident)+;)*) => {
        /// Every route of the program.
        pub fn table() -> Arc<RouteTable> {
            let mut table = RouteTable::default();
            $({
                let (class, time_limit) = (LimitClass::$class, routes!(@time_limit $class $($time_limit)?));
                routes!(@module table class time_limit [$($module)::+] $($handler)+);
            })*
            Arc::new(table)
        }
    };
    (@time_limit $class:ident) => { TimeLimit::of(LimitClass::$class) };
    (@time_limit $class:ident $time_limit:ident) => { TimeLimit::$time_limit };
    (@module $table:ident $class:ident $time_limit:ident [$($module:ident)::+] $first:ident $($handler:ident)*) => {
        routes!(@one $table $class $time_limit [$($module)::+] $first);
        routes!(@module $table $class $time_limit [$($module)::+] $($handler)*);
    };
    (@module $table:ident $class:ident $time_limit:ident [$($module:ident)::+]) => {};
    (@one $table:ident $class:ident $time_limit:ident [$($module:ident)::+] $handler:ident) => {
        pastey::paste! {
            $table.add::<$($module)::+::[<__path_ $handler>], _, _>(
                $class,
                $time_limit,
                concat!($(stringify!($module), "_",)+ stringify!($handler)),
                $($module)::+::$handler,
            );
        }
    };
}

routes! {
    Exempt    health                 => summary live ready;
    Exempt    well_known             => jwks;
    Anonymous well_known             => security_txt;
    Exempt    metrics                => scrape;
    Register  v1::auth               => register;
    Login     v1::auth               => login;
    Anonymous v1::auth               => refresh;
    Login     v1::second_step        => finish;
    Read      v1::second_step        => step_up;
    Mail      v1::links              => forgot_password;
    Login     v1::links              => reset_password accept_invitation confirm_email;
    Read      v1::links              => change_email;
    Read      v1::auth               => logout logout_all change_password;
    Anonymous v1::tokens             => revoke;
    Read      v1::tokens             => introspect;
    Read      v1::sessions           => list end;
    Read      v1::me                 => profile rename;
    Read      v1::usage              => own;
    Read      v1::usage_export       => own;
    Read      v1::second_factors     => show enrol confirm remove renew_recovery_codes;
    Read      v1::personal_data      => export erase;
    Read      v1::notices            => list;
    Read      v1::identities         => own list link unlink;
    Read      v1::api_keys           => list create show change rotate revoke;
    Read      v1::files              => list download delete;
    Read / Upload v1::files          => create;
    Read      v1::models             => list show;
    Infer     v1::models             => predict;
    Read      v1::admin::users       => list show change delete end_sessions unlock reset_second_factors;
    Read      v1::admin::api_keys    => list revoke;
    Read      v1::admin::audit       => list show chain export stream;
    Read      v1::admin::legal_holds => list place release;
    Read      v1::admin::service_accounts => list create show change delete;
    Read      v1::admin::service_keys => list create change rotate revoke;
    Read      v1::admin::invitations => invite reset_password;
    Read      v1::admin::roles       => list create change delete;
    Read      v1::admin::ip_rules    => list create delete;
    Read      v1::admin::usage       => list export;
    Read      v1::admin::limits      => list set remove;
    Read      v1::admin::quotas      => list set remove;
    Read      v1::admin::model_lifecycle => list;
    Read / Long v1::admin::model_lifecycle => load unload activate roll_back;
    Read / Long v1::admin::model_versions => upload;
    Read      v1::admin::model_versions => remove;
    Read      v1::admin::maintenance => show change;
    Read      v1::admin::incidents   => list open show change timeline note link answer undo evidence;
    Read      v1::admin::alerts      => list retry;
    Read      v1::admin::models      => policy set_access grant revoke_from_account revoke_from_role;
    Exempt    oip::rest              => live ready;
    Read      oip::rest              => server server_with_slash model model_version model_ready model_version_ready;
    Read      oip::repository        => index;
    Read / Long oip::repository      => load unload;
    Read      oip::config            => config version_config;
    Read      oip::statistics        => all of_model of_version;
    Infer     oip::infer             => infer infer_version;
}
