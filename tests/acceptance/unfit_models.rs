//! Models that do not fit their `model.toml`, and how that is reported.

use std::fs;

use crate::harness::onnx_file::{self, Dimension, FLOAT};
use crate::harness::{Pair, World};

/// Models that `model.toml` does not fit are not served, and say why.
#[test]
fn a_table_that_does_not_fit_its_model_is_told() {
    let world = World::new(Pair::Embedded);
    let folder = world.folder().join("repository");
    let regression = "\n[regression]\noutput = \"y\"\n";
    let column = |lines: &str| format!("[[table.columns]]\nname = \"x\"\n{lines}{regression}");
    let wide = |lines: &str| format!("[table]\ninput = \"x\"\n{}", column(lines));
    let cases = [
        (wide(""), "rows of 1 elements, but the model's input \"x\" has shape [-1, 2]"),
        (
            "[table]\ninput = \"x\"\ncolumns = [\"a\"]\n".to_owned(),
            "invalid type: string \"a\", expected a table (at `columns",
        ),
        (
            "[checksums]\n\"1/model.onnx\" = \"ab\"\n".to_owned(),
            "\"1/model.onnx\": a SHA-256 has 64 hexadecimal digits",
        ),
        (
            column("type = \"text\""),
            "a text cannot fill an input of datatype FP32; what can is number, integer, boolean, category",
        ),
        (
            column(
                "input = \"x\"\n[[table.columns]]\nname = \"a\"\ninput = \"x\"\n[[table.columns]]\nname = \"b\"\ninput = \"x\"",
            ),
            "rows of 3 elements, but",
        ),
        (column("input = \"z\""), "the model has no input \"z\", but \"x\""),
        (column("type = \"category\""), "a category, and nothing else, needs values"),
        (column("type = \"integer\"\nrequired = false"), "needs a default"),
        (column("default = \"one\""), "default must be a number"),
        (column("min = 3\nmax = 2"), "min must not exceed max"),
        (column("min = 3\ndefault = 2"), "default must be at least 3"),
        (
            wide(&format!("default = 1e300\n{}", "[[table.columns]]\nname = \"b\"\n")),
            "column \"x\": default is too large for the model, which computes in FP32",
        ),
        (column("kind = \"text\""), "unknown field `kind`"),
        (column("type = \"date\""), "line 3"),
        (wide("input = \"y\""), "input has no meaning"),
        ("[table]\ncolumns = []\n".to_owned(), "needs 1 to 4096 columns"),
        (format!("[text]\ninput = \"x\"{regression}"), "datatype FP32; what can be filled here is BYTES"),
        (
            "[table]\ninput = \"x\"\n[[table.columns]]\nname = \"a\"\n[[table.columns]]\nname = \"b\"\n"
                .to_owned(),
            "but not what it answers",
        ),
        (format!("{}[text]\ninput = \"x\"\n", column("")), "one of [image], [table] and [text]"),
        (
            format!("{}[classification]\noutput = \"y\"\n", column("")),
            "one of [classification] and [regression]",
        ),
        ("[classification]\noutput = \"y\"\nthreshold = 1.5\n".to_owned(), "threshold must be 0 to 1"),
        ("[warm_up]\nbatch_sizes = [0]\n".to_owned(), "batch_sizes must be 1 to 4096"),
        ("[warm_up.inputs.z]\nvalue = 1\n".to_owned(), "[warm_up] the model has no input \"z\""),
        ("[warm_up.inputs.x]\nshape = [-1, 3]\n".to_owned(), "[warm_up] input \"x\" has shape [1, 3]"),
        ("[warm_up.inputs.x]\ntext = \"a\"\n".to_owned(), "input \"x\" of datatype FP32 has value, not text"),
        ("[warm_up.inputs.x]\nshape = [1, -1]\n".to_owned(), "may be -1 in the first place only"),
    ];
    for (number, (toml, _)) in cases.iter().enumerate() {
        let model = folder.join(format!("m{number}"));
        fs::create_dir_all(model.join("1")).expect("a folder");
        fs::write(model.join("1/model.onnx"), onnx_file::identity(FLOAT)).expect("a model");
        fs::write(model.join("model.toml"), toml).expect("model.toml");
    }
    let turned = folder.join("turned");
    fs::create_dir_all(turned.join("1")).expect("a folder");
    let node = onnx_file::node("Transpose", &["x"], &["y"], &[]);
    let input = onnx_file::value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(3)]);
    let output = onnx_file::value("y", FLOAT, &[Dimension::Fixed(3), Dimension::Named("n")]);
    let model = onnx_file::model(&onnx_file::graph(&[node], &[], &[input], &[output]));
    fs::write(turned.join("1/model.onnx"), model).expect("a model");
    let columns = ["a", "b", "c"].map(|name| format!("[[table.columns]]\nname = {name:?}\n")).concat();
    let toml = format!("[table]\ninput = \"x\"\n{columns}{regression}");
    fs::write(turned.join("model.toml"), toml).expect("model.toml");
    let fine = folder.join("fine");
    fs::create_dir_all(fine.join("1")).expect("a folder");
    fs::write(fine.join("1/model.onnx"), onnx_file::identity(FLOAT)).expect("a model");
    fs::write(
        fine.join("model.toml"),
        "[warm_up]\nbatch_sizes = [1, 8]\n[warm_up.inputs.x]\nshape = [-1, 2]\nvalue = 0.5\n",
    )
    .expect("model.toml");
    let listed = world.run(&["model", "list"], &[("MODEL_DIR", &folder.display().to_string())], "").stdout;
    let line = |name: &str| {
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {listed}")).to_owned()
    };
    assert!(line("turned").contains("whose first dimension is not that of the batch"), "{listed}");
    for (number, (toml, reason)) in cases.iter().enumerate() {
        let line = line(&format!("m{number}"));
        assert!(line.contains(reason), "{toml}\n{reason}\n{line}");
    }
    assert!(line("fine").contains("ready"), "{listed}");

    // A server tells of each once, and whom the runtime's words are about.
    fs::create_dir_all(folder.join("constant/1")).expect("a folder");
    fs::write(folder.join("constant/1/model.onnx"), onnx_file::constant_input()).expect("a model");
    fs::write(fine.join("1/model.onnx"), b"no model").expect("a file");
    let server = world.start(&[("MODEL_DIR", &folder.display().to_string())]);
    server.wait_for_log("warning", |entry| entry["target"] == "ort" && entry["model"] == "constant/1");
    for name in ["m0", "m1", "fine"] {
        let log = server.log();
        let of = |line: &&str| line.contains(&format!("\"model\":\"{name}\"")) && line.contains("\"ERROR\"");
        assert_eq!(log.lines().filter(of).count(), 1, "{name}");
    }
}
