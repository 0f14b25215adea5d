//! Tensors over the Open Inference Protocol: what fits is answered, what does not is refused with the reason.

use serde_json::{Value, json};

use crate::harness::{Client, Pair, Reply, Server, promise, sample};

const INFER: &str = "/v2/models/digits/infer";

fn someone(pair: Pair) -> (Server, Client) {
    let server = Server::start(pair, &[]);
    let client = server.person("ada").api;
    (server, client)
}

/// The 64 numbers that the model sees in a sample: its grey levels, averaged over each of 8 by 8 areas.
fn pixels(name: &str) -> Vec<f64> {
    let picture = image::load_from_memory(&sample(name)).expect("a sample").into_luma8();
    let (width, height) = (picture.width() / 8, picture.height() / 8);
    let area = |cell: u32| {
        let (left, top) = (cell % 8 * width, cell / 8 * height);
        let levels = (left..left + width).flat_map(|x| (top..top + height).map(move |y| (x, y)));
        let sum: u32 = levels.map(|(x, y)| u32::from(picture.get_pixel(x, y).0[0])).sum();
        f64::from(sum) / f64::from(width * height) * 16.0 / 255.0
    };
    (0..64).map(area).collect()
}

fn input(name: &str, datatype: &str, shape: &Value, data: &Value) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "data": data})
}

fn good() -> Value {
    input("x", "FP32", &json!([1, 64]), &json!(vec![0; 64]))
}

/// A body that holds these inputs.
fn call(inputs: &[Value]) -> Value {
    json!({"inputs": inputs})
}

#[track_caller]
fn refused(client: &Client, body: &Value, part: &str) {
    refuses(client.post(INFER, body), part);
}

#[track_caller]
fn refuses(reply: Reply, part: &str) {
    let message = reply.is(400).member("error");
    assert!(message.contains(part), "{part:?} is not in {message:?}");
}

promise! {
    fn tensors_and_pictures_get_the_same_answer(pair) {
        let (_server, client) = someone(pair);
        for name in ["0-1", "4-1", "7-1"] {
            let body =
                json!({"id": "a-1", "inputs": [input("x", "FP32", &json!([1, 64]), &json!(pixels(name)))]});
            let answer = client.post(INFER, &body).is(200);
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let answer = answer.json();
            assert_eq!(
                (&answer["model_name"], &answer["model_version"], &answer["id"]),
                (&json!("digits"), &json!("1"), &json!("a-1"))
            );
            let [label, probabilities] = answer["outputs"].as_array().expect("outputs").as_slice() else {
                panic!("{answer}");
            };
            assert_eq!(
                (&label["name"], &label["datatype"], &label["shape"]),
                (&json!("label"), &json!("INT64"), &json!([1]))
            );
            assert_eq!(label["data"][0].to_string(), name[..1], "{answer}");
            assert_eq!(probabilities["shape"], json!([1, 10]));
            let picture = client.send(
                "POST",
                "/api/v1/models/digits/predict?top_k=10",
                Some("image/png"),
                &sample(name),
            );
            for prediction in
                picture.is(200).json()["results"][0]["predictions"].as_array().expect("predictions")
            {
                let index = prediction["index"]
                    .as_u64()
                    .and_then(|index| usize::try_from(index).ok())
                    .expect("an index");
                let (by_picture, by_tensor) =
                    (prediction["probability"].as_f64(), probabilities["data"][index].as_f64());
                let apart = by_picture.zip(by_tensor).map_or(1.0, |(left, right)| (left - right).abs());
                assert!(apart < 0.02, "{name}, class {index}: {by_picture:?} and {by_tensor:?}");
            }
        }
    }

    fn many_rows_come_in_one_call_flat_or_nested(pair) {
        let (_server, client) = someone(pair);
        let rows = ["1-1", "9-1", "6-1"].map(pixels);
        let nested = call(&[input("x", "FP32", &json!([3, 64]), &json!(rows))]);
        let flat = call(&[input("x", "FP32", &json!([3, 64]), &json!(rows.concat()))]);
        let answer = client.post(INFER, &nested).is(200).json();
        assert_eq!(answer["outputs"][0]["data"], json!([1, 9, 6]));
        assert_eq!(answer["outputs"][1]["shape"], json!([3, 10]));
        assert_eq!(client.post(INFER, &flat).is(200).json(), answer);
        assert!(answer.get("id").is_none(), "no id was given: {answer}");
        let none = call(&[input("x", "FP32", &json!([0, 64]), &json!([]))]);
        let none = client.post(INFER, &none).is(200).json();
        assert_eq!(
            (&none["outputs"][0]["shape"], &none["outputs"][1]["shape"]),
            (&json!([0]), &json!([0, 10]))
        );
    }

    fn outputs_are_the_callers_choice(pair) {
        let (_server, client) = someone(pair);
        let ask = |names: &[&str]| {
            let outputs: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
            client.post(INFER, &json!({"inputs": [good()], "outputs": outputs}))
        };
        let names = |reply: Reply| -> Vec<Value> {
            let answer = reply.is(200).json();
            answer["outputs"]
                .as_array()
                .expect("outputs")
                .iter()
                .map(|output| output["name"].clone())
                .collect()
        };
        assert_eq!(names(ask(&["probabilities"])), ["probabilities"]);
        assert_eq!(names(ask(&["probabilities", "label"])), ["probabilities", "label"]);
        assert_eq!(names(ask(&[])), ["label", "probabilities"]);
        refuses(ask(&["logits"]), "logits");
        refuses(ask(&["label", "label"]), "twice");
    }

    fn a_version_may_be_named(pair) {
        let (_server, client) = someone(pair);
        let body = call(&[good()]);
        let answer = client.post("/v2/models/digits/versions/1/infer", &body).is(200).json();
        assert_eq!(answer["model_version"], "1");
        for path in [
            "/v2/models/digits/versions/2/infer",
            "/v2/models/digits/versions/one/infer",
            "/v2/models/none/infer",
        ] {
            client.post(path, &body).is(404);
        }
    }

    fn the_server_and_its_models_describe_themselves(pair) {
        let (_server, client) = someone(pair);
        let server = client.get("/v2").is(200).json();
        assert_eq!(server["name"], "modelgate");
        assert!(server["version"].is_string() && server["extensions"].is_array(), "{server}");
        for extension in ["binary_tensor_data", "classification"] {
            assert!(server["extensions"].as_array().is_some_and(|all| all.contains(&json!(extension))), "{server}");
        }
        let expected = json!({
            "name": "digits", "versions": ["1"], "platform": "onnx_onnxv1",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]},
                        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
        });
        assert_eq!(client.get("/v2/models/digits").is(200).json(), expected);
        assert_eq!(client.get("/v2/models/digits/versions/1").is(200).json(), expected);
        for path in ["/v2/models/digits/ready", "/v2/models/digits/versions/1/ready"] {
            assert_eq!(client.get(path).is(200).json(), json!({"name": "digits", "ready": true}));
        }
        for path in [
            "/v2/models/none",
            "/v2/models/digits/versions/9",
            "/v2/models/none/ready",
            "/v2/models/digits/versions/9/ready",
        ] {
            client.get(path).is(404);
        }
        let index = json!([{"name": "digits", "version": "1", "state": "READY", "reason": ""}]);
        assert_eq!(client.act("/v2/repository/index").is(200).json(), index);
        assert_eq!(client.post("/v2/repository/index", &json!({"ready": true})).is(200).json(), index);
        assert_eq!(client.post("/v2/repository/index", &json!({"ready": false})).is(200).json(), index, "which is what counts unsaid");
        refuses(client.post("/v2/repository/index", &json!({"ready": "yes"})), "boolean");
        let listed = client.get("/api/v1/models").is(200).items();
        assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("digits"), &json!("ready")));
        let shown = client.get("/api/v1/models/digits").is(200).json();
        assert_eq!((&shown["versions"], &shown["takes_images"]), (&json!(["1"]), &json!(true)));
        client.get("/api/v1/models/none").refused(404, "model_not_found");
    }

    fn names_types_and_shapes_must_fit(pair) {
        let (_server, client) = someone(pair);
        let (shape, data) = (json!([1, 64]), json!(vec![0; 64]));
        refused(&client, &call(&[input("y", "FP32", &shape, &data)]), "\"x\"");
        refused(&client, &call(&[input("x", "FP64", &shape, &data)]), "FP32");
        refused(&client, &call(&[input("x", "FLOAT", &shape, &data)]), "datatype");
        refused(&client, &call(&[input("x", "", &shape, &data)]), "datatype");
        refused(&client, &call(&[input("x", "FP32", &json!([64]), &data)]), "shape");
        refused(&client, &call(&[input("x", "FP32", &json!([1, 63]), &json!(vec![0; 63]))]), "shape");
        refused(&client, &call(&[input("x", "FP32", &json!([1, 1, 64]), &data)]), "shape");
        refused(&client, &call(&[input("x", "FP32", &json!([]), &json!([1]))]), "shape");
        refused(&client, &call(&[input("x", "FP32", &json!([-1, 64]), &data)]), "-1");
        refused(&client, &call(&[input("x", "FP32", &json!([1.5, 64]), &data)]), "dimension 1.5");
        refused(&client, &call(&[input("x", "FP32", &json!("1,64"), &data)]), "sequence");
        refused(&client, &call(&[input("x", "FP32", &json!(vec![1; 40]), &json!([1]))]), "dimensions");
    }

    fn a_shape_alone_costs_nothing(pair) {
        let (server, client) = someone(pair);
        client.post(INFER, &call(&[good()])).is(200);
        let before = server.metric("process_resident_memory_bytes");
        let endless = u64::MAX.to_string();
        for first in
            ["4000000000", "9223372036854775807", &endless, "170141183460469231731687303715884105727"]
        {
            let body = format!(
                r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [{first}, 64], "data": [1]}}]}}"#
            );
            refuses(client.send("POST", INFER, Some("application/json"), body.as_bytes()), "shape");
        }
        assert!(server.metric("process_resident_memory_bytes") - before < 100e6);
    }

    fn elements_must_fit_in_number_and_kind(pair) {
        let (_server, client) = someone(pair);
        let with = |data: &Value| call(&[input("x", "FP32", &json!([1, 64]), data)]);
        refused(&client, &with(&json!(vec![0; 63])), "63");
        refused(&client, &with(&json!(vec![0; 65])), "64");
        refused(&client, &with(&json!([])), "64");
        refused(&client, &with(&json!(vec!["0"; 64])), "string");
        refused(&client, &with(&json!(vec![true; 64])), "true");
        refused(&client, &with(&json!(vec![Value::Null; 64])), "null");
        refused(&client, &with(&json!({"0": 1})), "data");
        refused(&client, &with(&json!("AAAA")), "data");
        refused(&client, &with(&json!(vec![1e39; 64])), "FP32");
        refused(
            &client,
            &json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64]}]}),
            "missing",
        );
    }

    fn every_input_comes_once(pair) {
        let (_server, client) = someone(pair);
        refused(&client, &call(&[]), "missing");
        refused(&client, &call(&[good(), good()]), "twice");
        refused(&client, &call(&[good(), input("y", "FP32", &json!([1]), &json!([1]))]), "\"y\"");
        refused(&client, &json!({}), "inputs");
        refused(&client, &json!({"inputs": {}}), "sequence");
        refused(&client, &json!({"inputs": [good()], "id": 7}), "string");
        refused(&client, &json!([]), "object");
        let twice = format!(r#"{{"inputs": [{}], "inputs": []}}"#, good());
        refuses(client.send("POST", INFER, Some("application/json"), twice.as_bytes()), "duplicate");
        let twice = format!(r#"{{"inputs": [{}], "parameters": {{"priority": 1, "priority": 2}}}}"#, good());
        refuses(client.send("POST", INFER, Some("application/json"), twice.as_bytes()), "\"priority\" is given twice");
    }

    fn what_a_caller_writes_comes_back_within_bounds(pair) {
        let (_server, client) = someone(pair);
        let long = "ä".repeat(1 << 20);
        for body in [
            call(&[input(&long, "FP32", &json!([1]), &json!([1]))]),
            call(&[input("x", &long, &json!([1]), &json!([1]))]),
            json!({"inputs": [good()], "outputs": [{"name": long}]}),
            json!({"inputs": [good()], "parameters": long}),
            json!({"inputs": [good()], "id": long}),
        ] {
            let refused = client.post(INFER, &body).is(400);
            assert!(refused.body.len() < 5000, "{} bytes", refused.body.len());
        }
        let body = json!({"inputs": [good()], "id": "i".repeat(4096)});
        assert_eq!(client.post(INFER, &body).is(200).member("id").len(), 4096);
    }

    fn unknown_members_are_passed_over(pair) {
        let (_server, client) = someone(pair);
        let mut input = good();
        input["comment"] = json!({"of": ["no", "meaning"]});
        let body = json!({"inputs": [input], "outputs": [{"name": "label", "comment": 1}], "comment": null,
            "parameters": {"mine": "yes", "priority": 1, "timeout": 5_000_000}});
        client.post(INFER, &body).is(200);
        for (name, value) in [
            ("sequence_id", json!(1)),
            ("triton_enable", json!(true)),
            ("mine", json!({})),
            ("timeout", json!("soon")),
        ] {
            let mut parameters = serde_json::Map::new();
            parameters.insert(name.to_owned(), value);
            refused(&client, &json!({"inputs": [good()], "parameters": parameters}), name);
        }
        let mut binary = good();
        binary["parameters"] = json!({"binary_data_size": 256});
        refused(&client, &call(&[binary]), "binary");
    }

    fn what_is_no_json_is_refused(pair) {
        let (_server, client) = someone(pair);
        let send = |body: &[u8]| client.send("POST", INFER, Some("application/json"), body);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let data = format!(
            r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": {deep}}}]}}"#
        );
        let members = format!(r#"{{"inputs": [], "a": {deep}}}"#);
        let bodies =
            ["", "{", "null", "inputs", "{\"inputs\": [", "{\"inputs\": []} []", &deep, &data, &members];
        for body in bodies {
            refuses(send(body.as_bytes()), "");
        }
        refuses(send(b"{\"inputs\": [], \"id\": \"\xff\xfe\"}"), "");
        client.send("POST", INFER, Some("text/plain"), b"{}").is(415);
        client.send("POST", INFER, Some("image/png"), b"{}").is(415);
        client.with("Content-Encoding", "br").post(INFER, &call(&[good()])).is(415);
        for kind in [None, Some("application/octet-stream"), Some("application/x-www-form-urlencoded")] {
            client.send("POST", INFER, kind, call(&[good()]).to_string().as_bytes()).is(200);
        }
    }

    fn what_is_too_large_is_refused(pair) {
        let server = Server::start(pair, &[("MAX_INFER_BODY_MB", "1")]);
        let client = server.person("ada").api;
        let body = format!("{}{}", call(&[good()]), " ".repeat(1 << 20));
        client.send("POST", INFER, Some("application/json"), body.as_bytes()).is(413);
        client
            .with("Transfer-Encoding", "chunked")
            .send("POST", INFER, Some("application/json"), body.as_bytes())
            .is(413);
        client.post(INFER, &call(&[good()])).is(200);
    }

    fn a_body_in_very_many_pieces_is_a_body(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada");
        let before = server.metric("process_resident_memory_bytes");
        let body = call(&[good()]).to_string();
        let mut request = format!(
            "POST {INFER} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            ada.tokens.access
        );
        request.push_str(&"1\r\n \r\n".repeat(100_000));
        body.bytes().for_each(|byte| request.push_str(&format!("1\r\n{}\r\n", char::from(byte))));
        request.push_str("0\r\n\r\n");
        let answer = server.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("probabilities"), "{answer:.300}");
        assert!(server.metric("process_resident_memory_bytes") - before < 30e6);
    }

    fn health_is_everyones_and_the_rest_a_callers(pair) {
        let server = Server::start(pair, &[]);
        let anon = server.anon();
        assert_eq!(anon.get("/v2/health/live").is(200).json(), json!({"live": true}));
        assert_eq!(anon.get("/v2/health/ready").is(200).json(), json!({"live": true, "ready": true}));
        anon.get("/v2").is(401);
        anon.get("/v2/models/digits").is(401);
        anon.post(INFER, &call(&[good()])).is(401);
        anon.act("/v2/repository/index").is(401);
    }
}
