//! Pictures in, labelled probabilities out.

use std::io::Cursor;

use bytes::Bytes;
use image::{GrayImage, ImageFormat};
use inference::{Error, Model, Registry};

use crate::{
    fixture::{Repository, ticket},
    onnx_file::{Dimension, FLOAT, identity, softmax},
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

async fn brightest(model: &Model, images: Vec<Bytes>) -> Vec<String> {
    let response = model.classify(images, None, ticket()).await.unwrap();
    let first = |predictions: Vec<inference::Prediction>| {
        assert_eq!(predictions.len(), 2);
        assert!(predictions[0].probability > 0.99);
        predictions[0].label.clone()
    };
    response.results.into_iter().map(first).collect()
}

#[tokio::test]
async fn pictures_are_classified_in_their_order() {
    for batch in [Dimension::Named("n"), Dimension::Fixed(1)] {
        let registry = quarters(batch);
        let model = registry.find("quarters", None).unwrap();
        assert!(model.takes_images());
        let labels = brightest(&model, vec![bright(2), bright(0), bright(3)]).await;
        assert_eq!(labels, ["bottom left", "top left", "bottom right"]);
        let response = model.classify(vec![bright(1)], Some(9), ticket()).await.unwrap();
        assert_eq!(response.results[0].len(), 4);
        assert_eq!((response.results[0][0].index, response.results[0][0].label.as_str()), (1, "top right"));
        registry.shutdown();
    }
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    let registry = quarters(Dimension::Named("n"));
    let model = registry.find("quarters", None).unwrap();
    let classify = |image: &'static [u8]| model.classify(vec![Bytes::from_static(image)], None, ticket());
    assert!(
        matches!(classify(b"hello").await, Err(Error::InvalidImage(message)) if message.contains("JPEG"))
    );
    assert!(matches!(classify(b"").await, Err(Error::InvalidImage(message)) if message.contains("empty")));
    let none = model.classify(Vec::new(), None, ticket()).await;
    assert!(matches!(none, Err(Error::InvalidInput(_))));
    let zero = model.classify(vec![bright(0)], Some(0), ticket()).await;
    assert!(matches!(zero, Err(Error::InvalidInput(_))));
    let many = model.classify(vec![bright(0); 65], None, ticket()).await;
    assert!(matches!(many, Err(Error::InvalidInput(message)) if message.contains("64")));
    let plain = registry.find("plain", None).unwrap();
    let tensors = plain.classify(vec![bright(0)], None, ticket()).await;
    assert!(matches!(tensors, Err(Error::NotAnImageModel(_))));
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
    assert!(shape.contains("[6]") && shape.contains("[-1, 4]"), "{shape}");
    assert!(repository(&TOML.replace("\"x\"", "\"z\""), LABELS).reason("m").contains("\"z\""));
    let output = TOML.replace("\"probabilities\"", "\"z\"");
    assert!(repository(&output, LABELS).reason("m").contains("\"z\""));
    let labels = TOML.replace("labels.txt", "../labels.txt");
    assert!(repository(&labels, LABELS).reason("m").contains("in the model's folder"));
}
