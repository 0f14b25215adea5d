//! Every method, called with every role: callers without the permission are refused before a message is read.

use std::collections::BTreeSet;

use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

use super::{ON, method};
use crate::harness::grpc::{Grpc, digits, refused};
use crate::harness::{Server, promise, workspace};

/// What each method of the protocol asks of its caller: as `/v2` does.
const METHODS: [(&str, &str); 12] = [
    ("ServerLive", ""),
    ("ServerReady", ""),
    ("ServerMetadata", "models:read"),
    ("ModelReady", "models:read"),
    ("ModelMetadata", "models:read"),
    ("ModelConfig", "models:read"),
    ("ModelStatistics", "models:read"),
    ("RepositoryIndex", "models:read"),
    ("ModelInfer", "models:infer"),
    ("ModelStreamInfer", "models:infer"),
    ("RepositoryModelLoad", "models:manage"),
    ("RepositoryModelUnload", "models:manage"),
];

/// Sends what no method takes: bytes that are no message.
#[derive(Clone, PartialEq, Message)]
struct Nonsense {
    #[prost(message, repeated, tag = "1")]
    wrong: Vec<Nonsense>,
    #[prost(bytes, tag = "2")]
    bytes: Vec<u8>,
}

#[track_caller]
fn ask(client: &Grpc, name: &str) -> Result<(), Status> {
    // Every message of the protocol has a text as its first or second field, or nothing.
    let nonsense = Nonsense { wrong: vec![], bytes: vec![0xff, 0xfe] };
    client.call::<_, ()>(&method(name), nonsense).map(drop)
}

#[test]
fn the_methods_are_those_of_the_protocol_file() {
    let text = std::fs::read_to_string(workspace().join("proto/inference.proto")).expect("the file");
    let declared: BTreeSet<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("rpc ")?.split('(').next()).collect();
    assert_eq!(declared, METHODS.into_iter().map(|(name, _)| name).collect());
}

/// Whether the guards let a call through: what it sends is no message, so that it got no further.
#[track_caller]
fn let_through(client: &Grpc, name: &str, who: &str) {
    let Err(status) = ask(client, name) else { return };
    let past = [Code::InvalidArgument, Code::NotFound, Code::FailedPrecondition];
    assert!(past.contains(&status.code()), "{who}: {name}: {status:?}");
}

#[track_caller]
fn refuses(client: &Grpc, name: &str, code: Code, who: &str) {
    let status = ask(client, name).expect_err(who);
    assert_eq!(status.code(), code, "{who}: {name}: {status:?}");
}

promise! {
    fn nobody_gets_no_further_than_health(pair) {
        let server = Server::start(pair, &[ON]);
        let strangers = [
            server.grpc(),
            server.grpc_user("eyJhbGciOiJub25lIn0.e30."),
            server.grpc_key("mg_live_000000000000_0000000000000000000000000000000000000000000000000"),
            server.grpc().with("authorization", "Basic YWRhOmFkYQ=="),
            server.grpc().with("x-api-key", "no key of ours"),
        ];
        for client in &strangers {
            for (name, needs) in METHODS {
                if needs.is_empty() {
                    let_through(client, name, "nobody");
                } else {
                    refuses(client, name, Code::Unauthenticated, "nobody");
                }
            }
        }
        let ada = server.person("ada").tokens.access;
        let both = server.grpc_user(&ada).with("x-api-key", "mg_live_1");
        refused(both.infer(digits(&[0.0; 64])), Code::InvalidArgument, "ambiguous_credentials");
    }

    fn each_role_gets_what_it_has_and_no_more(pair) {
        let server = Server::start(pair, &[ON]);
        let admin = server.admin();
        let has: [(&str, &[&str]); 4] = [
            ("readonly", &["models:read"]),
            ("user", &["models:read", "models:infer"]),
            ("moderator", &["models:read", "models:infer"]),
            ("admin", &["models:read", "models:infer", "models:manage"]),
        ];
        for (role, has) in has {
            let person = if role == "admin" { admin.clone() } else { server.person_with_role(&admin, role, role) };
            // A token that was given before the role changed would do as well.
            let token = server.grpc_user(&server.log_in(&person.email, &person.password).tokens.access);
            for (name, needs) in METHODS {
                if needs.is_empty() || has.contains(&needs) {
                    let_through(&token, name, role);
                } else {
                    refuses(&token, name, Code::PermissionDenied, role);
                }
            }
        }
    }

    fn a_key_gets_its_scopes(pair) {
        let server = Server::start(pair, &[ON]);
        let admin = server.admin();
        for scopes in [vec!["files:write"], vec!["models:read"], vec!["models:infer", "users:read"], vec!["models:manage"]] {
            let text = admin.make_key(&scopes);
            for key in [server.grpc_key(&text), server.grpc_user(&text)] {
                for (name, needs) in METHODS {
                    if needs.is_empty() || scopes.contains(&needs) {
                        let_through(&key, name, "a key");
                    } else {
                        refuses(&key, name, Code::PermissionDenied, "a key");
                    }
                }
            }
        }
        let elsewhere = admin.make_key_with(json!({"name": "k", "scopes": ["models:infer"], "allowed_ips": ["192.0.2.0/24"]})).1;
        refused(server.grpc_key(&elsewhere).infer(digits(&[0.0; 64])), Code::PermissionDenied, "forbidden");
    }
}
