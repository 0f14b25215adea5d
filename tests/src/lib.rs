//! The promises are in `acceptance/`; this library has what is generated for them.

/// The messages of `proto/`, for the tests' own gRPC client.
pub mod proto {
    /// `package inference`
    pub mod inference {
        include!(concat!(env!("OUT_DIR"), "/inference.rs"));
    }
    /// `package grpc.health.v1`
    pub mod health {
        include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
    }
}
