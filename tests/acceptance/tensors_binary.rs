//! Tensors as bytes and outputs as classes, as the clients of the protocol send and read them.

use serde_json::{Value, json};

use crate::harness::grpc::Grpc;
use crate::harness::grpc::inference::model_infer_request::InferInputTensor;
use crate::harness::grpc::inference::{self as of, InferTensorContents};
use crate::harness::onnx_file::{self, Dimension, STRING};
use crate::harness::{Client, Pair, Reply, Server, World, eventually, promise};

const DIGITS: &str = "/v2/models/digits/infer";
const JSON_LENGTH: &str = "Inference-Header-Content-Length";
const FLOAT16: u64 = 10;
const BFLOAT16: u64 = 16;

/// Every type of element: its number in the format, its name in the protocol and its size; 0 where that varies.
const TYPES: [(u64, &str, usize); 14] = [
    (onnx_file::BOOL, "BOOL", 1),
    (2, "UINT8", 1),
    (4, "UINT16", 2),
    (12, "UINT32", 4),
    (13, "UINT64", 8),
    (3, "INT8", 1),
    (5, "INT16", 2),
    (6, "INT32", 4),
    (onnx_file::INT64, "INT64", 8),
    (FLOAT16, "FP16", 2),
    (BFLOAT16, "BF16", 2),
    (onnx_file::FLOAT, "FP32", 4),
    (11, "FP64", 8),
    (STRING, "BYTES", 0),
];

/// A server with `y = x` for each type, named as that, `x` of shape `[n, 2]`; `one-text`, with `x` of shape `[1]`; and
/// `words`, whose second word is not UTF-8.
fn identities(pair: Pair) -> (Server, Client) {
    let world = World::new(pair);
    let folder = world.folder().join("repository");
    let put = |name: &str, model: Vec<u8>| {
        let version = folder.join(name).join("1");
        std::fs::create_dir_all(&version).expect("a folder");
        std::fs::write(version.join("model.onnx"), model).expect("a model");
    };
    for (element, name, _) in TYPES {
        put(name, onnx_file::identity(element));
    }
    put("one-text", onnx_file::identity_of(STRING, &[Dimension::Fixed(1)]));
    put("words", onnx_file::lookup_texts(&[b"a\0b", b"\xff\xfe"]));
    let server = world.start(&[("MODEL_DIR", &folder.display().to_string()), ("GRPC_PORT", "0")]);
    let client = server.person("ada").api;
    (server, client)
}

/// The same elements as numbers or texts; none for the types that can only be sent as bytes.
fn contents(datatype: &str, bytes: &[u8]) -> Option<InferTensorContents> {
    macro_rules! of {
        ($member:ident, $type:ty, $size:literal) => {
            InferTensorContents {
                $member: bytes
                    .as_chunks::<$size>()
                    .0
                    .iter()
                    .map(|bytes| <$type>::from_le_bytes(*bytes).into())
                    .collect(),
                ..InferTensorContents::default()
            }
        };
    }
    Some(match datatype {
        "BOOL" => InferTensorContents {
            bool_contents: bytes.iter().map(|byte| *byte == 1).collect(),
            ..InferTensorContents::default()
        },
        "INT8" => of!(int_contents, i8, 1),
        "INT16" => of!(int_contents, i16, 2),
        "INT32" => of!(int_contents, i32, 4),
        "INT64" => of!(int64_contents, i64, 8),
        "UINT8" => of!(uint_contents, u8, 1),
        "UINT16" => of!(uint_contents, u16, 2),
        "UINT32" => of!(uint_contents, u32, 4),
        "UINT64" => of!(uint64_contents, u64, 8),
        "FP32" => of!(fp32_contents, f32, 4),
        "FP64" => of!(fp64_contents, f64, 8),
        "BYTES" => InferTensorContents {
            bytes_contents: bytes.chunks(10).flat_map(|_| [b"\xc3\xa4".to_vec(), Vec::new()]).collect(),
            ..InferTensorContents::default()
        },
        _ => return None,
    })
}

/// The bytes of `y` for a call over gRPC, given as bytes and, where that can be, as numbers or texts.
fn over_grpc(client: &Grpc, datatype: &str, rows: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
    let ask = |contents: Option<InferTensorContents>, raw: Vec<Vec<u8>>| {
        let shape = vec![i64::try_from(rows).expect("a few"), 2];
        let input = InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.clone(),
            contents,
            ..Default::default()
        };
        let call = of::ModelInferRequest {
            model_name: datatype.into(),
            inputs: vec![input],
            raw_input_contents: raw,
            ..Default::default()
        };
        let answer =
            client.infer(call).unwrap_or_else(|status| panic!("{datatype}, {rows}: {status:?}")).into_inner();
        assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape), (datatype, &shape));
        answer.raw_output_contents[0].to_vec()
    };
    let raw = ask(None, vec![bytes.to_vec()]);
    let typed = contents(datatype, bytes).map(|contents| ask(Some(contents), Vec::new()));
    [Some(raw), typed].into_iter().flatten().collect()
}

fn someone(pair: Pair) -> (Server, Client) {
    let server = Server::start(pair, &[]);
    let client = server.person("ada").api;
    (server, client)
}

/// Sends JSON with bytes behind it, as `tritonclient` does: without a media type.
#[track_caller]
fn send(client: &Client, path: &str, json: &str, bytes: &[u8]) -> Reply {
    let body = [json.as_bytes(), bytes].concat();
    client.with(JSON_LENGTH, &json.len().to_string()).send("POST", path, None, &body)
}

/// What an answer says in JSON, and the bytes of its outputs by name.
#[track_caller]
fn parts(reply: &Reply) -> (Value, Vec<(String, Vec<u8>)>) {
    let length = usize::try_from(reply.number("inference-header-content-length")).expect("a length");
    assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
    let (json, mut bytes) = reply.body.split_at(length);
    let json: Value = serde_json::from_slice(json).expect("JSON");
    let mut outputs = Vec::new();
    for output in json["outputs"].as_array().expect("outputs") {
        let Some(size) = output["parameters"]["binary_data_size"].as_u64() else { continue };
        assert!(output.get("data").is_none(), "{output}");
        let (own, rest) = bytes.split_at(usize::try_from(size).expect("a size"));
        outputs.push((output["name"].as_str().expect("a name").to_owned(), own.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    (json, outputs)
}

#[track_caller]
fn refuses(reply: Reply, part: &str) {
    let message = reply.is(400).member("error");
    assert!(message.contains(part), "{part:?} is not in {message:?}");
}

/// A call of `x` with shape `[rows, 2]` and so many bytes, all outputs binary.
fn call(datatype: &str, rows: usize, size: usize) -> String {
    json!({"inputs": [{"name": "x", "shape": [rows, 2], "datatype": datatype, "parameters": {"binary_data_size": size}}],
        "parameters": {"binary_data_output": true}})
    .to_string()
}

/// Two rows of 64 zeros, as bytes.
const ZEROS: [u8; 2 * 64 * 4] = [0; 512];

fn digits(more: &Value) -> String {
    let mut call = json!({"inputs": [{"name": "x", "shape": [2, 64], "datatype": "FP32", "parameters": {"binary_data_size": 512}}]});
    let members = call.as_object_mut().expect("an object");
    members.extend(more.as_object().expect("an object").clone());
    call.to_string()
}

promise! {
    fn every_type_goes_in_and_comes_out_bit_by_bit(pair) {
        let (server, client) = identities(pair);
        let grpc = server.grpc_user(&server.log_in("ada@example.com", "Correct-horse-battery-9").tokens.access);
        for (_, name, size) in TYPES {
            let path = format!("/v2/models/{name}/infer");
            for rows in [0, 1, 3] {
                let bytes: Vec<u8> = match name {
                    "BOOL" => (0..rows * 2).map(|at| u8::from(at % 3 == 0)).collect(),
                    "BYTES" => b"\x02\0\0\0\xc3\xa4\0\0\0\0".repeat(rows),
                    // Among them are numbers of every kind, NaN as well.
                    _ => (0..rows * 2 * size).map(|at| (at * 151 + 0x7f) as u8).collect(),
                };
                let reply = send(&client, &path, &call(name, rows, bytes.len()), &bytes).is(200);
                let (json, outputs) = parts(&reply);
                assert_eq!(json["outputs"][0]["shape"], json!([rows, 2]), "{name}");
                assert_eq!(json["outputs"][0]["datatype"], name);
                for given in over_grpc(&grpc, name, rows, &bytes) {
                    assert_eq!(given, bytes, "{name} over gRPC, {rows} rows");
                }
                assert_eq!(outputs, [("y".to_owned(), bytes)], "{name}");
            }
        }
    }

    fn json_and_bytes_say_the_same(pair) {
        let (_server, client) = identities(pair);
        for (name, data, bytes) in [
            ("INT16", json!([[1, -2]]), &b"\x01\0\xfe\xff"[..]),
            ("UINT64", json!([u64::MAX, 0]), b"\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0"),
            ("FP32", json!([[0.5], [-2]]), b"\0\0\0\x3f\0\0\0\xc0"),
            ("FP64", json!([1.5, -0.0]), b"\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\x80"),
            ("BOOL", json!([true, false]), b"\x01\0"),
            ("BYTES", json!(["ä", ""]), b"\x02\0\0\0\xc3\xa4\0\0\0\0"),
        ] {
            let path = format!("/v2/models/{name}/infer");
            let input = json!({"name": "x", "shape": [1, 2], "datatype": name, "data": data});
            let wanted = json!([{"name": "y", "parameters": {"binary_data": true}}]);
            let reply = client.post(&path, &json!({"inputs": [input], "outputs": wanted})).is(200);
            assert_eq!(parts(&reply).1, [("y".to_owned(), bytes.to_vec())], "{name}");
            let json = call(name, 1, bytes.len()).replace("true", "false");
            let reply = send(&client, &path, &json, bytes).is(200);
            assert_eq!(reply.header("content-type"), Some("application/json"));
            assert_eq!(reply.header("inference-header-content-length"), None);
            let flat: Vec<Value> = match data.as_array() {
                Some(list) => list.iter().flat_map(|item| item.as_array().cloned().unwrap_or(vec![item.clone()])).collect(),
                None => panic!("a list"),
            };
            let numbers = |list: &[Value]| list.iter().map(|item| item.as_f64().map_or(item.clone(), Value::from)).collect::<Vec<_>>();
            let answered = reply.json()["outputs"][0]["data"].as_array().cloned().expect("data");
            assert_eq!(numbers(&answered), numbers(&flat), "{name}");
        }
    }

    fn what_json_cannot_carry_goes_as_bytes(pair) {
        let (server, client) = identities(pair);
        let grpc = server.grpc_user(&server.log_in("ada@example.com", "Correct-horse-battery-9").tokens.access);
        for name in ["FP16", "BF16"] {
            let path = format!("/v2/models/{name}/infer");
            let input = json!({"name": "x", "shape": [1, 2], "datatype": name, "data": [1, 2]});
            refuses(client.post(&path, &json!({"inputs": [input]})), "cannot be given as JSON");
            let json = call(name, 1, 4).replace("true", "false");
            refuses(send(&client, &path, &json, &[0; 4]), "JSON cannot carry");
        }
        let path = "/v2/models/BYTES/infer";
        // The runtime takes texts that are UTF-8; nothing else gets as far as the model.
        refuses(send(&client, path, &call("BYTES", 1, 10), b"\x02\0\0\0\xff\xfe\0\0\0\0"), "UTF-8");
        // What has no highest value is not run for it.
        let input = json!({"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["a", "b"]});
        let highest = json!([{"name": "y", "parameters": {"classification": 1}}]);
        refuses(client.post(path, &json!({"inputs": [input], "outputs": highest})), "no highest value");
        let classes = of::infer_parameter::ParameterChoice::Int64Param(1);
        let classes = of::InferParameter { parameter_choice: Some(classes) };
        let highest = of::model_infer_request::InferRequestedOutputTensor {
            name: "y".into(),
            parameters: [("classification".to_owned(), classes)].into(),
        };
        let refused = of::ModelInferRequest { model_name: "BYTES".into(), outputs: vec![highest], ..Default::default() };
        let refused = grpc.infer(refused).expect_err("it has no highest value");
        assert!(refused.message().contains("no highest value"), "{refused:?}");
        // What a model gives is what it gives. Whoever gets no answer pays for none, though the model ran.
        let words = |word: i64, binary: bool| {
            let input = json!({"name": "x", "shape": [1], "datatype": "INT64", "data": [word]});
            let call = json!({"inputs": [input], "parameters": {"binary_data_output": binary}});
            client.post("/v2/models/words/infer", &call)
        };
        refuses(words(1, false), "not UTF-8");
        assert_eq!(words(0, false).is(200).json()["outputs"][0]["data"], json!(["a\0b"]));
        assert_eq!(parts(&words(1, true).is(200)).1[0].1, b"\x02\0\0\0\xff\xfe");
        let used = eventually("usage is written", || {
            let items = client.get("/api/v1/me/usage").is(200).items();
            items.into_iter().find(|item| item["model"] == "words" && item["requests"] == 3)
        });
        let counts = ["requests", "failures", "inferences", "credits"].map(|name| used[name].as_i64());
        assert_eq!(counts, [3, 1, 2, 2].map(Some), "{used}");
    }

    fn each_output_comes_as_it_was_asked_for(pair) {
        let (_server, client) = someone(pair);
        let ask = |more: Value| send(&client, DIGITS, &digits(&more), &ZEROS).is(200);
        let (json, outputs) = parts(&ask(json!({"id": "7", "parameters": {"binary_data_output": true}})));
        assert_eq!((&json["id"], &json["model_name"], &json["model_version"]), (&json!("7"), &json!("digits"), &json!("1")));
        assert_eq!(outputs.iter().map(|(name, bytes)| (name.as_str(), bytes.len())).collect::<Vec<_>>(), [("label", 16), ("probabilities", 80)]);
        let one = json!([{"name": "probabilities", "parameters": {"binary_data": false}}, {"name": "label"}]);
        let (json, outputs) = parts(&ask(json!({"parameters": {"binary_data_output": true}, "outputs": one})));
        assert_eq!(json["outputs"][0]["data"].as_array().map(Vec::len), Some(20));
        assert_eq!(outputs.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["label"]);
        let other = json!([{"name": "label", "parameters": {"binary_data": true}}]);
        let (json, outputs) = parts(&ask(json!({"outputs": other})));
        assert_eq!(json["outputs"][0]["shape"], json!([2]));
        assert_eq!(outputs[0].1.len(), 16);
        let none = ask(json!({}));
        assert_eq!(none.header("content-type"), Some("application/json"));
        // As kserve's client sends it.
        let json = digits(&json!({}));
        let body = [json.as_bytes(), &ZEROS].concat();
        let length = json.len().to_string();
        client.with(JSON_LENGTH, &length).send("POST", DIGITS, Some("application/octet-stream"), &body).is(200);
    }

    fn a_body_without_json_is_the_only_input(pair) {
        let (_server, client) = identities(pair);
        let raw = |path: &str, body: &[u8]| client.with(JSON_LENGTH, "0").send("POST", path, Some("application/octet-stream"), body);
        let (json, outputs) = parts(&raw("/v2/models/INT16/infer", b"12345678").is(200));
        assert_eq!((&json["outputs"][0]["shape"], json.get("id")), (&json!([2, 2]), None));
        assert_eq!(outputs[0].1, b"12345678");
        refuses(raw("/v2/models/INT16/infer", b"123456"), "no whole number");
        // An answer in pieces of their own, and one more on the same connection.
        let large: Vec<u8> = (0..20_000_u32).flat_map(|number| f64::from(number).to_le_bytes()).collect();
        for _ in 0..2 {
            let answer = raw("/v2/models/FP64/infer", &large).is(200);
            assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
            assert_eq!(parts(&answer).1[0].1, large);
        }
        let (_, outputs) = parts(&raw("/v2/models/one-text/infer", b"a text").is(200));
        assert_eq!(outputs[0].1, b"\x06\0\0\0a text");
        refuses(raw("/v2/models/BYTES/infer", b"a text"), "one element");
    }

    fn lengths_that_do_not_add_up_are_refused(pair) {
        let (_server, client) = someone(pair);
        let json = digits(&json!({}));
        refuses(send(&client, DIGITS, &json, &ZEROS[1..]), "511 bytes");
        refuses(send(&client, DIGITS, &json, &[&ZEROS[..], b"x"].concat()), "1 bytes more");
        refuses(send(&client, DIGITS, &json.replace("512", "511"), &ZEROS[1..]), "511 were given");
        refuses(send(&client, DIGITS, &json.replace("512", "-1"), &ZEROS), "whole number");
        refuses(send(&client, DIGITS, &json.replace("[2,64]", "[9223372036854775807,64]"), &ZEROS), "too large");
        let body = [json.as_bytes(), &ZEROS].concat();
        let with = |length: &str| client.with(JSON_LENGTH, length).send("POST", DIGITS, None, &body);
        for length in ["-1", "+5", "0x10", "1.5", "", "ten", "99999999999999999999999"] {
            refuses(with(length), "whole number");
        }
        refuses(with(&(body.len() + 1).to_string()), "announced");
        refuses(with(&(json.len() - 1).to_string()), "inference request");
        refuses(with(&(json.len() + 1).to_string()), "inference request");
        refuses(client.with(JSON_LENGTH, "10").with(JSON_LENGTH, "10").send("POST", DIGITS, None, &body), "one whole number");
        refuses(client.send("POST", DIGITS, None, json.as_bytes()), "Inference-Header-Content-Length");
        refuses(client.send("POST", DIGITS, Some("application/octet-stream"), &body), "inference request");
        client.with(JSON_LENGTH, &json.len().to_string()).send("POST", DIGITS, Some("image/png"), &body).is(415);
    }

    fn many_short_texts_are_refused_before_they_take_memory(pair) {
        let (server, client) = identities(pair);
        let count: usize = 2 << 20;
        let before = server.metric("process_resident_memory_bytes");
        let bytes = vec![0; count * 4];
        refuses(send(&client, "/v2/models/BYTES/infer", &call("BYTES", count / 2, bytes.len()), &bytes), "at most 1048576");
        let data = format!("[{}\"\"]", "\"\",".repeat(count - 1));
        let json = format!(r#"{{"inputs":[{{"name":"x","shape":[{},2],"datatype":"BYTES","data":{data}}}]}}"#, count / 2);
        refuses(client.send("POST", "/v2/models/BYTES/infer", None, json.as_bytes()), "at most 1048576");
        assert!(server.metric("process_resident_memory_bytes") - before < 60e6);
    }

    fn outputs_come_as_classes_where_asked(pair) {
        let (_server, client) = someone(pair);
        let ask = |output: Value| send(&client, DIGITS, &digits(&json!({"outputs": [output]})), &ZEROS);
        let plain = ask(json!({"name": "probabilities"})).is(200).json();
        let reply = ask(json!({"name": "probabilities", "parameters": {"classification": 3}})).is(200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let output = reply.json()["outputs"][0].clone();
        assert_eq!((&output["datatype"], &output["shape"]), (&json!("BYTES"), &json!([2, 3])));
        let first = output["data"][0].as_str().expect("a text").split(':').collect::<Vec<_>>();
        let [value, index, label] = first[..] else { panic!("{output}") };
        assert_eq!(index, label, "the digits' labels are the digits");
        let index: usize = index.parse().expect("an index");
        assert_eq!(value.parse::<f64>().ok().map(|value| value as f32), plain["outputs"][0]["data"][index].as_f64().map(|value| value as f32));
        let highest = plain["outputs"][0]["data"].as_array().expect("data")[..10].iter().filter_map(Value::as_f64).fold(0.0, f64::max);
        assert_eq!(plain["outputs"][0]["data"][index], highest);
        let (_, outputs) = parts(&ask(json!({"name": "label", "parameters": {"classification": 9, "binary_data": true}})).is(200));
        assert!(outputs[0].1.ends_with(b":1"), "labels are the other output's: {outputs:?}");
        assert_eq!(ask(json!({"name": "probabilities", "parameters": {"classification": 0}})).is(200).json(), plain);
        refuses(ask(json!({"name": "probabilities", "parameters": {"classification": -1}})), "whole number");
        refuses(ask(json!({"name": "probabilities", "parameters": {"shared_memory_region": "a"}})), "not supported");
    }
}
