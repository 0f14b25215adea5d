//! How calls of a model run: together, from what was kept, and by what computes them; nobody gets anything of
//! another's.

use std::fs;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::onnx_file::patient;
use crate::harness::{Client, Pair, Server, World, at_once, eventually, promise, workspace};

const INFER: &str = "/v2/models/digits/infer";

/// A server whose `digits` has these tables in its model.toml as well.
fn serve(pair: Pair, tables: &str, settings: &[(&str, &str)]) -> Server {
    let world = World::new(pair);
    let folder = world.folder().join("repository");
    fs::create_dir_all(folder.join("digits/1")).expect("a folder");
    for file in ["labels.txt", "1/model.onnx"] {
        fs::copy(workspace().join("models/digits").join(file), folder.join("digits").join(file))
            .expect("a copy");
    }
    let toml = fs::read_to_string(workspace().join("models/digits/model.toml")).expect("model.toml");
    // Of a table there may be one only.
    let toml = toml.split("[runtime]").next().unwrap_or_default().to_owned();
    fs::write(folder.join("digits/model.toml"), format!("{toml}\n{tables}\n")).expect("model.toml");
    let folder = folder.display().to_string();
    world.start(&[&[("MODEL_DIR", folder.as_str())], settings].concat())
}

fn call(seed: usize, rows: usize) -> Value {
    let pixel = |place: usize| (place * 7 + seed * 13) % 17;
    json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 64],
        "data": (0..rows * 64).map(pixel).collect::<Vec<_>>()}]})
}

fn outputs(client: &Client, call: &Value) -> Value {
    client.post(INFER, call).is(200).json()["outputs"].clone()
}

promise! {
    fn answers_of_calls_that_run_together_are_each_callers_own(pair) {
        let alone = serve(pair, "", &[]);
        let together = serve(pair, "[batching]\nmax_rows = 8\nmax_delay_us = 20000\n[runtime]\ninstances = 1", &[]);
        let someone = alone.person("ada").api;
        let callers: Vec<Client> = ["ada", "bob", "eve"].map(|name| together.person(name).api).into();
        let expected: Vec<Value> = (0..12).map(|seed| outputs(&someone, &call(seed, 1 + seed % 3))).collect();
        let answers = at_once(12, |seed| outputs(&callers[seed % 3], &call(seed, 1 + seed % 3)));
        for (answer, expected) in answers.iter().zip(&expected) {
            // The runtime picks its kernel by the number of rows, so the last bit may differ.
            let numbers = |outputs: &Value| -> Vec<f64> {
                let data = outputs.as_array().expect("outputs").iter().flat_map(|output| output["data"].as_array());
                data.flatten().filter_map(Value::as_f64).collect()
            };
            let (answer, expected) = (numbers(answer), numbers(expected));
            assert_eq!(answer.len(), expected.len());
            assert!(answer.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 1e-4), "{answer:?}");
        }
    }

    fn the_time_that_a_caller_waits_counts_from_the_beginning_of_the_call(pair) {
        let server = serve(pair, "", &[]);
        let ada = server.person("ada");
        let mut call = call(1, 1);
        call["parameters"] = json!({"timeout": 300_000});
        let body = call.to_string();
        let mut connection = server.connect();
        let (begun, rest) = body.as_bytes().split_at(10);
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n", ada.tokens.access, body.len());
        connection.write_all(&[head.as_bytes(), begun].concat()).expect("sent");
        std::thread::sleep(Duration::from_millis(400));
        connection.write_all(rest).expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    }

    fn what_is_kept_for_one_caller_is_computed_again_for_another(pair) {
        let server = serve(pair, "[cache]", &[]);
        let computed = || server.metric("inference_stage_seconds_count{model=\"digits\",stage=\"compute\"}");
        let (ada, bob) = (server.person("ada").api, server.person("bob").api);
        let first = outputs(&ada, &call(1, 1));
        assert_eq!(outputs(&ada, &call(1, 1)), first);
        assert_eq!(outputs(&bob, &call(1, 1)), first);
        assert!(computed() > 0.0);
        let kept = |hits: f64, misses: f64| {
            assert_eq!(server.metric("inference_cache_hits_total{model=\"digits\",version=\"1\"}"), hits);
            assert_eq!(server.metric("inference_cache_misses_total{model=\"digits\",version=\"1\"}"), misses);
        };
        kept(1.0, 2.0);
        assert_ne!(outputs(&ada, &call(2, 1)), first);
        outputs(&bob, &call(1, 1));
        kept(2.0, 3.0);
        let counted = ada.get("/v2/models/digits/stats").is(200).json()["model_stats"][0]["inference_stats"].clone();
        assert_eq!((&counted["success"]["count"], &counted["queue"]["count"]), (&json!(5), &json!(5)), "{counted}");
    }

    fn a_missing_accelerator_is_told_and_replaced_only_where_that_is_allowed(pair) {
        let lenient = serve(pair, "", &[("EXECUTION_PROVIDERS", "cuda,cpu")]);
        let client = lenient.person("ada").api;
        assert!(outputs(&client, &call(1, 1)).is_array());
        let details = client.get("/api/v1/models/digits").is(200).json();
        assert_eq!(details["execution_provider"], "cpu");
        assert!(details["execution_fallback"].as_str().is_some_and(|why| why.starts_with("cuda: ")), "{details}");
        let series = "inference_execution_provider{model=\"digits\",version=\"1\",provider=\"cpu\",fallback=\"true\"}";
        assert_eq!(lenient.metric(series), 1.0);

        let strict = serve(pair, "[runtime]\nproviders = [\"cuda\"]", &[]);
        let client = strict.person("ada").api;
        let error = client.post(INFER, &call(1, 1)).is(503).member("error");
        assert!(error.contains("cuda: ") && error.contains("add \"cpu\"") && !error.contains('/'), "{error}");

        let plain = serve(pair, "", &[]);
        let details = plain.person("ada").api.get("/api/v1/models/digits").is(200).json();
        assert_eq!((&details["execution_provider"], details.get("execution_fallback")), (&json!("cpu"), None));
    }

    fn a_client_that_goes_away_takes_its_run_along(pair) {
        let world = World::new(pair);
        let folder = world.folder().join("repository");
        fs::create_dir_all(folder.join("patient/1")).expect("a folder");
        fs::write(folder.join("patient/1/model.onnx"), patient()).expect("a model");
        fs::write(folder.join("patient/model.toml"), "[runtime]\ninstances = 1\n").expect("model.toml");
        let folder = folder.display().to_string();
        let server = world.start(&[("MODEL_DIR", folder.as_str()), ("INFER_TIMEOUT_SECONDS", "300")]);
        let (ada, bob) = (server.person("ada"), server.person("bob").api);
        let call = |turns: i64| json!({"inputs": [{"name": "turns", "datatype": "INT64", "shape": [1], "data": [turns]}]});
        let path = "/v2/models/patient/infer";
        let body = call(i64::MAX).to_string();
        let mut connection = server.connect();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}", ada.tokens.access, body.len());
        connection.write_all(request.as_bytes()).expect("sent");
        // Its run has begun when another has to wait; one that comes too early is answered.
        let depth = || server.metric("inference_queue_depth{model=\"patient\"}");
        let started = Instant::now();
        std::thread::scope(|scope| {
            let waiting = eventually("a call that waits", || {
                let asked = scope.spawn(|| bob.post(path, &call(3)));
                while !asked.is_finished() {
                    if depth() > 0.0 {
                        return Some(asked);
                    }
                }
                None
            });
            assert!(!waiting.is_finished());
            drop(connection);
            assert_eq!(waiting.join().expect("an answer").is(200).json()["outputs"][0]["data"], json!([3]));
        });
        assert!(started.elapsed() < Duration::from_secs(60), "the run went on");
        let counted = |outcome: &str| {
            server.metric(&format!("inference_requests_total{{model=\"patient\",version=\"1\",outcome=\"{outcome}\"}}"))
        };
        eventually("it is counted", || (counted("cancelled") == 1.0).then_some(()));
        assert_eq!(counted("deadline"), 0.0);
        let log = server.log();
        assert!(!log.contains("\"ERROR\"") && !log.contains("terminate"), "anyone could fill the log: {log}");
    }
}
