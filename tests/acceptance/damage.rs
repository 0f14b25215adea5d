//! Damaged input: whatever happens to a good request on its way, it is answered or refused, and never a fault of ours.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::harness::{Client, Reply, Server, promise, sample};

/// The same cases in every run: a test that fails now and then helps nobody.
fn damaged(good: &[u8], cases: u32, try_it: impl Fn(&[u8])) {
    let mut runner = TestRunner::new_with_rng(
        Config { cases, failure_persistence: None, ..Config::default() },
        TestRunner::deterministic().new_rng(),
    );
    let outcome =
        runner.run(&(vec((any::<Index>(), any::<u8>()), 1..6), any::<Index>(), 0..4_u8), |damage| {
            let (bytes, cut, how) = damage;
            let mut body = good.to_vec();
            for (place, byte) in bytes {
                body[place.index(good.len())] = byte;
            }
            let place = cut.index(good.len());
            match how {
                0 => body.truncate(place),
                1 => drop(body.drain(place..(place + 5).min(good.len()))),
                2 => body.splice(place..place, good[..place.min(40)].to_vec()).for_each(drop),
                _ => {}
            }
            try_it(&body);
            Ok(())
        });
    outcome.expect("every case passes");
}

#[track_caller]
fn answered(reply: &Reply) {
    assert!(matches!(reply.status, 200 | 400 | 413), "{}: {} {}", reply.request, reply.status, reply.text());
}

fn send(client: &Client, path: &str, kind: &str, body: &[u8]) {
    answered(&client.send("POST", path, Some(kind), body));
}

promise! {
    fn damaged_pictures_are_read_or_refused(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        let picture = image::load_from_memory(&sample("3-1")).expect("a sample").into_rgb8();
        let picture = DynamicImage::ImageRgb8(picture);
        for format in
            [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP]
        {
            let mut good = Cursor::new(Vec::new());
            picture.write_to(&mut good, format).expect("an encoder");
            damaged(good.get_ref(), 60, |body| {
                send(&ada, "/api/v1/models/digits/predict", "application/octet-stream", body);
            });
        }
        ada.predict(&sample("3-1")).is(200);
    }

    fn damaged_calls_are_answered_or_refused(pair) {
        let server = Server::start(pair, &[]);
        let ada = server.person("ada").api;
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 64], "data": vec![0.5; 64]});
        let call = json!({"id": "7", "inputs": [input], "outputs": [{"name": "label"}], "parameters": {"priority": 1}});
        damaged(call.to_string().as_bytes(), 200, |body| {
            send(&ada, "/v2/models/digits/infer", "application/json", body)
        });
        let form = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\
            Content-Type: image/png\r\n\r\n";
        let form = [form.as_bytes(), &sample("3-1"), b"\r\n--b--\r\n"].concat();
        damaged(&form, 150, |body| {
            send(&ada, "/api/v1/models/digits/predict", "multipart/form-data; boundary=b", body)
        });
        ada.predict(&sample("3-1")).is(200);
    }
}
