//! Compressed messages: the same call as without, bounded by what they become.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::{Code, Status};

use super::{ON, method};
use crate::harness::grpc::{digits, inference as of, wait};
use crate::harness::http2::{Connection, framed};
use crate::harness::{ENCODINGS, Server, at_once, pack, promise};

const WINDOW: u32 = 1 << 16;

/// A message in this encoding, as it stands in a body.
fn packed(encoding: &str, message: &impl Message) -> Bytes {
    marked(&pack(encoding, &message.encode_to_vec()))
}

/// Bytes that are said to be a packed message.
fn marked(content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(1);
    bytes.put_u32(u32::try_from(content.len()).expect("a length"));
    bytes.put_slice(content);
    bytes.freeze()
}

/// Sends pieces of a body as the whole of a call; what is answered, and the status.
fn call(server: &Server, token: &str, name: &str, encoding: &str, pieces: &[&[u8]]) -> (Bytes, Status) {
    let bearer = format!("Bearer {token}");
    wait(async {
        let mut connection = Connection::open(server, WINDOW).await;
        let metadata = [("authorization", bearer.as_str()), ("grpc-encoding", encoding)];
        let mut call = connection.begin(&method(name), &metadata).await.expect("a call");
        for (number, piece) in pieces.iter().enumerate() {
            call.send(piece.to_vec(), number + 1 == pieces.len());
        }
        call.answer().await.expect("an answer")
    })
}

/// The messages of an answer.
fn messages<Reply: Message + Default>(mut body: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while let Some((&[0, a, b, c, d], rest)) = body.split_first_chunk::<5>() {
        let (message, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        replies.push(Reply::decode(message).expect("a message"));
        body = rest;
    }
    assert!(body.is_empty(), "not whole messages: {body:?}");
    replies
}

promise! {
    fn a_packed_message_is_the_same_message(pair) {
        let server = Server::start(pair, &[ON]);
        let ada = server.person("ada").tokens.access;
        let question = digits(&[1.0; 64 * 3]);
        let plain = server.grpc_user(&ada).infer(question.clone()).expect("an answer").into_inner();
        for encoding in ENCODINGS {
            let body = packed(encoding, &question);
            let (first, second) = body.split_at(3);
            let (answer, status) = call(&server, &ada, "ModelInfer", encoding, &[first, second]);
            assert_eq!(status.code(), Code::Ok, "{encoding}: {status:?}");
            assert_eq!(messages::<of::ModelInferResponse>(&answer)[0].raw_output_contents, plain.raw_output_contents);
            // Each message says for itself whether it is packed.
            let several = [&body[..], &framed(&question), &body].concat();
            let (answer, status) = call(&server, &ada, "ModelStreamInfer", encoding, &[&several]);
            assert_eq!(status.code(), Code::Ok, "{encoding}: {status:?}");
            let answers = messages::<of::ModelStreamInferResponse>(&answer);
            assert_eq!(answers.len(), 3, "{answers:?}");
            for answer in answers {
                let response = answer.infer_response.expect("an answer");
                assert_eq!(response.raw_output_contents, plain.raw_output_contents, "{encoding}");
            }
        }
    }

    fn what_is_packed_is_bounded_by_what_it_becomes(pair) {
        let server = Server::start(pair, &[ON, ("MAX_INFER_BODY_MB", "2")]);
        let ada = server.person("ada").tokens.access;
        server.grpc_user(&ada).infer(digits(&[0.0; 64])).expect("an answer");
        let before = server.metric("process_resident_memory_bytes");
        for encoding in ENCODINGS {
            let bomb = packed(encoding, &digits(&vec![0.0; 64 << 16]));
            assert!(bomb.len() < 1 << 20, "{encoding}: {}", bomb.len());
            let fine = packed(encoding, &digits(&[0.0; 64]));
            let cut = marked(&fine[5..fine.len() - 1]);
            let short = &fine[..fine.len() - 1];
            for (body, code) in [
                (&bomb[..], Code::ResourceExhausted),
                (&marked(b"not packed at all"), Code::InvalidArgument),
                (&marked(&pack(encoding, &fine[5..])), Code::InvalidArgument),
                (&cut, Code::InvalidArgument),
                (short, Code::InvalidArgument),
            ] {
                let (_, status) = call(&server, &ada, "ModelInfer", encoding, &[body]);
                assert_eq!(status.code(), code, "{encoding}, {} bytes: {status:?}", body.len());
                crate::harness::grpc::check("ModelInfer", &status);
            }
            let bombs = [&bomb[..], &bomb, &bomb].concat();
            let (_, status) = call(&server, &ada, "ModelStreamInfer", encoding, &[&bombs]);
            assert_eq!(status.code(), Code::ResourceExhausted, "{encoding}: {status:?}");
        }
        assert!(server.metric("process_resident_memory_bytes") - before < 40e6);
        // What anybody may ask, as often as they like, unpacks to next to nothing.
        for (length, code) in [(1 << 10, Code::Ok), (1 << 16, Code::ResourceExhausted)] {
            let padded = packed("gzip", &of::ModelMetadataRequest { name: "x".repeat(length), ..Default::default() });
            let (_, status) = call(&server, "nobody", "ServerLive", "gzip", &[&padded]);
            assert_eq!(status.code(), code, "{length}: {status:?}");
        }
        let (_, status) = call(&server, &ada, "ServerLive", "gzip", &[&packed("gzip", &of::ServerLiveRequest {})]);
        assert_eq!(status.code(), Code::Ok, "{status:?}");
        let (_, status) = call(&server, &ada, "ModelInfer", "snappy", &[&marked(b"fine")]);
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert_eq!(status.metadata().get("grpc-accept-encoding").expect("what is taken"), "gzip, deflate, zstd");
    }

    fn however_many_messages_come_packed_a_few_threads_unpack_them(pair) {
        let server = Server::start(pair, &[ON, ("MAX_INFER_BODY_MB", "8"), ("MAX_BODIES_IN_MEMORY_MB", "1024")]);
        let ada = server.person("ada").tokens.access;
        let bomb = packed("zstd", &digits(&vec![0.0; 64 << 16]));
        let refused = |_| call(&server, &ada, "ModelInfer", "zstd", &[&bomb]).1.code();
        assert_eq!(refused(0), Code::ResourceExhausted);
        let before = server.metric("process_threads");
        let codes = at_once(32, refused);
        // A thread that has nothing to do any more stays for some seconds.
        let after = server.metric("process_threads");
        assert!(codes.iter().all(|code| *code == Code::ResourceExhausted), "{codes:?}");
        assert!(after - before < 16.0, "{before} threads, then {after}");
    }
}
