//! Pictures of every format and mode become the tensor that Pillow and NumPy make of them, within the tolerance of
//! each. `scripts/image-reference make` wrote the pictures and what is expected; `docs/IMAGES.md` shows the
//! differences.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::onnx_file::{self, Dimension, FLOAT};
use crate::harness::{Client, Pair, Server, World, promise, workspace};

fn corpus() -> PathBuf {
    workspace().join("tests/images")
}

/// A server whose models give their input back.
fn served(pair: Pair, models: &Value) -> (Server, Client) {
    let world = World::new(pair);
    let folder = world.folder().join("repository");
    for (name, model) in models.as_object().expect("models") {
        let sizes = model["shape"].as_array().expect("a shape").iter().filter_map(Value::as_u64);
        let shape: Vec<Dimension> =
            [Dimension::Named("n")].into_iter().chain(sizes.map(Dimension::Fixed)).collect();
        let version = folder.join(name).join("1");
        fs::create_dir_all(&version).expect("a folder");
        fs::write(version.join("model.onnx"), onnx_file::identity_of(FLOAT, &shape)).expect("a model");
        fs::write(folder.join(name).join("model.toml"), model["toml"].as_str().expect("TOML"))
            .expect("model.toml");
    }
    let server = world.start(&[("MODEL_DIR", &folder.display().to_string())]);
    let client = server.person("ada").api;
    (server, client)
}

/// The expected elements: levels in a byte each, or FP32.
fn expected(case: &Value) -> Vec<f64> {
    let name =
        format!("{}.{}", case["file"].as_str().expect("a file"), case["model"].as_str().expect("a model"));
    let bytes = fs::read(corpus().join("expected").join(name)).expect("what is expected");
    if case["size"] == 1 {
        return bytes.into_iter().map(f64::from).collect();
    }
    bytes.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect()
}

promise! {
    fn every_format_and_mode_becomes_the_reference_tensor(pair) {
        let list = fs::read_to_string(corpus().join("cases.json")).expect("the list of cases");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let (_server, client) = served(pair, &list["models"]);
        let cases = list["cases"].as_array().expect("cases");
        assert!(cases.len() > 100, "the list is whole");
        let mut wrong = Vec::new();
        for case in cases {
            let picture = fs::read(corpus().join(case["file"].as_str().expect("a file"))).expect("a picture");
            let path = format!("/api/v1/models/{}/predict", case["model"].as_str().expect("a model"));
            let answer = client.send("POST", &path, Some("application/octet-stream"), &picture).is(200).json();
            let values = answer["results"][0]["values"].as_array().expect("values").iter().filter_map(Value::as_f64);
            let values: Vec<f64> = values.collect();
            let expected = expected(case);
            assert_eq!(values.len(), expected.len(), "{case}");
            let differences = values.iter().zip(&expected).map(|(value, expected)| (value - expected).abs());
            let worst = differences.fold(0.0, f64::max);
            if worst > case["tolerance"].as_f64().expect("a number") {
                wrong.push(format!("{worst} for {case}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    fn a_form_of_several_pictures_is_one_batch_in_their_order(pair) {
        let list = fs::read_to_string(corpus().join("cases.json")).expect("the list of cases");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let (_server, client) = served(pair, &list["models"]);
        let exact = |case: &&Value| case["model"] == "rgb" && case["tolerance"] == 0;
        let cases: Vec<&Value> = list["cases"].as_array().expect("cases").iter().filter(exact).take(12).collect();
        let mut body = Vec::new();
        for case in &cases {
            let name = case["file"].as_str().expect("a file");
            let head = format!("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend(fs::read(corpus().join(name)).expect("a picture"));
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--b--\r\n");
        let kind = "multipart/form-data; boundary=b";
        let answer = client.send("POST", "/api/v1/models/rgb/predict", Some(kind), &body).is(200).json();
        for (result, case) in answer["results"].as_array().expect("results").iter().zip(&cases) {
            assert_eq!(result["filename"], case["file"]);
            let values: Vec<f64> =
                result["values"].as_array().expect("values").iter().filter_map(Value::as_f64).collect();
            assert!(values == expected(case), "{case}");
        }
    }
}
