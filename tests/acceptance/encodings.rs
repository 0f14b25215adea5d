//! Compressed bodies: taken and given where tensors are, bounded by what they become, and nowhere else.

use std::io::Read;

use flate2::read::{GzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;
use serde_json::{Value, json};

use crate::harness::{Client, ENCODINGS, Reply, Server, pack, promise, sample};

const INFER: &str = "/v2/models/digits/infer";
const JSON_LENGTH: &str = "Inference-Header-Content-Length";

fn unpack(reply: &Reply) -> Vec<u8> {
    let mut body = Vec::new();
    let packed = reply.body.as_slice();
    match reply.header("content-encoding").expect("an encoding") {
        "gzip" => GzDecoder::new(packed).read_to_end(&mut body),
        "deflate" => ZlibDecoder::new(packed).read_to_end(&mut body),
        _ => StreamingDecoder::new(packed).expect("a frame").read_to_end(&mut body),
    }
    .expect("a whole body");
    body
}

/// A call of so many rows of zeros as JSON.
fn call(rows: usize) -> Value {
    json!({"inputs": [{"name": "x", "shape": [rows, 64], "datatype": "FP32", "data": vec![0; rows * 64]}]})
}

fn send(client: &Client, encoding: &str, body: &[u8]) -> Reply {
    client.with("Content-Encoding", encoding).send("POST", INFER, Some("application/json"), body)
}

promise! {
    fn a_packed_call_is_the_same_call(pair) {
        let server = Server::start(pair, &[]);
        let client = server.person("ada").api;
        let plain = client.post(INFER, &call(3)).is(200).json();
        for encoding in ENCODINGS {
            let packed = pack(encoding, call(3).to_string().as_bytes());
            assert_eq!(send(&client, encoding, &packed).is(200).json(), plain, "{encoding}");
            // The length speaks of the JSON as it was before.
            let json = json!({"inputs": [{"name": "x", "shape": [3, 64], "datatype": "FP32",
                "parameters": {"binary_data_size": 768}}]})
            .to_string();
            let body = pack(encoding, &[json.as_bytes(), &[0; 768]].concat());
            let client = client.with(JSON_LENGTH, &json.len().to_string());
            assert_eq!(send(&client, &encoding.to_uppercase(), &body).is(200).json(), plain, "{encoding}");
        }
        let large = call(2000).to_string();
        assert_eq!(send(&client, "gzip", &pack("gzip", large.as_bytes())).is(200).json()["outputs"][0]["shape"], json!([2000]));
        assert_eq!(send(&client, "identity", call(3).to_string().as_bytes()).is(200).json(), plain);
    }

    fn a_bomb_is_refused_unexploded(pair) {
        let server = Server::start(pair, &[("MAX_INFER_BODY_MB", "2")]);
        let client = server.person("ada").api;
        client.post(INFER, &call(1)).is(200);
        let before = server.metric("process_resident_memory_bytes");
        let zeros = vec![b' '; 16 << 20];
        for encoding in ENCODINGS {
            let bomb = pack(encoding, &zeros);
            assert!(bomb.len() < 1 << 20, "{encoding}: {}", bomb.len());
            send(&client, encoding, &bomb).is(413);
            // A bomb within a bomb is only unpacked once, if at all.
            send(&client, &format!("{encoding}, {encoding}"), &pack(encoding, &bomb)).is(415);
        }
        assert!(server.metric("process_resident_memory_bytes") - before < 40e6);
        client.post(INFER, &call(1)).is(200);
    }

    fn what_is_packed_badly_or_otherwise_is_refused(pair) {
        let server = Server::start(pair, &[]);
        let client = server.person("ada").api;
        let body = call(1).to_string();
        for encoding in ENCODINGS {
            let packed = pack(encoding, body.as_bytes());
            let message = |body: &[u8]| send(&client, encoding, body).is(400).member("error");
            for wrong in [body.as_bytes(), b"", &packed[..packed.len() - 1], &packed[1..], &[&packed[..], b"x"].concat()] {
                assert!(message(wrong).contains("Content-Encoding"), "{encoding}");
            }
        }
        let packed = pack("gzip", body.as_bytes());
        for encoding in ["br", "compress", "gzip, deflate", "", "gzip;q=1", "*"] {
            let refused = send(&client, encoding, &packed).is(415);
            assert_eq!(refused.header("accept-encoding"), Some("gzip, deflate, zstd"), "{encoding}");
        }
        let twice = client.with("Content-Encoding", "gzip").with("Content-Encoding", "gzip");
        twice.send("POST", INFER, None, &packed).is(415);
        // Elsewhere nothing is unpacked.
        let predict = "/api/v1/models/digits/predict";
        for (path, kind) in
            [(predict, "image/png"), (predict, "multipart/form-data; boundary=b"), ("/api/v1/auth/login", "application/json")]
        {
            let refused = client.with("Content-Encoding", "gzip").send("POST", path, Some(kind), &packed);
            assert_eq!(refused.refused(415, "unsupported_media_type").header("accept-encoding"), Some("identity"));
        }
    }

    fn answers_come_as_the_client_likes_them(pair) {
        let server = Server::start(pair, &[]);
        let client = server.person("ada").api;
        let plain = client.post(INFER, &call(50)).is(200);
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
        for encoding in ENCODINGS {
            let reply = client.with("Accept-Encoding", encoding).post(INFER, &call(50)).is(200);
            assert_eq!(reply.header("content-encoding"), Some(encoding));
            assert!(reply.body.len() < plain.body.len() / 2, "{encoding}: {}", reply.body.len());
            assert_eq!(unpack(&reply), plain.body, "{encoding}");
        }
        let best = client.with("Accept-Encoding", "br;q=1, zstd;q=0.9, gzip;q=0.8, *;q=0.1").post(INFER, &call(50)).is(200);
        assert_eq!(best.header("content-encoding"), Some("zstd"));
        // With binary data the length speaks of the JSON as it is when it was unpacked.
        let wanted = json!({"inputs": call(50)["inputs"], "parameters": {"binary_data_output": true}});
        let reply = client.with("Accept-Encoding", "gzip, deflate").post(INFER, &wanted).is(200);
        assert_eq!(reply.header("content-encoding"), Some("gzip"));
        let (length, body) = (usize::try_from(reply.number("inference-header-content-length")).expect("a length"), unpack(&reply));
        let json: Value = serde_json::from_slice(&body[..length]).expect("JSON");
        assert_eq!(json["outputs"][1]["parameters"]["binary_data_size"], 2000);
        assert_eq!(body.len(), length + 400 + 2000);
        // What is short, not wanted, or no answer of a model is never packed.
        for (client, body) in [("gzip", call(1)), ("br", call(50)), ("gzip;q=0", call(50)), ("identity", call(50))]
            .map(|(accepted, body)| (client.with("Accept-Encoding", accepted), body))
        {
            assert_eq!(client.post(INFER, &body).is(200).header("content-encoding"), None);
        }
        let greedy = client.with("Accept-Encoding", "gzip, deflate, zstd");
        for reply in [
            greedy.get("/v2/models/digits").is(200),
            greedy.get("/api/v1/me").is(200),
            greedy.predict(&sample("1-1")).is(200),
            greedy.post(INFER, &json!({})).is(400),
            greedy.post("/api/v1/auth/login", &json!({"email": "ada@example.com", "password": "Correct-horse-battery-9"})).is(200),
        ] {
            assert_eq!(reply.header("content-encoding"), None, "{}", reply.request);
        }
    }
}
