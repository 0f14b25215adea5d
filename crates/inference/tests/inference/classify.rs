//! Pictures in, labelled probabilities out.

use std::{io::Cursor, sync::Arc};

use bytes::Bytes;
use image::{GrayImage, ImageFormat};
use inference::{AnyPlace, Cell, Error, InputKind, Model, Outcome, PredictInput, Prediction, Registry};

use crate::{
    fixture::{Repository, ticket},
    onnx_file::{Dimension, FLOAT, equal_classes, identity, pipeline, places_of_four, softmax},
};

const TOML: &str = "
[image]
input = \"x\"
width = 2
height = 2
color = \"gray\"
layout = \"flat\"
filter = \"box\"
scale = 0.1
[classification]
output = \"probabilities\"
labels = \"labels.txt\"
top_k = 2
";

const LABELS: &str = "top left\ntop right\nbottom left\nbottom right\n";

/// A model that says which quarter of a picture is the brightest.
fn quarters(batch: Dimension) -> Registry {
    Repository::new()
        .with("quarters/1/model.onnx", softmax(batch, 4))
        .with("quarters/model.toml", TOML)
        .with("quarters/labels.txt", LABELS)
        .with("plain/1/model.onnx", identity(FLOAT))
        .open()
}

fn bright(quarter: u32) -> Bytes {
    let picture = GrayImage::from_fn(64, 64, |x, y| {
        image::Luma([if x / 32 + 2 * (y / 32) == quarter { 250 } else { 10 }])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).unwrap();
    Bytes::from(file.into_inner())
}

async fn classify(
    model: &Arc<Model>,
    images: Vec<Bytes>,
    top_k: Option<usize>,
) -> Result<Vec<Vec<Prediction>>, Error> {
    let response = model.predict(PredictInput::Images(images), top_k, ticket(), AnyPlace).await?;
    let classes = |outcome| match outcome {
        Outcome::Classes(classes) => classes,
        Outcome::Values(values) => panic!("{values:?}"),
    };
    Ok(response.results.into_iter().map(classes).collect())
}

async fn brightest(model: &Arc<Model>, images: Vec<Bytes>) -> Vec<String> {
    let first = |predictions: Vec<Prediction>| {
        assert_eq!(predictions.len(), 2);
        assert!(predictions[0].probability > 0.99);
        predictions[0].label.clone()
    };
    classify(model, images, None).await.unwrap().into_iter().map(first).collect()
}

#[tokio::test]
async fn pictures_are_classified_in_their_order() {
    for batch in [Dimension::Named("n"), Dimension::Fixed(1)] {
        let registry = quarters(batch);
        let model = registry.find("quarters", None).unwrap();
        assert_eq!((model.input_kind(), model.classifies()), (Some(InputKind::Images), true));
        let labels = brightest(&model, vec![bright(2), bright(0), bright(3)]).await;
        assert_eq!(labels, ["bottom left", "top left", "bottom right"]);
        let all = classify(&model, vec![bright(1)], Some(9)).await.unwrap();
        assert_eq!(all[0].len(), 4);
        assert_eq!((all[0][0].index, all[0][0].label.as_str()), (1, "top right"));
        registry.shutdown();
    }
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    let registry = quarters(Dimension::Named("n"));
    let model = registry.find("quarters", None).unwrap();
    let one = |image: &'static [u8]| classify(&model, vec![Bytes::from_static(image)], None);
    assert!(matches!(one(b"hello").await, Err(Error::InvalidImage(message)) if message.contains("JPEG")));
    assert!(matches!(one(b"").await, Err(Error::InvalidImage(message)) if message.contains("empty")));
    let second = classify(&model, vec![bright(0), Bytes::from_static(b"hello")], None).await;
    assert!(
        matches!(second, Err(Error::InvalidImage(message)) if message.starts_with("picture 2 of 2: not"))
    );
    let none = classify(&model, Vec::new(), None).await;
    assert!(matches!(none, Err(Error::InvalidInput(_))));
    let zero = classify(&model, vec![bright(0)], Some(0)).await;
    assert!(matches!(zero, Err(Error::InvalidInput(_))));
    let many = classify(&model, vec![bright(0); 65], None).await;
    assert!(matches!(many, Err(Error::InvalidInput(message)) if message.contains("64")));
    let plain = registry.find("plain", None).unwrap();
    let tensors = classify(&plain, vec![bright(0)], None).await;
    assert!(matches!(tensors, Err(Error::WrongInput(_))));
    registry.shutdown();
}

#[test]
fn a_manifest_that_does_not_fit_the_model_is_refused() {
    let repository = |toml: &str, labels: &str| {
        Repository::new()
            .with("m/1/model.onnx", softmax(Dimension::Named("n"), 4))
            .with("m/model.toml", toml)
            .with("m/labels.txt", labels)
    };
    assert!(repository(TOML, "one\ntwo").reason("m").contains("2 labels, but the model has 4 classes"));
    let shape = repository(&TOML.replace("width = 2", "width = 3"), LABELS).reason("m");
    assert!(shape.contains("[-1, 6]") && shape.contains("[-1, 4]"), "{shape}");
    assert!(repository(&TOML.replace("\"x\"", "\"z\""), LABELS).reason("m").contains("\"z\""));
    let output = TOML.replace("\"probabilities\"", "\"z\"");
    assert!(repository(&output, LABELS).reason("m").contains("\"z\""));
    let labels = TOML.replace("labels.txt", "../labels.txt");
    assert!(repository(&labels, LABELS).reason("m").contains("in the model's folder"));
    let alone = "[classification]\noutput = \"z\"\n";
    assert!(repository(alone, LABELS).reason("m").contains("\"z\""));
    assert!(repository("[regression]\noutput = \"z\"\n", LABELS).reason("m").contains("\"z\""));
}

#[tokio::test]
async fn a_model_of_tensors_has_labels_too() {
    let registry = Repository::new()
        .with("m/1/model.onnx", softmax(Dimension::Named("n"), 4))
        .with("m/model.toml", "[classification]\noutput = \"probabilities\"\nlabels = \"labels.txt\"\n")
        .with("m/labels.txt", LABELS)
        .open();
    let model = registry.find("m", None).unwrap();
    assert_eq!((model.input_kind(), model.labels("probabilities").map(<[String]>::len)), (None, Some(4)));
    assert!(matches!(classify(&model, vec![bright(0)], None).await, Err(Error::WrongInput(_))));
    registry.shutdown();
}

const PIPELINE: &str = "
[[table.columns]]
name = \"age\"
default = 20
[[table.columns]]
name = \"city\"
type = \"category\"
values = [\"Ulm\", \"Bonn\"]
[classification]
output = \"probabilities\"
[warm_up]
batch_sizes = [1, 3]
[warm_up.inputs.city]
text = \"Ulm\"
";

#[tokio::test]
async fn rows_go_to_an_input_for_each_column() {
    let registry = Repository::new()
        .with("pipeline/1/model.onnx", pipeline())
        .with("pipeline/model.toml", PIPELINE)
        .open();
    let model = registry.find("pipeline", None).unwrap();
    assert_eq!(model.input_kind(), Some(InputKind::Rows));
    let read = |rows: &[&[(&str, Cell<'static>)]]| {
        let mut reader = model.table().unwrap().reader(2);
        for row in rows {
            assert!(reader.begin());
            for (name, cell) in *row {
                if let Some(column) = reader.column(name) {
                    reader.cell(column, *cell);
                }
            }
            reader.end();
        }
        assert_eq!(reader.begin(), rows.len() < 2, "two rows at most");
        reader.finish()
    };
    let rows =
        read(&[&[("city", Cell::Text("Bonn"))], &[("age", Cell::Integer(5)), ("city", Cell::Text("Ulm"))]]);
    let response = model.predict(PredictInput::Rows(rows.unwrap()), None, ticket(), AnyPlace).await.unwrap();
    let halves = |outcome: &Outcome| match outcome {
        Outcome::Classes(classes) => classes[0].probability,
        Outcome::Values(values) => panic!("{values:?}"),
    };
    assert_eq!(halves(&response.results[0]), 0.5, "20 / 10 - 2 is 0");
    assert!(halves(&response.results[1]) > 0.6, "5 / 10 - 1 is not");
    let wrong = read(&[
        &[("city", Cell::Text("Rome")), ("age", Cell::Number(f64::INFINITY))],
        &[("age", Cell::Nested), ("name", Cell::Missing)],
    ]);
    let Err(Error::Invalid(problems)) = wrong else { panic!("{wrong:?}") };
    let places: Vec<&str> = problems.iter().map(|problem| problem.place.as_str()).collect();
    assert_eq!(places, ["rows[0].city", "rows[0].age", "rows[1].age", "rows[1].name", "rows[1].city"]);
    registry.shutdown();
}

/// Nobody could say which result is whose.
#[tokio::test]
async fn more_results_than_rows_are_told_of() {
    let columns = "abcd".chars().map(|name| format!("[[table.columns]]\nname = \"{name}\"\n"));
    let toml =
        format!("[table]\ninput = \"x\"\n{}[regression]\noutput = \"y\"\n", columns.collect::<String>());
    let registry =
        Repository::new().with("m/1/model.onnx", places_of_four()).with("m/model.toml", &toml).open();
    let model = registry.find("m", None).unwrap();
    let mut reader = model.table().unwrap().reader(1);
    assert!(reader.begin());
    for name in ["a", "b", "c", "d"] {
        let column = reader.column(name).unwrap();
        reader.cell(column, Cell::Integer(1));
    }
    reader.end();
    let rows = PredictInput::Rows(reader.finish().unwrap());
    let refused = model.predict(rows, None, ticket(), AnyPlace).await.map(|answer| answer.results.len());
    assert!(matches!(&refused, Err(Error::InvalidInput(told)) if told.contains("/v2")), "{refused:?}");
    registry.shutdown();
}

#[tokio::test]
async fn an_answer_holds_so_many_classes_and_no_more() {
    let registry = Repository::new()
        .with("m/1/model.onnx", equal_classes(300))
        .with("m/model.toml", "[text]\ninput = \"x\"\n[classification]\noutput = \"y\"\n")
        .open();
    let model = registry.find("m", None).unwrap();
    let ask = async |count: usize, top_k| {
        let texts = model.texts().unwrap().check(vec!["one".to_owned(); count]).unwrap();
        model
            .predict(PredictInput::Texts(texts), Some(top_k), ticket(), AnyPlace)
            .await
            .map(|answer| answer.results.len())
    };
    assert_eq!(ask(333, 1000).await, Ok(333), "there are 300 classes only");
    assert!(matches!(ask(334, 300).await, Err(Error::InvalidInput(message)) if message.contains("100000")));
    assert_eq!(ask(334, 299).await, Ok(334));
    registry.shutdown();
}
