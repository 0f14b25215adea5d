//! What each method asks of its caller: the route table of gRPC. A method that is not here is answered as unknown,
//! whatever the generated services could do with it.

use auth::LimitClass;

use crate::guard::permission::{ModelsInfer, ModelsManage, ModelsRead};
use crate::guard::{Anonymous, Caller, FirstArgument, Requirement, TimeLimit};
use crate::settings::SizeSettings;

/// What is known of a method before its message is read.
pub struct Method {
    /// Its path, such as `/inference.GRPCInferenceService/ModelInfer`.
    pub path: &'static str,
    /// What its caller must have.
    pub requirement: Requirement,
    /// Which limits it falls under; those under none are for probes, too.
    pub class: LimitClass,
    /// Whether it may change something.
    pub changes: bool,
    /// How long it may take.
    pub time_limit: TimeLimit,
    /// Whether it takes one message after the other, rather than one.
    pub streams: bool,
    /// Most bytes of a message that it takes.
    pub size: fn(&SizeSettings) -> usize,
}

macro_rules! methods {
    ($($service:literal { $($name:ident($argument:ty) $class:ident $kind:ident $size:ident;)* })*) => {
        /// Every method.
        pub const METHODS: &[Method] = &[$($(Method {
            path: concat!("/", $service, "/", stringify!($name)),
            requirement: <$argument as FirstArgument>::REQUIREMENT,
            class: LimitClass::$class,
            changes: matches!(Kind::$kind, Kind::Changes),
            time_limit: match Kind::$kind {
                Kind::Reads => TimeLimit::of(LimitClass::$class),
                Kind::Changes => TimeLimit::Long,
                Kind::Streams => TimeLimit::Inference,
            },
            streams: matches!(Kind::$kind, Kind::Streams),
            size: SizeSettings::$size,
        },)*)*];
    };
}

/// What a method does.
enum Kind {
    /// Looks something up, or computes.
    Reads,
    /// Changes something.
    Changes,
    /// As the former, for each of its messages.
    Streams,
}

methods! {
    "grpc.health.v1.Health" {
        Check(Anonymous)                            Exempt Reads   probe_bytes;
        Watch(Anonymous)                            Exempt Reads   probe_bytes;
    }
    "inference.GRPCInferenceService" {
        ServerLive(Anonymous)                       Exempt Reads   probe_bytes;
        ServerReady(Anonymous)                      Exempt Reads   probe_bytes;
        ServerMetadata(Caller<ModelsRead>)        Read   Reads   json_bytes;
        ModelReady(Caller<ModelsRead>)            Read   Reads   json_bytes;
        ModelMetadata(Caller<ModelsRead>)         Read   Reads   json_bytes;
        RepositoryIndex(Caller<ModelsRead>)       Read   Reads   json_bytes;
        ModelConfig(Caller<ModelsRead>)           Read   Reads   json_bytes;
        ModelStatistics(Caller<ModelsRead>)       Read   Reads   json_bytes;
        RepositoryModelLoad(Caller<ModelsManage>)   Read Changes json_bytes;
        RepositoryModelUnload(Caller<ModelsManage>) Read Changes json_bytes;
        ModelInfer(Caller<ModelsInfer>)           Infer  Reads   infer_bytes;
        // Opening it is a call like any other; each of its messages is then an inference.
        ModelStreamInfer(Caller<ModelsInfer>)     Read   Streams infer_bytes;
    }
}

/// The method at a path.
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}
