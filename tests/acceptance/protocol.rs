//! The protocol besides inference: models' configuration and statistics; names, priorities, addresses.

use std::fs;

use serde_json::{Value, json};

use crate::harness::onnx_file::{self, Dimension, FLOAT};
use crate::harness::{Client, Repository, Server, World, promise, workspace};

const INFER: &str = "/v2/models/digits/infer";

fn call(rows: usize, parameters: &Value) -> Value {
    json!({"inputs": [{"name": "x", "shape": [rows, 64], "datatype": "FP32", "data": vec![0; rows * 64]}],
        "parameters": parameters})
}

#[track_caller]
fn statistics(client: &Client, path: &str) -> Value {
    let answer = client.get(path).is(200).json();
    let [one] = answer["model_stats"].as_array().expect("a list").as_slice() else { panic!("{answer}") };
    assert_eq!((&one["name"], &one["version"]), (&json!("digits"), &json!("1")));
    one.clone()
}

fn count(statistics: &Value, what: &str) -> u64 {
    let measure = &statistics["inference_stats"][what];
    let (count, time) = (measure["count"].as_u64(), measure["ns"].as_u64());
    assert_eq!(count == Some(0), time == Some(0), "{what}: {measure}");
    count.expect("a count")
}

promise! {
    fn a_models_configuration_is_what_tools_ask_for(pair) {
        let world = World::new(pair);
        let folder = world.folder().join("repository");
        for (name, table) in [("alone", ""), ("together", "\n[batching]\nmax_rows = 16\nmax_delay_us = 200\n\n[runtime]\ninstances = 3\n\n[cache]\n")] {
            let (from, to) = (workspace().join("models/digits"), folder.join(name));
            fs::create_dir_all(to.join("1")).expect("a folder");
            fs::copy(from.join("1/model.onnx"), to.join("1/model.onnx")).expect("a copy");
            fs::write(to.join("model.toml"), table).expect("model.toml");
        }
        let server = world.start(&[("MODEL_DIR", &folder.display().to_string())]);
        let ada = server.person("ada").api;
        let config = ada.get("/v2/models/alone/config").is(200).json();
        assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [-1, 64]}]));
        assert_eq!(
            (&config["name"], &config["platform"], &config["backend"], &config["max_batch_size"]),
            (&json!("alone"), &json!("onnxruntime_onnx"), &json!("onnxruntime"), &json!(0))
        );
        assert!(config.get("dynamic_batching").is_none() && config["instance_group"][0]["count"].as_u64() > Some(0), "{config}");
        assert_eq!(config["response_cache"], json!({"enable": false}));
        let config = ada.get("/v2/models/together/versions/1/config").is(200).json();
        assert_eq!(config["max_batch_size"], 16);
        assert_eq!(config["input"], json!([{"name": "x", "data_type": "TYPE_FP32", "format": "FORMAT_NONE", "dims": [64]}]));
        assert_eq!(config["output"], json!([{"name": "label", "data_type": "TYPE_INT64", "dims": [], "label_filename": ""},
            {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10], "label_filename": ""}]));
        assert_eq!(config["dynamic_batching"], json!({"max_queue_delay_microseconds": 200, "priority_levels": 5, "default_priority_level": 3}));
        assert_eq!(config["instance_group"][0]["count"], 3);
        assert_eq!(config["response_cache"], json!({"enable": true}));
        for path in ["/v2/models/none/config", "/v2/models/alone/versions/2/config"] {
            ada.get(path).is(404);
        }
        server.anon().get("/v2/models/alone/config").is(401);
    }

    fn a_configuration_says_how_pictures_lie_and_where_labels_are(pair) {
        let repository = Repository::new(pair);
        for (name, layout, sizes) in [("nchw", "nchw", [3, 8, 8]), ("nhwc", "nhwc", [8, 8, 3])] {
            let folder = repository.add(name);
            let shape: Vec<_> = [Dimension::Named("n")].into_iter().chain(sizes.map(Dimension::Fixed)).collect();
            fs::write(folder.join("1/model.onnx"), onnx_file::identity_of(FLOAT, &shape)).expect("a model");
            let table = format!("[image]\ninput = \"x\"\nwidth = 8\nheight = 8\nlayout = \"{layout}\"\n[regression]\noutput = \"y\"\n[batching]\nmax_rows = 8\n");
            fs::write(folder.join("model.toml"), table).expect("model.toml");
        }
        repository.add("digits");
        let (_server, ada) = repository.start(&[]);
        for (name, format) in [("nchw", "FORMAT_NCHW"), ("nhwc", "FORMAT_NHWC"), ("digits", "FORMAT_NONE")] {
            assert_eq!(ada.get(&format!("/v2/models/{name}/config")).is(200).json()["input"][0]["format"], format);
        }
        let outputs = ada.get("/v2/models/digits/config").is(200).json()["output"].clone();
        assert_eq!((&outputs[0]["label_filename"], &outputs[1]["label_filename"]), (&json!(""), &json!("labels.txt")));
    }

    fn statistics_count_what_was_done(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        let path = "/v2/models/digits/stats";
        let none = statistics(&ada, path);
        assert_eq!((&none["last_inference"], &none["inference_count"], &none["batch_stats"]), (&json!(0), &json!(0), &json!([])));
        assert_eq!((&none["response_stats"], &none["memory_usage"]), (&json!({}), &json!([])));
        for rows in [1, 1, 4] {
            ada.post(INFER, &call(rows, &json!({}))).is(200);
        }
        ada.post(INFER, &json!({"inputs": []})).is(400);
        let all = statistics(&ada, path);
        assert_eq!((&all["inference_count"], &all["execution_count"]), (&json!(6), &json!(3)));
        for (what, expected) in [("success", 3), ("queue", 3), ("compute_input", 3), ("compute_infer", 3), ("compute_output", 3),
            ("fail", 0), ("cache_hit", 0), ("cache_miss", 0)] {
            assert_eq!(count(&all, what), expected, "{what}");
        }
        let sizes: Vec<&Value> = all["batch_stats"].as_array().expect("a list").iter().map(|batch| &batch["batch_size"]).collect();
        assert_eq!(sizes, [&json!(1), &json!(4)]);
        assert_eq!(all["batch_stats"][0]["compute_infer"]["count"], 2);
        for (series, expected) in [("bucket{model=\"digits\",le=\"1\"}", 2.0), ("count{model=\"digits\"}", 3.0), ("sum{model=\"digits\"}", 6.0)] {
            assert_eq!(server.metric(&format!("inference_batch_size_{series}")), expected, "{series}");
        }
        let now = u64::try_from(server.world.now().as_millis()).expect("a time");
        assert!(all["last_inference"].as_u64().is_some_and(|last| now.abs_diff(last) < 60_000), "{all}");
        for path in ["/v2/models/stats", "/v2/models/digits/versions/1/stats"] {
            assert_eq!(statistics(&ada, path)["inference_count"], 6);
        }
        for path in ["/v2/models/none/stats", "/v2/models/digits/versions/7/stats"] {
            ada.get(path).is(404);
        }
        server.anon().get("/v2/models/stats").is(401);
    }

    fn statistics_are_told_of_models_that_one_may_use(pair) {
        let server = Server::start(pair, &[]);
        let (admin, ada) = (server.admin().api, server.person("ada").api);
        admin.put("/api/v1/admin/models/digits/access", &json!({"access": "granted"})).is(204);
        assert_eq!(ada.get("/v2/models/stats").is(200).json(), json!({"model_stats": []}));
        for path in ["stats", "config", "versions/1/stats", "versions/1/config"] {
            ada.get(&format!("/v2/models/digits/{path}")).is(404);
            admin.get(&format!("/v2/models/digits/{path}")).is(200);
        }
        assert_eq!(admin.get("/v2/models/stats").is(200).json()["model_stats"].as_array().map(Vec::len), Some(1));
    }

    fn names_are_decoded_once_and_the_root_may_have_a_slash(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        let root = ada.get("/v2").is(200).json();
        assert_eq!(ada.get("/v2/").is(200).json(), root);
        for extension in ["binary_tensor_data", "classification", "statistics", "schedule_policy", "parameters", "model_configuration"] {
            assert!(root["extensions"].as_array().is_some_and(|all| all.contains(&json!(extension))), "{root}");
        }
        let plain = ada.get("/v2/models/digits").is(200).json();
        assert_eq!(ada.get("/v2/models/%64igits").is(200).json(), plain);
        assert_eq!(ada.get("/v2/models/digits/versions/%31").is(200).json(), plain);
        for name in ["%2564igits", "%252e%252e", "..%2fdigits", "%20", "digits%00", "%2e%2e", "digits%2fversions%2f1"] {
            for path in ["", "/config", "/stats", "/ready"] {
                ada.get(&format!("/v2/models/{name}{path}")).is(404);
            }
        }
    }

    fn a_priority_is_a_wish_and_a_timeout_a_bound(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        for priority in [json!(0), json!(1), json!(5), json!(u64::MAX)] {
            ada.post(INFER, &call(1, &json!({"priority": priority, "timeout": 20_000_000}))).is(200);
        }
        for wrong in [json!({"priority": -1}), json!({"priority": 1.5}), json!({"timeout": "1"}), json!({"priority": true})] {
            ada.post(INFER, &call(1, &wrong)).is(400);
        }
        ada.post(INFER, &call(1, &json!({"timeout": 1}))).is(504);
    }
}
