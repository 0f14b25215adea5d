//! What every promise needs: a server of its own on either engine pair, and clients that check each answer.
//!
//! `Server::start(pair, settings)` is the whole set-up; everything it makes goes when it is dropped.

mod authenticator;
mod check;
mod client;
mod file_server;
pub mod grpc;
mod hook;
pub mod http2;
mod ledger;
mod log;
mod mail;
#[path = "../../../crates/inference/tests/inference/onnx_file.rs"]
#[expect(dead_code, reason = "the other tests that it is written for use the rest")]
pub mod onnx_file;
mod packing;
mod people;
mod process;
mod provider;
mod raw;
mod repository;
mod secrets;
mod server;
mod services;
mod store_proxy;
mod stored;
mod tls;
mod world;

pub use authenticator::Authenticator;
pub use client::{Client, Reply};
pub use file_server::{FileServer, sha256};
pub use hook::{Hook, Post};
pub use mail::MailServer;
pub use packing::{ENCODINGS, pack};
pub use people::{Person, Tokens};
pub use process::Finished;
pub use provider::{AUDIENCE, Realm, described};
pub use raw::read_all;
pub use repository::{Repository, configure};
pub use server::Server;
pub use services::{OwnRedis, psql, psql_file};
pub use store_proxy::StoreProxy;
pub use tls::tls_file;
pub use world::{Pair, World};

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Declares promises that hold on both engine pairs: `promise! { fn name(pair) { … } }` makes the tests
/// `name::embedded` and `name::postgres_redis`.
macro_rules! promise {
    ($($(#[$meta:meta])* fn $name:ident($pair:ident) $body:block)+) => { $(
        $(#[$meta])*
        fn $name($pair: $crate::harness::Pair) $body
        mod $name {
            #[test]
            fn embedded() {
                super::$name($crate::harness::Pair::Embedded);
            }
            #[test]
            fn postgres_redis() {
                super::$name($crate::harness::Pair::Shared);
            }
        }
    )+ };
}

pub(crate) use promise;

/// The repository.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

/// A sample picture, such as `7-1`.
pub fn sample(name: &str) -> Vec<u8> {
    let path: PathBuf = workspace().join("models/digits/samples").join(format!("{name}.png"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Waits for something that happens a little later, asking again and again; fails after 10 s.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// Does the same `count` times at once, each in a thread of its own, and gives the answers.
pub fn at_once<T: Send>(count: usize, act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = std::sync::Barrier::new(count);
    std::thread::scope(|scope| {
        let run = |number| {
            let (start, act) = (&start, &act);
            scope.spawn(move || {
                start.wait();
                act(number)
            })
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread of the test")).collect()
    })
}
