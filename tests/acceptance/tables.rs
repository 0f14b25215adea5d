//! Rows of named columns for tabular models, and texts for models of texts: checked cell by cell, answered like
//! pictures.

use std::fs;
use std::io::Cursor;

use image::{GrayImage, ImageFormat};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::harness::onnx_file::{self, Dimension, FLOAT, INT64, STRING};
use crate::harness::{Client, Pair, Reply, Server, World, eventually, promise, sample};

/// The number of ONNX's type of bytes.
const UINT8: u64 = 2;

/// Seven numbers of a matrix, told back as they came to the model.
const MATRIX: &str = r#"
[table]
input = "x"
[[table.columns]]
name = "age"
min = 0
max = 130
[[table.columns]]
name = "children"
type = "integer"
default = 0
[[table.columns]]
name = "member"
type = "boolean"
default = false
[[table.columns]]
name = "income"
required = false
[[table.columns]]
name = "size"
type = "category"
values = ["small", "large"]
[[table.columns]]
name = "colour"
type = "category"
values = ["red", "green"]
encoding = "one-hot"
[regression]
output = "y"
"#;

/// As scikit-learn's pipelines take them: an input for each column, texts among them.
const PIPELINE: &str = r#"
[table]
[[table.columns]]
name = "years"
input = "age"
[[table.columns]]
name = "city"
type = "text"
max_length = 20
required = false
[classification]
output = "probabilities"
labels = "labels.txt"
top_k = 1
"#;

/// Columns that fill one input together, each by its name.
const TOGETHER: &str = r#"
[[table.columns]]
name = "width"
input = "x"
[[table.columns]]
name = "shape"
type = "category"
values = ["round", "square"]
encoding = "one-hot"
input = "x"
[regression]
output = "y"
"#;

/// Scores of any size, as a decision function gives them.
const SCORES: &str = "
[table]
input = \"x\"
[[table.columns]]
name = \"cat\"
[[table.columns]]
name = \"dog\"
[classification]
output = \"y\"
";

/// Pictures of four pixels, told back as they came to the model.
const PIXELS: &str = "
[image]
input = \"x\"
width = 2
height = 2
color = \"gray\"
[regression]
output = \"y\"
";

const ONE_AT_A_TIME: &str = "
[[table.columns]]
name = \"x\"
type = \"integer\"
[regression]
output = \"y\"
";

const ECHO: &str = "
[text]
input = \"x\"
max_length = 30
[regression]
output = \"y\"
";

const CLASSES: &str = "
[text]
input = \"x\"
[classification]
output = \"y\"
";

fn served(pair: Pair, settings: &[(&str, &str)]) -> (Server, Client) {
    let world = World::new(pair);
    let folder = world.folder().join("repository");
    let put = |name: &str, model: Vec<u8>, toml: &str| {
        let version = folder.join(name).join("1");
        fs::create_dir_all(&version).expect("a folder");
        fs::write(version.join("model.onnx"), model).expect("a model");
        fs::write(folder.join(name).join("model.toml"), toml).expect("model.toml");
    };
    let rows = |width| [Dimension::Named("n"), Dimension::Fixed(width)];
    put("matrix", onnx_file::identity_of(FLOAT, &rows(7)), MATRIX);
    put("together", onnx_file::identity_of(FLOAT, &rows(3)), TOGETHER);
    put("pipeline", onnx_file::pipeline(), PIPELINE);
    fs::write(folder.join("pipeline/labels.txt"), "stays\nleaves\n").expect("labels");
    let one = onnx_file::identity_of(INT64, &[Dimension::Fixed(1), Dimension::Fixed(1)]);
    put("one", one, ONE_AT_A_TIME);
    put("echo", onnx_file::identity_of(STRING, &rows(1)), ECHO);
    put("echo-vector", onnx_file::identity_of(STRING, &[Dimension::Named("n")]), ECHO);
    put("classes", onnx_file::equal_classes(300), CLASSES);
    put("scores", onnx_file::identity(FLOAT), SCORES);
    let pixels = [Dimension::Named("n"), Dimension::Fixed(1), Dimension::Fixed(2), Dimension::Fixed(2)];
    put("pixels", onnx_file::identity_of(UINT8, &pixels), PIXELS);
    put("plain", onnx_file::identity(FLOAT), "");
    let own = folder.display().to_string();
    let server = world.start(&[&[("MODEL_DIR", own.as_str())], settings].concat());
    let client = server.person("ada").api;
    (server, client)
}

#[track_caller]
fn ask(client: &Client, model: &str, body: &Value) -> Reply {
    client.post(&format!("/api/v1/models/{model}/predict"), body)
}

#[track_caller]
fn raw(client: &Client, model: &str, body: &str) -> Reply {
    client.send("POST", &format!("/api/v1/models/{model}/predict"), Some("application/json"), body.as_bytes())
}

/// Numbers as an answer tells them: as short as FP32 allows.
fn told(numbers: &[f32]) -> Value {
    let list = serde_json::to_string(numbers).expect("JSON");
    serde_json::from_str(&format!("{{\"values\":{list}}}")).expect("JSON")
}

promise! {
    fn rows_become_the_models_matrix_in_the_order_of_its_columns(pair) {
        let (_server, client) = served(pair, &[]);
        let rows = json!({"rows": [
            {"colour": "green", "age": 41.5, "children": 2, "member": true, "income": 1e3, "size": "large"},
            {"age": 0, "size": "small", "colour": "red"},
            {"age": 130, "children": 3.0, "member": null, "income": null, "size": "small", "colour": "red"},
        ]});
        let answer = ask(&client, "matrix", &rows).is(200).json();
        assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("matrix"), &json!("1")));
        // What is not given has its default; a number without one is NaN, which JSON has no word for.
        assert_eq!(answer["results"], json!([
            {"values": [41.5, 2.0, 1.0, 1000.0, 1.0, 0.0, 1.0]},
            {"values": [0.0, 0.0, 0.0, null, 0.0, 1.0, 0.0]},
            {"values": [130.0, 3.0, 0.0, null, 0.0, 1.0, 0.0]},
        ]));
        let together = json!({"rows": [{"shape": "square", "width": 2.5}]});
        let answer = ask(&client, "together", &together).is(200).json();
        assert_eq!(answer["results"], json!([{"values": [2.5, 0.0, 1.0]}]));
    }

    fn a_pipeline_has_an_input_for_each_column_and_labels(pair) {
        let (_server, client) = served(pair, &[]);
        let rows = json!({"rows": [{"years": 30, "city": "Ulm"}, {"years": 5, "city": "Bonn"}, {"years": 0}]});
        let answer = ask(&client, "pipeline", &rows).is(200).json();
        let label = |row: usize| answer["results"][row]["predictions"][0]["label"].as_str();
        assert_eq!([label(0), label(1)], [Some("leaves"), Some("stays")], "{answer}");
        let first = answer["results"][0]["predictions"][0]["probability"].as_f64().expect("a number");
        assert!((first - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-6, "softmax of 0 and 2: {answer}");
        assert_eq!(answer["results"][2]["predictions"][0]["probability"], 0.5, "an unknown city: {answer}");

        let many: Vec<Value> = vec![json!({"years": 1}); 1000];
        let all = client.post("/api/v1/models/pipeline/predict?top_k=1000", &json!({"rows": many})).is(200).json();
        assert_eq!(all["results"].as_array().map(Vec::len), Some(1000), "two classes a row are few enough");

        let both = client.post("/api/v1/models/pipeline/predict?top_k=2", &rows).is(200).json();
        assert_eq!(both["results"][1]["predictions"].as_array().map(Vec::len), Some(2), "{both}");
    }

    fn without_a_threshold_no_class_is_left_out(pair) {
        let (_server, client) = served(pair, &[]);
        let rows = json!({"rows": [{"cat": -3.5, "dog": -0.5}, {"cat": 2, "dog": -1}]});
        let answer = ask(&client, "scores", &rows).is(200).json();
        let told: Vec<Vec<f64>> = answer["results"].as_array().expect("a list").iter()
            .map(|result| result["predictions"].as_array().expect("classes").iter()
                .filter_map(|class| class["probability"].as_f64()).collect())
            .collect();
        assert_eq!(told, [[-0.5, -3.5], [2.0, -1.0]]);
    }

    fn a_model_of_bytes_gets_the_levels_of_a_picture(pair) {
        let (_server, client) = served(pair, &[]);
        let levels = [0, 1, 128, 255];
        let mut picture = Vec::new();
        let image = GrayImage::from_raw(2, 2, levels.to_vec()).expect("a picture");
        image.write_to(&mut Cursor::new(&mut picture), ImageFormat::Png).expect("a PNG");
        let reply = client.send("POST", "/api/v1/models/pixels/predict", Some("image/png"), &picture);
        assert_eq!(reply.is(200).json()["results"][0]["values"], json!(levels));
    }

    fn a_model_that_takes_one_row_at_a_time_takes_many(pair) {
        let (_server, client) = served(pair, &[]);
        let rows: Vec<Value> = (0..50).map(|x| json!({"x": x})).collect();
        let answer = ask(&client, "one", &json!({"rows": rows})).is(200).json();
        let told: Vec<i64> = answer["results"].as_array().expect("a list").iter()
            .filter_map(|result| result["values"][0].as_i64()).collect();
        assert_eq!(told, (0..50).collect::<Vec<i64>>());
        let exact = json!({"rows": [{"x": i64::MAX}]});
        assert_eq!(ask(&client, "one", &exact).is(200).json()["results"][0]["values"], json!([i64::MAX]));
    }

    fn each_cell_is_checked_and_told_by_its_place(pair) {
        let (_server, client) = served(pair, &[]);
        let reply = ask(&client, "matrix", &json!({"rows": [
            {"age": 1, "size": "small", "colour": "red"},
            {"age": "NaN", "children": 1.5, "member": 1, "size": "huge", "colour": 0},
            {"age": 131, "children": "2", "member": "true", "income": [1], "size": null, "weight": 3},
            {"age": -1, "income": {"a": {"b": []}}, "size": "small", "colour": "red", "children": 1e19},
            [1, 2, 3], "age", 7, null, true, 1.5,
        ]}));
        let reply = reply.invalid(&[
            "rows[1].age", "rows[1].children", "rows[1].colour", "rows[1].member", "rows[1].size",
            "rows[2].age", "rows[2].children", "rows[2].colour", "rows[2].income", "rows[2].member",
            "rows[2].size", "rows[2].weight", "rows[3].age", "rows[3].children", "rows[3].income",
            "rows[4]", "rows[5]", "rows[6]", "rows[7]", "rows[8]", "rows[9]",
        ]);
        let errors = reply.json()["errors"].clone();
        for (place, message) in [
            ("rows[1].age", "must be a number"),
            ("rows[1].children", "must be a whole number"),
            ("rows[1].member", "must be true or false"),
            ("rows[1].size", "must be one of small, large"),
            ("rows[2].age", "must be at most 130"),
            ("rows[2].size", "is missing"),
            ("rows[2].weight", "the model has no such column"),
            ("rows[3].age", "must be at least 0"),
            ("rows[3].children", "is too large for a whole number"),
            ("rows[4]", "must be an object of columns and their values"),
        ] {
            assert_eq!(errors[place], json!([message]), "{place}");
        }
        let whole = |age: &str| format!("{{\"rows\":[{{\"age\":{age},\"size\":\"small\",\"colour\":\"red\",\"income\":{age}}}]}}");
        raw(&client, "matrix", &whole("1,\"age\":1")).invalid(&["rows[0].age"]);
        raw(&client, "matrix", "{\"rows\":[{\"age\":1,\"size\":\"small\",\"colour\":\"red\",\"income\":1e39}]}")
            .invalid(&["rows[0].income"]);
        raw(&client, "matrix", &whole("1e400")).refused(400, "malformed_request");
        raw(&client, "matrix", &whole("NaN")).refused(400, "malformed_request");
        raw(&client, "matrix", &whole("1e-400")).is(200);
        let city = json!({"rows": [{"years": 1, "city": "a\u{0}b"}, {"years": 1, "city": "ö".repeat(21)}]});
        ask(&client, "pipeline", &city).invalid(&["rows[0].city", "rows[1].city"]);
        ask(&client, "pipeline", &json!({"rows": [{"years": 1, "city": "ö".repeat(20)}]})).is(200);
    }

    fn what_is_no_list_of_rows_is_refused(pair) {
        let (_server, client) = served(pair, &[("MAX_ROWS_PER_REQUEST", "20")]);
        for body in ["", "{", "[]", "7", "null", "\"rows\"", "{}", "{\"rows\":{}}", "{\"rows\":7}", "{\"rows\":[{}", "[[]]",
            "{\"rows\":[],\"rows\":[]}", "{\"rows\":[],\"more\":1}", "{\"more\":1}", "{\"texts\":[\"a\"]}",
            "{\"rows\":[]}{}", "{\"rows\":[{\"age\":}]}"] {
            raw(&client, "matrix", body).refused(400, "malformed_request");
        }
        raw(&client, "matrix", "{\"rows\":[]}").invalid(&["rows"]);
        let row = "{\"age\":1,\"size\":\"small\",\"colour\":\"red\"}";
        let many = |count: usize| format!("{{\"rows\":[{}]}}", vec![row; count].join(","));
        raw(&client, "matrix", &many(20)).is(200);
        raw(&client, "matrix", &many(21)).refused(413, "too_large");
        // A million rows in few bytes, and a deep cell: told from the beginning, or passed over.
        raw(&client, "matrix", &format!("{{\"rows\":[{}0]}}", "0,".repeat(1_000_000))).refused(413, "too_large");
        let deep = format!("{{\"rows\":[{{\"age\":{}{}}}]}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(raw(&client, "matrix", &deep).status, 400);
        let wide: Vec<String> = (0..100_000).map(|column| format!("\"c{column}\":0")).collect();
        let reply = raw(&client, "matrix", &format!("{{\"rows\":[{{{}}}]}}", wide.join(",")));
        let told = reply.refused(400, "validation_failed").json()["errors"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(told, 100, "an answer does not grow with the mistakes");
        let long = raw(&client, "matrix", &format!("{{\"rows\":[{{\"{}\":0}}]}}", "x".repeat(1 << 20)));
        assert!(long.refused(400, "validation_failed").body.len() < 2000, "nor with a name");
        raw(&client, "matrix", &format!("{{\"{}\":0}}", "x".repeat(1 << 20))).refused(400, "malformed_request");
        raw(&client, "matrix", &" ".repeat((16 << 20) + 1)).refused(413, "too_large");
        raw(&client, "matrix", &many(1)).is(200);
    }

    fn an_answer_has_a_bound(pair) {
        let (_server, client) = served(pair, &[]);
        let texts = json!({"texts": vec!["x"; 1000]});
        let many = client.post("/api/v1/models/classes/predict?top_k=200", &texts);
        assert!(many.refused(400, "invalid_input").member("detail").contains("100000"));
        client.post("/api/v1/models/classes/predict?top_k=100", &texts).is(200);
    }

    fn each_model_says_what_it_takes(pair) {
        let (_server, client) = served(pair, &[]);
        let picture = |model: &str| {
            client.send("POST", &format!("/api/v1/models/{model}/predict"), Some("image/png"), &sample("1-1"))
        };
        let told = |reply: Reply| reply.refused(415, "unsupported_media_type").member("detail");
        assert!(told(picture("matrix")).contains("{\"rows\""));
        assert!(told(picture("echo")).contains("{\"texts\""));
        ask(&client, "echo", &json!({"rows": [{}]})).refused(400, "malformed_request");
        picture("plain").refused(400, "invalid_input");
        ask(&client, "plain", &json!({"rows": [{}]})).refused(400, "invalid_input");
        ask(&client, "nothing", &json!({"rows": [{}]})).refused(404, "model_not_found");
        client.post("/api/v1/models/matrix/predict?top_k=2", &json!({"rows": [
            {"age": 1, "size": "small", "colour": "red"}]})).refused(400, "invalid_input");

        let details = client.get("/api/v1/models/matrix").is(200).json();
        assert_eq!((&details["takes"], &details["takes_images"]), (&json!("rows"), &json!(false)));
        assert_eq!(details["columns"][0], json!({
            "name": "age", "type": "number", "required": true, "min": 0.0, "max": 130.0}));
        assert_eq!(details["columns"][1], json!({
            "name": "children", "type": "integer", "required": false, "default": 0}));
        assert_eq!(details["columns"][5]["values"], json!(["red", "green"]));
        assert_eq!(client.get("/api/v1/models/echo").is(200).json()["takes"], "texts");
        assert!(client.get("/api/v1/models/plain").is(200).json().get("takes").is_none());
    }

    fn texts_go_to_models_of_texts(pair) {
        let (_server, client) = served(pair, &[("MAX_ROWS_PER_REQUEST", "20")]);
        let texts = ["good", "", "Grüße 🙂", "a \"quoted\"\nline"];
        for model in ["echo", "echo-vector"] {
            let answer = ask(&client, model, &json!({"texts": texts})).is(200).json();
            let told: Vec<&str> = answer["results"].as_array().expect("a list").iter()
                .filter_map(|result| result["values"][0].as_str()).collect();
            assert_eq!(told, texts, "{answer}");
        }
        ask(&client, "echo", &json!({"texts": ["ok", 7, null, ["x"], "a\u{0}b"]}))
            .invalid(&["texts[1]", "texts[2]", "texts[3]"]);
        ask(&client, "echo", &json!({"texts": ["ok", "a\u{0}b", "ö".repeat(31)]})).invalid(&["texts[1]", "texts[2]"]);
        ask(&client, "echo", &json!({"texts": ["ö".repeat(30)]})).is(200);
        ask(&client, "echo", &json!({"texts": []})).invalid(&["texts"]);
        ask(&client, "echo", &json!({"texts": vec!["x"; 21]})).refused(413, "too_large");
        ask(&client, "echo", &json!({"texts": "x"})).refused(400, "malformed_request");
        raw(&client, "echo", "{\"texts\":[\"\\ud800\"]}").refused(400, "malformed_request");
        eventually("the usage of texts", || {
            let usage = client.get("/api/v1/me/usage").is(200).text();
            usage.contains("echo").then_some(())
        });
    }

    fn any_rows_come_back_as_they_were_sent(pair) {
        let (_server, client) = served(pair, &[]);
        let number = prop_oneof![
            any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| json!(f64::from(value))),
            any::<i16>().prop_map(|value| json!(value)),
        ];
        let row = (0.0_f32..=130.0, prop::option::of(any::<i16>()), prop_oneof![Just(None), number.prop_map(Some)],
            any::<bool>(), any::<bool>());
        let rows = prop::collection::vec(row, 1..20);
        let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        let checked = runner.run(&rows, |rows| {
            let sent: Vec<Value> = rows.iter().map(|(age, children, income, large, member)| json!({
                "income": income, "age": age, "children": children, "member": member,
                "size": if *large { "large" } else { "small" }, "colour": if *large { "red" } else { "green" },
            })).collect();
            let bit = |value: bool| f32::from(u8::from(value));
            let expected: Vec<Value> = rows.iter().map(|(age, children, income, large, member)| {
                let income = income.as_ref().and_then(Value::as_f64).map_or(f32::NAN, |value| value as f32);
                let children = f32::from(children.unwrap_or(0));
                told(&[*age, children, bit(*member), income, bit(*large), bit(*large), bit(!*large)])
            }).collect();
            let answer = ask(&client, "matrix", &json!({"rows": sent})).is(200).json();
            if answer["results"] == json!(expected) { Ok(()) } else {
                Err(TestCaseError::fail(format!("{} instead of {}", answer["results"], json!(expected))))
            }
        });
        checked.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
