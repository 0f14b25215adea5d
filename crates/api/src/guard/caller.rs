//! The first argument of every handler: proof that the guards let the request through.
//!
//! It is synchronous on purpose: actix-web polls a handler's arguments in order and stops only at one that is ready
//! with an error, so an asynchronous proof would let the body be read before it fails.

use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use auth::{Demand, Origin, Permission, Principal, QuotaLease};
use chrono::{DateTime, Utc};

use crate::error::ApiError;
use crate::request_context::RequestContext;

/// What a route asks of whoever calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: a public route.
    Public,
    /// Nothing, also while the service is closed: a public route that decides by itself whom it serves then.
    AlwaysOpen,
    /// A caller, with this permission unless it is about what is one's own.
    Caller {
        /// The permission.
        permission: Option<Permission>,
        /// How sure it must be who calls.
        assurance: Assurance,
    },
}

/// How sure it must be who calls; each asks for what the one before does, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// Any credential, API keys as well.
    Credential,
    /// The person, with an access token.
    Person,
    /// The person, who proved who they are not long ago.
    RecentPerson,
}

/// What a handler's caller must have.
pub trait Access: 'static {
    /// The permission; none for what is one's own.
    const PERMISSION: Option<Permission>;
    /// How sure it must be who calls.
    const ASSURANCE: Assurance = Assurance::Credential;
}

/// What is one's own: any caller.
#[derive(Debug)]
pub struct Authenticated;

impl Access for Authenticated {
    const PERMISSION: Option<Permission> = None;
}

/// What only a person decides, such as about keys and sessions: as `A`, with an access token.
#[derive(Debug)]
pub struct Person<A: Access = Authenticated>(PhantomData<A>);

impl<A: Access> Access for Person<A> {
    const PERMISSION: Option<Permission> = A::PERMISSION;
    const ASSURANCE: Assurance = Assurance::Person;
}

/// What is sensitive: as `A`, by the person, who proved who they are not long ago (step-up, RFC 9470).
#[derive(Debug)]
pub struct StepUp<A: Access = Person>(PhantomData<A>);

impl<A: Access> Access for StepUp<A> {
    const PERMISSION: Option<Permission> = A::PERMISSION;
    const ASSURANCE: Assurance = Assurance::RecentPerson;
}

/// One type for each permission, to stand in a handler's signature.
pub mod permission {
    use auth::Permission;

    macro_rules! types {
        ($($name:ident)*) => { $(
            #[doc = concat!("Callers with ", stringify!($name), ".")]
            #[derive(Debug)]
            pub struct $name;

            impl super::Access for $name {
                const PERMISSION: Option<Permission> = Some(Permission::$name);
            }
        )* };
    }

    types! {
        AuditRead FilesWrite IncidentsManage KeysManage KeysRead LimitsManage ModelsRead ModelsInfer ModelsManage
        RolesManage SystemManage UsageRead
        UsersRead UsersManage
    }
}

/// Left by the guards in the request.
#[derive(Clone)]
pub struct Proof {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// What was required of them.
    pub requirement: Requirement,
    /// What the request takes of quotas.
    pub lease: Option<Arc<QuotaLease>>,
}

/// A caller who has what `A` asks for.
pub struct Caller<A: Access> {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// Where the request comes from.
    pub origin: Origin,
    /// When the request arrived.
    pub arrived: Instant,
    /// What the request takes of quotas; none where there are none.
    pub lease: Option<Arc<QuotaLease>>,
    access: PhantomData<A>,
}

/// Anyone, on a public route.
pub struct Anonymous {
    /// Where the request comes from.
    pub origin: Origin,
}

/// Anyone, on a public route that is also there while the service is closed.
pub struct AlwaysOpen {
    /// Where the request comes from.
    pub origin: Origin,
}

/// An argument that says what its route requires.
pub trait FirstArgument: FromRequest + 'static {
    /// What the route requires.
    const REQUIREMENT: Requirement;
}

impl<A: Access> FirstArgument for Caller<A> {
    const REQUIREMENT: Requirement =
        Requirement::Caller { permission: A::PERMISSION, assurance: A::ASSURANCE };
}

impl FirstArgument for Anonymous {
    const REQUIREMENT: Requirement = Requirement::Public;
}

impl FirstArgument for AlwaysOpen {
    const REQUIREMENT: Requirement = Requirement::AlwaysOpen;
}

impl<A: Access> Caller<A> {
    /// The caller that the guards let through, where they asked what `A` asks for.
    pub fn proven(proof: Option<&Proof>, origin: Origin, arrived: Instant) -> Result<Self, ApiError> {
        let proof = proof.filter(|proof| proof.requirement == <Self as FirstArgument>::REQUIREMENT);
        let proof = proof.ok_or_else(|| ApiError::internal("a handler was reached without its guard"))?;
        let (principal, lease) = (Arc::clone(&proof.principal), proof.lease.clone());
        Ok(Self { principal, origin, arrived, lease, access: PhantomData })
    }
}

impl<A: Access> Caller<A> {
    /// Takes what the request turned out to need of the caller's quotas.
    pub async fn demand(&self, demand: Demand, now: DateTime<Utc>) -> Result<(), ApiError> {
        match &self.lease {
            Some(lease) => Ok(lease.demand(demand, now).await?),
            None => Ok(()),
        }
    }
}

impl<A: Access> FromRequest for Caller<A> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let extensions = request.extensions();
        let origin = RequestContext::origin(request, &extensions);
        ready(Self::proven(extensions.get::<Proof>(), origin, RequestContext::arrival(&extensions)))
    }
}

impl FromRequest for Anonymous {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self { origin: RequestContext::origin(request, &request.extensions()) }))
    }
}

impl FromRequest for AlwaysOpen {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self { origin: RequestContext::origin(request, &request.extensions()) }))
    }
}

/// The account behind a request that was let through.
pub(crate) fn account(request: &HttpRequest) -> Option<uuid::Uuid> {
    request.extensions().get::<Proof>().map(|proof| proof.principal.account)
}

/// Who calls a model by this request, where it was let through to do so.
pub(crate) fn infers(request: &HttpRequest) -> Option<Arc<Principal>> {
    let extensions = request.extensions();
    let proof = extensions.get::<Proof>()?;
    let infers = <Caller<permission::ModelsInfer> as FirstArgument>::REQUIREMENT;
    (proof.requirement == infers).then(|| Arc::clone(&proof.principal))
}
