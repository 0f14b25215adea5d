//! The Open Inference Protocol over gRPC, on a port of its own: the same callers, limits, codes and words as over HTTP.
//!
//! A call comes through [`connection`] (bounds of one connection) to [`interceptor`], which is to gRPC what middleware
//! and guards are to HTTP: request id, HTTPS, the limit on addresses, then `guard::admit`, all before the message
//! is read. What a method asks of its caller stands in [`methods`]; a method that does not stand there cannot be
//! reached. The message is read within bounds ([`body`], [`compression`], [`wire`]), decoded ([`codec`]) and answered by
//! [`service`]; [`status`] writes every error.
//!
//! tonic needs a runtime whose tasks may move between threads, which actix-web's workers are not: [`server`] has its
//! own.

mod body;
mod call;
pub mod codec;
mod compression;
mod connection;
mod description;
mod health;
mod interceptor;
mod methods;
mod record;
mod server;
mod service;
mod status;
mod stream;
mod tensors;
mod timeout;
mod unsent;
mod wire;

pub use server::Server;

/// What the protocol's messages and services are made of, generated from `proto/`.
#[expect(clippy::allow_attributes, clippy::enum_variant_names, reason = "generated")]
mod proto {
    /// `package inference`
    pub mod inference {
        tonic::include_proto!("inference");
    }
    /// `package grpc.health.v1`
    pub mod health {
        tonic::include_proto!("grpc.health.v1");
    }
}
