//! Bounds: what is too much, too slow or too intricate costs its sender the call or the connection, and nobody else
//! anything.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;

use super::{ON, method};
use crate::harness::grpc::{digits, inference as of, refused, wait};
use crate::harness::http2::{Connection, framed};
use crate::harness::{Person, Server, eventually, promise};

const WINDOW: u32 = 1 << 16;

fn infer() -> String {
    method("ModelInfer")
}

/// A call whose elements stand in `contents`.
fn contents(contents: of::InferTensorContents) -> of::ModelInferRequest {
    let mut call = digits(&[]);
    call.raw_input_contents.clear();
    call.inputs[0].contents = Some(contents);
    call
}

/// The metadata with this token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends frames as fast as they are taken and reads nothing until then; whether the server ends the connection.
fn pour(server: &Server, frames: &[u8]) -> bool {
    let mut stream = TcpStream::connect(server.grpc_address()).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a time-out");
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    stream.write_all(&begin).expect("some words");
    let _ = stream.write_all(frames);
    // A reset is an end, too; only silence is none.
    let heard = stream.read_to_end(&mut Vec::new());
    heard.map_or_else(|error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), |_| true)
}

promise! {
    fn what_is_too_large_is_refused(pair) {
        let server = Server::start(pair, &[ON, ("MAX_INFER_BODY_MB", "1"), ("MAX_JSON_LENGTH", "1000")]);
        let ada = server.person("ada").tokens.access;
        let client = server.grpc_user(&ada);
        refused(client.infer(digits(&vec![0.0; 64 * 4096])), Code::ResourceExhausted, "too_large");
        // 256 bytes a row come in, 48 go out.
        client.infer(digits(&vec![0.0; 64 * 4000])).expect("an answer");
        let long = of::ModelMetadataRequest { name: "x".repeat(1000), ..Default::default() };
        refused(client.call::<_, of::ModelMetadataResponse>(&method("ModelMetadata"), long), Code::ResourceExhausted, "too_large");
        // A length alone is enough, and nobody's are not even looked at.
        let bearer = bearer(&ada);
        for (metadata, code, reason) in [
            (&[("authorization", bearer.as_str())][..], Code::ResourceExhausted, "too_large"),
            (&[], Code::Unauthenticated, "authentication_required"),
        ] {
            let status = wait(async {
                let mut call = Connection::open(&server, WINDOW).await.begin(&infer(), metadata).await.expect("a call");
                call.send(&[0, 0xff, 0xff, 0xff, 0xff][..], false);
                call.status().await.expect("an answer")
            });
            assert_eq!(status.code(), code, "{status:?}");
            assert_eq!(status.get_error_details().error_info().map(|info| info.reason.as_str()), Some(reason));
        }
    }

    fn large_bodies_share_one_room_with_http(pair) {
        let server = Server::start(pair, &[ON, ("MAX_INFER_BODY_MB", "1"), ("MAX_BODIES_IN_MEMORY_MB", "16"), ("MAX_CONTENT_LENGTH", "1000000")]);
        let [ada, bob, carl] = ["ada", "bob", "carl"].map(|name| server.person(name));
        const PREFIX: &[u8] = &[0, 0, 0x0f, 0xf0, 0];
        // All of a message but a byte, or what stands before it.
        let hold = async |connection: &mut Connection, who: &Person, length: usize| {
            let bearer = bearer(&who.tokens.access);
            let mut call = connection.begin(&infer(), &[("authorization", bearer.as_str())]).await.expect("a call");
            call.send([PREFIX, &vec![0; length]].concat(), false);
            call
        };
        const MOST: usize = 0xf_f000 - 1;
        let body = vec![b' '; 900_000];
        let by_http = || ada.api.send("POST", "/v2/models/digits/infer", Some("application/json"), &body).status;
        // What is only announced takes none.
        let announced = wait(async {
            let mut connection = Connection::open(&server, WINDOW).await;
            let mut held = Vec::new();
            for _ in 0..16 {
                held.push(hold(&mut connection, &bob, 0).await);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            (connection, held)
        });
        assert_eq!(by_http(), 400);
        drop(announced);
        // Asked too early, the question itself takes room.
        let (mut connection, held) = eventually("the room is full", || {
            let (connection, held) = wait(async {
                let mut connection = Connection::open(&server, WINDOW).await;
                let mut held = Vec::new();
                for number in 0..16 {
                    held.push(hold(&mut connection, if number < 8 { &bob } else { &carl }, MOST).await);
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                (connection, held)
            });
            (by_http() == 503).then_some((connection, held))
        });
        let status = wait(async { hold(&mut connection, &ada, MOST).await.status().await.expect("an answer") });
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        for mut call in held {
            call.body.send_reset(h2::Reason::CANCEL);
        }
        let client = server.grpc_user(&ada.tokens.access);
        eventually("the room is free again", || client.infer(digits(&vec![0.0; 64 * 1000])).ok());
        // What grows when it is decoded counts by what it grows to: 0.9 MB on the wire are 8.1 MB here, and never
        // more than fit.
        let grows = || contents(of::InferTensorContents { int64_contents: vec![0; 900_000], ..Default::default() });
        refused(client.infer(grows()), Code::InvalidArgument, "invalid_input");
        let (_connection, held) = eventually("half of the room is taken", || {
            let (connection, held) = wait(async {
                let mut connection = Connection::open(&server, WINDOW).await;
                let mut held = Vec::new();
                for number in 0..10 {
                    held.push(hold(&mut connection, if number < 7 { &bob } else { &carl }, MOST).await);
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                (connection, held)
            });
            client.infer(grows()).is_err_and(|status| status.code() == Code::Unavailable).then_some((connection, held))
        });
        refused(client.infer(grows()), Code::Unavailable, "overloaded");
        client.infer(digits(&vec![0.0; 64 * 3000])).expect("as many bytes that do not grow");
        for mut call in held {
            call.body.send_reset(h2::Reason::CANCEL);
        }
        eventually("the room is free again", || (client.infer(grows()).err()?.code() == Code::InvalidArgument).then_some(()));
        let method = infer();
        let calls = (0..12).map(|_| client.ask::<_, of::ModelInferResponse>(&method, grows()));
        let at_once = wait(futures_util::future::join_all(calls));
        for answer in at_once {
            let code = answer.expect_err("a refusal").code();
            assert!(matches!(code, Code::InvalidArgument | Code::Unavailable), "{code:?}");
        }
        // What never has room is told so.
        let texts = contents(of::InferTensorContents { bytes_contents: vec![vec![]; 400_000], ..Default::default() });
        let told = refused(client.infer(texts), Code::ResourceExhausted, "too_large");
        assert!(told.contains("as binary data"), "{told}");
    }

    fn a_message_of_many_parts_is_not_decoded(pair) {
        let server = Server::start(pair, &[ON]);
        let client = server.grpc_user(&server.person("ada").tokens.access);
        client.infer(digits(&[0.0; 64])).expect("an answer");
        let before = server.metric("process_resident_memory_bytes");
        let many = 2_000_000;
        let calls = [
            of::ModelInferRequest { inputs: vec![Default::default(); many], ..digits(&[]) },
            of::ModelInferRequest { outputs: vec![Default::default(); many], ..digits(&[]) },
            of::ModelInferRequest { raw_input_contents: vec![vec![]; many], ..digits(&[]) },
            of::ModelInferRequest {
                inputs: vec![of::model_infer_request::InferInputTensor {
                    contents: Some(of::InferTensorContents { bytes_contents: vec![vec![]; many], ..Default::default() }),
                    ..Default::default()
                }],
                ..Default::default()
            },
            of::ModelInferRequest {
                inputs: vec![of::model_infer_request::InferInputTensor { shape: vec![1; many], ..Default::default() }],
                ..Default::default()
            },
        ];
        for call in calls {
            let message = refused(client.infer(call), Code::InvalidArgument, "malformed_request");
            assert!(message.contains("more than"), "{message}");
        }
        assert!(server.metric("process_resident_memory_bytes") - before < 100e6);
    }

    fn what_is_no_message_is_refused(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada").tokens.access;
        let bearer = bearer(&ada);
        let fine = framed(&digits(&[0.0; 64]));
        let compressed = [&[1], &fine[1..]].concat();
        let twice = [&fine[..], &fine[..]].concat();
        let broken = [&fine[..5], &vec![0xff; fine.len() - 5]].concat();
        let group = [&[0, 0, 0, 0, 1, 0x2b][..]].concat();
        for (body, codes) in [
            (twice, &[Code::InvalidArgument][..]),
            (broken, &[Code::InvalidArgument]),
            (group, &[Code::InvalidArgument]),
            (fine[..fine.len() - 1].to_vec(), &[Code::InvalidArgument]),
            (vec![0, 0], &[Code::InvalidArgument]),
            (vec![], &[Code::InvalidArgument]),
            (vec![7, 0, 0, 0, 0], &[Code::InvalidArgument]),
            (compressed, &[Code::InvalidArgument, Code::Unimplemented]),
        ] {
            let status = wait(async {
                let mut connection = Connection::open(&server, WINDOW).await;
                let mut call = connection.begin(&infer(), &[("authorization", bearer.as_str())]).await.expect("a call");
                call.send(body.clone(), true);
                call.status().await.expect("an answer")
            });
            assert!(codes.contains(&status.code()), "{body:?}: {status:?}");
            crate::harness::grpc::check("ModelInfer", &status);
        }
        let other = |name: &'static str, value: &'static str| {
            let bearer = bearer.clone();
            let fine = fine.clone();
            wait(async {
                let mut connection = Connection::open(&server, WINDOW).await;
                let metadata = [("authorization", bearer.as_str()), (name, value)];
                let mut call = connection.begin(&infer(), &metadata).await.expect("a call");
                call.send(fine, true);
                call.status().await.expect("an answer").code()
            })
        };
        assert_eq!(other("grpc-encoding", "snappy"), Code::Unimplemented);
        assert_eq!(other("grpc-encoding", "identity"), Code::Ok);
        for wrong in ["5", "soon", "999999999S", "-1S"] {
            assert_eq!(other("grpc-timeout", wrong), Code::InvalidArgument, "{wrong}");
        }
    }

    fn a_deadline_is_the_callers(pair) {
        let server = Server::start(pair, &[ON]);
        let bearer = bearer(&server.person("ada").tokens.access);
        let begun = Instant::now();
        let status = wait(async {
            let mut connection = Connection::open(&server, WINDOW).await;
            let metadata = [("authorization", bearer.as_str()), ("grpc-timeout", "300m"), ("x-request-id", "late")];
            let mut call = connection.begin(&infer(), &metadata).await.expect("a call");
            call.send(&[0][..], false);
            call.status().await.expect("an answer")
        });
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let line = server.wait_for_log("the call", |entry| entry["request_id"] == "late");
        assert_eq!((&line["status"], &line["grpc_status"]), (&json!(504), &json!("DeadlineExceeded")));
    }

    fn a_call_that_is_given_up_makes_room(pair) {
        let server = Server::start(pair, &[ON, ("MAX_IN_FLIGHT_PER_CALLER", "1")]);
        let ada = server.person("ada");
        let (client, bearer) = (server.grpc_user(&ada.tokens.access), bearer(&ada.tokens.access));
        let infer_once = || client.infer(digits(&[0.0; 64]));
        // Asked too early, the question itself takes the place.
        let (_connection, mut call) = eventually("one is running", || {
            let begun = wait(async {
                let mut connection = Connection::open(&server, WINDOW).await;
                let metadata = [("authorization", bearer.as_str()), ("x-request-id", "given-up")];
                let mut call = connection.begin(&infer(), &metadata).await.expect("a call");
                call.send(&[0][..], false);
                tokio::time::sleep(Duration::from_millis(200)).await;
                (connection, call)
            });
            infer_once().is_err_and(|status| status.code() == Code::ResourceExhausted).then_some(begun)
        });
        // It is the account that has so many running, however they came.
        ada.api.get("/api/v1/me").refused(429, "rate_limited");
        call.body.send_reset(h2::Reason::CANCEL);
        let line = server.wait_for_log("the call", |entry| entry["request_id"] == "given-up");
        assert_eq!((&line["status"], &line["grpc_status"]), (&json!(499), &json!("Cancelled")));
        eventually("none is running", || infer_once().ok());
    }

    fn who_is_slow_loses_the_call_or_the_connection(pair) {
        let server = Server::start(pair, &[ON, ("BODY_TIMEOUT_SECONDS", "1")]);
        let bearer = bearer(&server.person("ada").tokens.access);
        let status = wait(async {
            let mut connection = Connection::open(&server, WINDOW).await;
            let mut call = connection.begin(&infer(), &[("authorization", bearer.as_str())]).await.expect("a call");
            call.send(framed(&digits(&[0.0; 64])).slice(..40), false);
            call.status().await.expect("an answer")
        });
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains("too long"), "{status:?}");
        // An answer that nobody takes: the window has no room for it.
        let ended = wait(async {
            let mut connection = Connection::open(&server, 10).await;
            let mut call = connection.begin(&infer(), &[("authorization", bearer.as_str())]).await.expect("a call");
            call.send(framed(&digits(&[0.0; 64])), true);
            let mut body = call.unread().await.expect("a head");
            let first = body.data().await.expect("the window's worth");
            let rest = tokio::time::timeout(Duration::from_secs(20), body.data()).await.expect("an end");
            first.is_ok() && rest.is_none_or(|rest| rest.is_err())
        });
        assert!(ended, "the connection outlives its client's patience");
        // First words that never come.
        let mut mute = TcpStream::connect(server.grpc_address()).expect("a connection");
        mute.write_all(b"PRI * HT").expect("some words");
        mute.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let mut heard = Vec::new();
        mute.read_to_end(&mut heard).expect("the server closes it");
    }

    fn no_more_connections_than_there_are_places(pair) {
        let server = Server::start(pair, &[ON, ("GRPC_MAX_CONNECTIONS", "2")]);
        let client = server.grpc_user(&server.person("ada").tokens.access);
        let held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(server.grpc_address()).expect("a connection")).collect();
        let begun = Instant::now();
        // It waits until those that say nothing are sent away.
        client.infer(digits(&[0.0; 64])).expect("an answer");
        assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(held);
    }

    fn a_flood_of_calls_that_are_given_up_ends_its_connection_only(pair) {
        let server = Server::start(pair, &[ON]);
        let client = server.grpc_user(&server.person("ada").tokens.access);
        let survived = wait(async {
            let mut connection = Connection::open(&server, WINDOW).await;
            for _ in 0..20_000 {
                match connection.begin(&infer(), &[]).await {
                    Ok(mut call) => call.body.send_reset(h2::Reason::CANCEL),
                    Err(_) => return false,
                }
            }
            true
        });
        client.infer(digits(&[0.0; 64])).expect("an answer");
        assert!(!survived || server.log().matches("\"Cancelled\"").count() < 20_000);
    }

    fn frames_that_no_client_sends_cost_their_connection_only(pair) {
        let server = Server::start(pair, &[ON, ("BODY_TIMEOUT_SECONDS", "1")]);
        let token = server.person("ada").tokens.access;
        let client = server.grpc_user(&token);
        client.infer(digits(&[0.0; 64])).expect("an answer");
        let before = server.metric("process_resident_memory_bytes");
        // A field of 4000 bytes that is kept in the table, and then named by one byte each time.
        let field = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4000]].concat();
        let bomb = [field, vec![0xbe; 12_000]].concat();
        let literal = [&[0x10, 1, b'a', 0x7f, 0x81, 6][..], &[b'x'; 896]].concat();
        let floods: [(&str, bool, Vec<u8>, Vec<u8>); 8] = [
            ("a head without an end (CVE-2024-27316)", true, frame(1, 0, 1, &literal), frame(9, 0, 1, &literal).repeat(4000)),
            ("a head that unpacks to 48 MB", false, frame(1, 4, 1, &bomb), frame(1, 4, 3, &bomb)),
            ("settings (CVE-2019-9515)", false, vec![], frame(4, 0, 0, &[]).repeat(100_000)),
            ("pings (CVE-2019-9512)", false, vec![], frame(6, 0, 0, &[0; 8]).repeat(100_000)),
            ("a window that is too large", true, vec![], frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)),
            ("a message on no call", true, vec![], frame(0, 0, 1, &[0; 100])),
            ("a frame that is too long", true, vec![], frame(0, 0, 1, &vec![0; 100_000])),
            ("frames of no known kind", false, vec![], frame(0xf0, 0xff, 7, &[0; 1000]).repeat(1000)),
        ];
        for (what, is_ended, first, then) in floods {
            let ended = pour(&server, &[first, then].concat());
            assert!(ended || !is_ended, "{what}: the connection outlives it");
            client.infer(digits(&[0.0; 64])).unwrap_or_else(|status| panic!("after {what}: {status:?}"));
        }
        let bearer = bearer(&token);
        let metadata = [("authorization", bearer.as_str())];
        let (long, next, nothing) = wait(async {
            let mut connection = Connection::open(&server, WINDOW).await;
            let long = "x".repeat(20_000);
            let call = connection.begin(&infer(), &[metadata[0], ("x-long", &long)]).await.expect("a call");
            let long = call.status().await;
            let mut call = connection.begin(&infer(), &metadata).await.expect("a call");
            call.send(framed(&digits(&[0.0; 64])), true);
            let next = call.status().await;
            // A message in very many pieces of nothing (CVE-2019-9518).
            let mut call = connection.begin(&infer(), &metadata).await.expect("a call");
            let sent = (0..20_000).take_while(|_| call.body.send_data(bytes::Bytes::new(), false).is_ok()).count();
            (long, next, (sent, call.status().await))
        });
        assert!(long.as_ref().is_ok_and(|status| status.code() != Code::Ok), "a head of 20 KB is taken: {long:?}");
        assert!(next.is_ok_and(|status| status.code() == Code::Ok), "the other calls of the connection go on");
        assert!(nothing.1.as_ref().map_or(true, |status| status.code() == Code::InvalidArgument), "{nothing:?}");
        client.infer(digits(&[0.0; 64])).expect("an answer");
        assert!(server.metric("process_resident_memory_bytes") - before < 60e6);
        assert!(!server.log().contains("panicked"));
    }

    fn http_1_is_not_spoken(pair) {
        let server = Server::start(pair, &[ON]);
        let mut stream = TcpStream::connect(server.grpc_address()).expect("a connection");
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let mut heard = Vec::new();
        let _ = stream.read_to_end(&mut heard);
        assert!(!String::from_utf8_lossy(&heard).contains("HTTP/1.1 200"), "{heard:?}");
        server.grpc().call::<_, of::ServerLiveResponse>(&method("ServerLive"), of::ServerLiveRequest {}).expect("an answer");
        assert!(digits(&[]).encoded_len() > 0);
    }
}
