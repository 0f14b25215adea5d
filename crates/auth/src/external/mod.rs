//! People whom another issuer vouches for: access tokens of a company's own login (OpenID Connect, RFC 9068).
//!
//! A token names its issuer, and only the keys of that issuer, as the operator named it, verify it. Issuer and
//! subject together are an identity; an address never is. From the second request on a token is as cheap as one of
//! ours: what it says stays with the principal.

mod claims;
mod documents;
mod identities;
mod issuer;
mod keys;
mod sign_in;

use std::sync::Arc;

use storage::{Scope, Service};

pub use documents::{DocumentSource, Fetched, NoDocuments};
pub use identities::ExternalIdentity;
pub(crate) use identities::remove_all;
pub use issuer::{RoleRule, TrustedIssuer};
use keys::Issuer;

use crate::token::foreign;
use crate::{Auth, Result};

/// The issuers that are trusted, and the way to their keys.
pub(crate) struct External {
    issuers: Vec<Arc<Issuer>>,
    source: Arc<dyn DocumentSource>,
}

impl External {
    pub fn new(issuers: Vec<TrustedIssuer>, source: Arc<dyn DocumentSource>) -> Self {
        Self { issuers: issuers.into_iter().map(|trusted| Arc::new(Issuer::new(trusted))).collect(), source }
    }

    /// The issuer that a token says to be of; none for tokens of our own and of those who are not trusted.
    pub fn issuer_of(&self, token: &str) -> Option<&Arc<Issuer>> {
        if self.issuers.is_empty() {
            return None;
        }
        self.find(&foreign::claimed_issuer(token)?)
    }

    /// Whether an issuer is trusted to say what its people may do.
    fn gives_roles(&self, issuer: &str) -> bool {
        self.find(issuer).is_some_and(|issuer| issuer.trusted.gives_roles())
    }

    fn find(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.issuers.iter().find(|issuer| issuer.trusted.issuer == name)
    }
}

impl Auth {
    /// How many issuers are trusted besides ourselves.
    pub fn issuers(&self) -> usize {
        self.external.issuers.len()
    }

    /// Fetches the keys of the issuer of this number where they are due; to be called every second.
    pub async fn refresh_issuer(&self, number: usize) {
        let Some(issuer) = self.external.issuers.get(number) else { return };
        if issuer.refresh(&*self.external.source, self.now()).await {
            // What a key signed that is gone was verified while it was there.
            self.principals.forget_all();
        }
    }

    /// Warns about a role that an issuer gives and that does not exist: people with it are refused until it does.
    pub(crate) async fn check_given_roles(&self) -> Result<()> {
        let mut tx = self.store.read(Scope::Service(Service::Setup)).await?;
        for trusted in self.external.issuers.iter().map(|issuer| &issuer.trusted) {
            for role in trusted.local_roles() {
                if tx.roles().find(role).await?.is_none() {
                    let issuer = &trusted.issuer;
                    tracing::warn!(issuer, role, "OIDC_ISSUERS_FILE gives a role that does not exist");
                }
            }
        }
        Ok(())
    }
}
