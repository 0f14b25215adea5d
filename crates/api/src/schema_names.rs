//! Texts of answers and requests that are one of a few names, as the OpenAPI document lists them: a client that is made
//! from it gets an enumeration. The fields themselves stay texts, for most are read from rows as they stand.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! names {
    ($($(#[$meta:meta])* $type:ident = $names:expr;)*) => { $(
        $(#[$meta])*
        pub struct $type;

        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let names: Vec<String> = $names;
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).into()
            }
        }

        impl ToSchema for $type {}
    )* };
}

/// The names of every variant of an enumeration.
macro_rules! all {
    ($type:path) => {{
        use $type as Named;
        Named::ALL.iter().map(ToString::to_string).collect()
    }};
}

names! {
    /// How an alert goes out.
    AlertChannel = all!(auth::AlertChannel);
    /// How far an alert is.
    AlertState = all!(auth::AlertState);
    /// How bad something is.
    Severity = all!(auth::Severity);
    /// What kind of thing went wrong.
    IncidentKind = all!(auth::IncidentKind);
    /// How far work on an incident is.
    IncidentStatus = all!(auth::IncidentStatus);
    /// What is done about an incident.
    IncidentAnswer = all!(auth::Answer);
    /// What a quota counts.
    QuotaUnit = all!(auth::QuotaUnit);
    /// How long a quota lasts, in UTC.
    QuotaPeriod = all!(auth::QuotaPeriod);
    /// Whether a version can be called.
    ModelState = all!(inference::State);
    /// The same, as the Open Inference Protocol writes it.
    IndexState = inference::State::ALL.iter().map(|state| state.name().to_ascii_uppercase()).collect();
    /// Who may use a model.
    ModelAccess = all!(storage::ModelAccess);
    /// What a model takes.
    ModelTakes = all!(inference::InputKind);
    /// What computes a model.
    ExecutionProvider = all!(inference::Provider);
    /// What a column's cells hold.
    ColumnType = all!(inference::ColumnKind);
    /// A tensor's elements.
    Datatype = all!(inference::DataType);
    /// What the dimensions of a picture stand for.
    PictureFormat = ["FORMAT_NONE", "FORMAT_NCHW", "FORMAT_NHWC"].map(Into::into).into();
    /// Whose limit it is.
    LimitScope = ["class", "role", "account", "key", "model"].map(Into::into).into();
    /// The kind of an entry of a timeline.
    IncidentEntryKind = all!(auth::EntryKind);
    /// The effect of a rule about addresses: the network is allowed, where a wider rule would deny it, or denied.
    IpEffect = all!(storage::IpEffect);
    /// The requests that a rule holds for: every request, or those that need a permission over others or over the installation, besides what holds for every request.
    IpPlace = all!(storage::IpPlace);
    /// How far the service is open.
    OperatingMode = all!(auth::OperatingMode);
}
