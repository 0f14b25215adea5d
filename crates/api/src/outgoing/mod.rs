//! What the server sends by itself: requests to issuers and challenge services, alerts, mail.

mod alerts;
pub mod challenge;
mod http;
pub mod mail;

pub use alerts::Alerter;
pub use challenge::Challenge;
pub use http::Outgoing;
pub use mail::Mailer;
