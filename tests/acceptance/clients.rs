//! Calls as the protocol's clients put them on the wire, byte for byte; `scripts/prove clients` runs the clients.

use crate::harness::{Server, promise};

/// What tritonclient 2.73 sends for two rows without naming outputs. It gives no media type.
const TRITON: &str = r#"{"inputs":[{"name":"x","shape":[2,64],"datatype":"FP32","parameters":{"binary_data_size":512}}],"parameters":{"binary_data_output":true}}"#;
/// What its asynchronous twin sends where everything is JSON: octets, it says, and without naming a length.
const TRITON_JSON: &str = r#"{"inputs":[{"name":"x","shape":[1,64],"datatype":"FP32","data":[DATA]}],"outputs":[{"name":"label","parameters":{"binary_data":false}}]}"#;
/// What kserve 0.21 sends; `model_name` is its own.
const KSERVE: &str = r#"{"id":"a-7","model_name":"digits","inputs":[{"name":"x","shape":[2,64],"datatype":"FP32","parameters":{"binary_data_size":512}}],"outputs":[{"name":"probabilities","parameters":{"binary_data":true}}]}"#;

/// The head and the body of the answer to a request with these headers.
fn exchange(server: &Server, token: &str, headers: &str, body: &[u8]) -> (String, Vec<u8>) {
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        server.address(),
        body.len()
    );
    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, &[head.as_bytes(), body].concat()).expect("the server reads");
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("a head of text").to_ascii_lowercase(), body)
}

fn length(head: &str) -> Option<usize> {
    let line = head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: "));
    line.and_then(|digits| digits.parse().ok())
}

promise! {
    fn tritonclient_gets_binary_outputs(pair) {
        let server = Server::start(pair, &[]);
        let token = server.person("ada").tokens.access;
        let headers = format!("Inference-Header-Content-Length: {}\r\n", TRITON.len());
        let (head, body) = exchange(&server, &token, &headers, &[TRITON.as_bytes(), &[0; 512]].concat());
        assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: application/octet-stream\r\n"), "{head}");
        let json = &body[..length(&head).expect("a length")];
        let expected = br#"{"model_name":"digits","model_version":"1","outputs":[{"name":"label","shape":[2],"datatype":"INT64","parameters":{"binary_data_size":16}},{"name":"probabilities","shape":[2,10],"datatype":"FP32","parameters":{"binary_data_size":80}}]}"#;
        assert_eq!(String::from_utf8_lossy(json), String::from_utf8_lossy(expected));
        assert_eq!(body.len(), json.len() + 16 + 80);
        assert_eq!(body[json.len()..][..16], [1_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat());
    }

    fn its_asynchronous_twin_calls_json_octets(pair) {
        let server = Server::start(pair, &[]);
        let token = server.person("ada").tokens.access;
        let call = TRITON_JSON.replace("DATA", &vec!["0.0"; 64].join(","));
        let headers = "Accept: */*\r\nAccept-Encoding: gzip, deflate\r\nUser-Agent: Python/3.11 aiohttp/3.14.5\r\nContent-Type: application/octet-stream\r\n";
        let (head, body) = exchange(&server, &token, headers, call.as_bytes());
        assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: application/json\r\n"), "{head}");
        assert_eq!(length(&head), None);
        let expected = r#"{"model_name":"digits","model_version":"1","outputs":[{"name":"label","shape":[1],"datatype":"INT64","data":[1]}]}"#;
        assert_eq!(String::from_utf8_lossy(&body), expected);
    }

    fn kserve_gets_its_id_back(pair) {
        let server = Server::start(pair, &[]);
        let token = server.person("ada").tokens.access;
        let headers = format!(
            "accept: */*\r\naccept-encoding: gzip, deflate\r\nuser-agent: python-httpx/0.28.1\r\ninference-header-content-length: {}\r\ncontent-type: application/octet-stream\r\n",
            KSERVE.len()
        );
        let (head, body) = exchange(&server, &token, &headers, &[KSERVE.as_bytes(), &[0; 512]].concat());
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        let json = &body[..length(&head).expect("a length")];
        let expected = br#"{"model_name":"digits","model_version":"1","id":"a-7","outputs":[{"name":"probabilities","shape":[2,10],"datatype":"FP32","parameters":{"binary_data_size":80}}]}"#;
        assert_eq!(String::from_utf8_lossy(json), String::from_utf8_lossy(expected));
        assert_eq!(body.len(), json.len() + 80);
        let (head, body) = exchange(&server, &token, "content-type: application/json\r\n", br#"{"inputs":[]}"#);
        assert!(head.starts_with("http/1.1 400 ") && head.contains("content-type: application/json\r\n"), "{head}");
        assert!(body.starts_with(br#"{"error":""#), "{}", String::from_utf8_lossy(&body));
    }
}
