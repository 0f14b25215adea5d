//! Both doors close together: readiness first, then new calls, and what has begun is answered.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tonic::Code;

use super::{ON, method};
use crate::harness::grpc::health::health_check_response::ServingStatus;
use crate::harness::grpc::{digits, health, inference as of, wait};
use crate::harness::http2::{Connection, framed};
use crate::harness::{Server, eventually, promise};

promise! {
    fn what_has_begun_is_answered(pair) {
        let mut server = Server::start(pair, &[ON]);
        let bearer = format!("Bearer {}", server.person("ada").tokens.access);
        let message = framed(&digits(&[0.0; 64]));
        let infer = method("ModelInfer");
        wait(async {
            let mut connection = Connection::open(&server, 1 << 16).await;
            let mut begun = connection.begin(&infer, &[("authorization", bearer.as_str())]).await.expect("a call");
            begun.send(message.slice(..40), false);
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.terminate();
            tokio::task::block_in_place(|| {
                server.wait_for_log("stop", |entry| entry["message"] == "stopping");
                eventually("new connections are refused", || TcpStream::connect(server.grpc_address()).is_err().then_some(()));
            });
            begun.send(message.slice(40..), true);
            assert_eq!(begun.status().await.expect("an answer").code(), Code::Ok);
        });
        assert_eq!(server.wait(), Some(0));
        assert!(server.log().contains("\"message\":\"stopped\""));
    }

    fn one_that_never_finishes_does_not_hold_the_server(pair) {
        let mut server = Server::start(pair, &[ON, ("SHUTDOWN_TIMEOUT_SECONDS", "1")]);
        let bearer = format!("Bearer {}", server.person("ada").tokens.access);
        let infer = method("ModelInfer");
        let _held = wait(async {
            let mut connection = Connection::open(&server, 1 << 16).await;
            let mut begun = connection.begin(&infer, &[("authorization", bearer.as_str())]).await.expect("a call");
            begun.send(&[0][..], false);
            tokio::time::sleep(Duration::from_millis(200)).await;
            (connection, begun)
        });
        let begun = Instant::now();
        assert_eq!(server.stop(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    fn readiness_fails_before_the_doors_close_and_those_who_watch_are_told(pair) {
        let mut server = Server::start(pair, &[ON, ("DRAIN_SECONDS", "2")]);
        let client = server.grpc();
        let asked = health::HealthCheckRequest::default();
        let mut watched = client
            .listen::<_, health::HealthCheckResponse>("grpc.health.v1.Health/Watch", asked.clone())
            .expect("a stream")
            .into_inner();
        let first = wait(watched.message()).expect("an answer").expect("a first status");
        assert_eq!(first.status(), ServingStatus::Serving);
        server.terminate();
        let next = wait(watched.message()).expect("an answer").expect("a change");
        assert_eq!(next.status(), ServingStatus::NotServing);
        let ready = client.call::<_, of::ServerReadyResponse>(&method("ServerReady"), of::ServerReadyRequest {});
        assert!(!ready.expect("an answer").into_inner().ready);
        let check = client.call::<_, health::HealthCheckResponse>("grpc.health.v1.Health/Check", asked);
        assert_eq!(check.expect("an answer").into_inner().status(), ServingStatus::NotServing);
        assert!(wait(watched.message()).expect("an end").is_none());
        assert_eq!(server.wait(), Some(0));
    }

    fn without_a_port_there_is_no_grpc(pair) {
        let server = Server::start(pair, &[("GRPC_PORT", "")]);
        assert!(server.log().contains("\"listening\""));
        assert!(!server.log().contains("\"grpc\""), "{}", server.log());
    }

    fn a_port_that_is_taken_stops_the_start(pair) {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("an address").port().to_string();
        let world = crate::harness::World::new(pair);
        let refused = world.run(&["serve"], &[("GRPC_PORT", &port)], "");
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("cannot listen on"), "{refused:?}");
    }
}
