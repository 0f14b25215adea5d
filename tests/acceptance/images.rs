//! Pictures: every shipped sample is classified right, in every format; what is no picture is refused and costs
//! nothing.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use serde_json::{Value, json};

use crate::harness::{Client, Pair, Reply, Server, promise, sample, workspace};

const PREDICT: &str = "/api/v1/models/digits/predict";
const BOUNDARY: &str = "a-boundary";

/// A part of a form: its name, its file name, its type and its bytes.
type Part<'a> = (&'a str, &'a str, &'a str, &'a [u8]);

fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, filename, kind, bytes) in parts {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\
             Content-Type: {kind}\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

#[track_caller]
fn send_form(client: &Client, parts: &[Part<'_>]) -> Reply {
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    client.send("POST", PREDICT, Some(&kind), &form(parts))
}

#[track_caller]
fn send(client: &Client, kind: &str, bytes: &[u8]) -> Reply {
    client.send("POST", PREDICT, Some(kind), bytes)
}

/// What the model holds most probable for the picture in this place.
fn label(answer: &Value, place: usize) -> &str {
    answer["results"][place]["predictions"][0]["label"].as_str().unwrap_or_default()
}

fn converted(picture: &[u8], format: ImageFormat) -> Vec<u8> {
    let picture = image::load_from_memory(picture).expect("a sample").into_rgb8();
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, format).expect("an encoder");
    bytes.into_inner()
}

/// A PNG whose header speaks of these sides and that holds next to nothing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        bytes.extend_from_slice(&u32::try_from(data.len()).expect("a short chunk").to_be_bytes());
        let checked = [kind.as_slice(), data].concat();
        bytes.extend_from_slice(&checked);
        bytes.extend_from_slice(&crc32fast::hash(&checked).to_be_bytes());
    };
    chunk(b"IHDR", &header);
    chunk(b"IDAT", &[0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01]);
    chunk(b"IEND", &[]);
    bytes
}

fn someone(pair: Pair, settings: &[(&str, &str)]) -> (Server, Client) {
    let server = Server::start(pair, settings);
    let client = server.person("ada").api;
    (server, client)
}

promise! {
    fn every_shipped_sample_is_told_right(pair) {
        let (_server, client) = someone(pair, &[]);
        let folder = workspace().join("models/digits/samples");
        let mut digits = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(folder).expect("samples") {
            let name = entry.expect("a sample").file_name().to_string_lossy().into_owned();
            let name = name.strip_suffix(".png").expect("a PNG");
            let digit = &name[..1];
            let answer = client.predict(&sample(name)).is(200).json();
            assert_eq!(label(&answer, 0), digit, "{name}: {answer}");
            let prediction = &answer["results"][0]["predictions"][0];
            assert_eq!(prediction["index"].to_string(), digit, "{name}: {answer}");
            digits.insert(digit.to_owned());
        }
        assert_eq!(digits.len(), 10, "every digit is among the samples");
    }

    fn an_answer_has_the_documented_shape(pair) {
        let (_server, client) = someone(pair, &[]);
        let answer = client.predict(&sample("4-1")).is(200).json();
        assert_eq!((&answer["model_name"], &answer["model_version"]), (&json!("digits"), &json!("1")));
        let predictions = answer["results"][0]["predictions"].as_array().expect("a list").clone();
        assert_eq!(predictions.len(), 3, "as many as model.toml says: {answer}");
        let probabilities: Vec<f64> =
            predictions.iter().map(|item| item["probability"].as_f64().expect("a number")).collect();
        assert!(probabilities.is_sorted_by(|left, right| left >= right), "{answer}");
        assert!(probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)), "{answer}");
        assert!(answer["results"][0].get("filename").is_none(), "a body has no name: {answer}");
    }

    fn top_k_and_the_version_are_the_callers_choice(pair) {
        let (_server, client) = someone(pair, &[]);
        let ask = |query: &str| {
            client.send("POST", &format!("{PREDICT}?{query}"), Some("image/png"), &sample("2-1"))
        };
        let all = ask("top_k=10&version=1").is(200).json();
        let predictions = all["results"][0]["predictions"].as_array().expect("a list").clone();
        assert_eq!(predictions.len(), 10, "{all}");
        let sum: f64 = predictions.iter().filter_map(|item| item["probability"].as_f64()).sum();
        assert!((sum - 1.0).abs() < 1e-3, "{all}");
        assert_eq!(
            ask("top_k=1000").is(200).json()["results"][0]["predictions"].as_array().map(Vec::len),
            Some(10)
        );
        ask("top_k=0").invalid(&["top_k"]);
        ask("top_k=1001").invalid(&["top_k"]);
        ask("top_k=three").invalid(&["top_k"]);
        ask("top_k=-1").invalid(&["top_k"]);
        ask("tokk=3").invalid(&["tokk"]);
        ask("version=2").refused(404, "model_not_found");
        ask("version=..").refused(404, "model_not_found");
        client
            .send("POST", "/api/v1/models/nothing/predict", Some("image/png"), &sample("2-1"))
            .refused(404, "model_not_found");
    }

    fn every_format_is_read(pair) {
        let (_server, client) = someone(pair, &[]);
        let formats = [
            (ImageFormat::Jpeg, "image/jpeg"),
            (ImageFormat::Gif, "image/gif"),
            (ImageFormat::Bmp, "image/bmp"),
            (ImageFormat::WebP, "image/webp"),
            (ImageFormat::Png, "image/png"),
        ];
        for (format, kind) in formats {
            let picture = converted(&sample("7-1"), format);
            for kind in [kind, "application/octet-stream", "image/*"] {
                let answer = send(&client, kind, &picture).is(200).json();
                assert_eq!(label(&answer, 0), "7", "{kind}: {answer}");
            }
        }
        let jpeg = converted(&sample("3-1"), ImageFormat::Jpeg);
        for kind in ["image/jpg", "IMAGE/JPEG"] {
            assert_eq!(label(&send(&client, kind, &jpeg).is(200).json(), 0), "3", "{kind} is well meant");
        }
    }

    fn several_pictures_come_in_one_form(pair) {
        let (_server, client) = someone(pair, &[]);
        let (three, seven) = (sample("3-1"), converted(&sample("7-1"), ImageFormat::Jpeg));
        let answer = send_form(
            &client,
            &[
                ("file", "three.png", "image/png", &three),
                ("file", "seven.jpg", "image/jpeg", &seven),
                ("file", "again.bin", "application/octet-stream", &three),
            ],
        )
        .is(200)
        .json();
        assert_eq!([label(&answer, 0), label(&answer, 1), label(&answer, 2)], ["3", "7", "3"], "{answer}");
        assert_eq!(answer["results"][1]["filename"], "seven.jpg", "{answer}");
        assert_eq!(answer["results"].as_array().map(Vec::len), Some(3));

        let harmless =
            send_form(&client, &[("file", "../../etc/passwd\t<b>", "image/png", &three)]).is(200).json();
        assert_eq!(harmless["results"][0]["filename"], "../../etc/passwd<b>", "told back, never opened");
    }

    fn what_is_no_picture_is_refused(pair) {
        let (_server, client) = someone(pair, &[]);
        let whole = sample("5-1");
        for (what, bytes) in [
            ("nothing", Vec::new()),
            ("text", b"this is a picture, honestly".to_vec()),
            ("a signature alone", whole[..8].to_vec()),
            ("half a picture", whole[..whole.len() / 2].to_vec()),
            ("a vector graphic", b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec()),
            ("a program", b"\x7fELF\x02\x01\x01".to_vec()),
            ("no pixels", png_header(0, 0)),
            ("a header without pixels", png_header(64, 64)),
        ] {
            let reply = send(&client, "application/octet-stream", &bytes);
            assert_eq!((reply.status, reply.json()["code"].clone()), (400, json!("invalid_image")), "{what}");
            let reply = send_form(&client, &[("file", "a.png", "image/png", &bytes)]);
            assert_eq!(
                (reply.status, reply.json()["code"].clone()),
                (400, json!("invalid_image")),
                "{what} in a form"
            );
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::WebP] {
            let picture = converted(&whole, format);
            let reply = send(&client, "application/octet-stream", &picture[..picture.len() / 2]);
            assert_eq!(
                (reply.status, reply.json()["code"].clone()),
                (400, json!("invalid_image")),
                "{format:?}"
            );
        }
        client.predict(&whole).is(200);
    }

    fn the_header_and_the_bytes_agree(pair) {
        let (_server, client) = someone(pair, &[]);
        let png = sample("5-1");
        send(&client, "image/jpeg", &png).refused(400, "invalid_image");
        send(&client, "image/svg+xml", &png).refused(400, "invalid_image");
        send_form(&client, &[("file", "a.gif", "image/gif", &png)]).refused(400, "invalid_image");
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "video/mp4",
            "multipart/mixed",
        ] {
            send(&client, kind, &png).refused(415, "unsupported_media_type");
        }
        // JSON names stored files.
        send(&client, "application/json", &png).refused(400, "malformed_request");
        client.with("Content-Encoding", "gzip").predict(&png).refused(415, "unsupported_media_type");
    }

    fn a_bomb_is_seen_in_its_header(pair) {
        let (server, client) = someone(pair, &[]);
        let resident = || server.metric("process_resident_memory_bytes");
        client.predict(&sample("5-1")).is(200);
        let before = resident();
        for (width, height) in [(40_000, 40_000), (16_000, 16_000), (16_385, 1), (1, 4_000_000_000)] {
            send(&client, "image/png", &png_header(width, height)).refused(413, "too_large");
        }
        let mut bitmap = converted(&sample("5-1"), ImageFormat::Bmp);
        bitmap[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
        bitmap[22..26].copy_from_slice(&30_000_u32.to_le_bytes());
        send(&client, "image/bmp", &bitmap).refused(413, "too_large");
        assert!(resident() - before < 100e6, "a header alone must not cost memory");
        client.predict(&sample("5-1")).is(200);
    }

    fn what_is_too_large_is_refused(pair) {
        let settings =
            [("MAX_FILE_SIZE_MB", "1"), ("MAX_CONTENT_LENGTH", "2500000"), ("MAX_IMAGES_PER_REQUEST", "3")];
        let (_server, client) = someone(pair, &settings);
        let mut padded = sample("8-1");
        padded.resize(1 << 20, 0);
        assert_eq!(label(&client.predict(&padded).is(200).json(), 0), "8", "the limit itself is allowed");
        padded.push(0);
        client.predict(&padded).refused(413, "too_large");
        send_form(&client, &[("file", "a.png", "image/png", &padded)]).refused(413, "too_large");
        let chunked = client.with("Transfer-Encoding", "chunked");
        chunked.predict(&padded).refused(413, "too_large");

        padded.truncate(1_000_000);
        let part: Part<'_> = ("file", "a.png", "image/png", &padded);
        send_form(&client, &[part, part]).is(200);
        send_form(&client, &[part, part, part]).refused(413, "too_large");
        let small = sample("8-1");
        let part: Part<'_> = ("file", "a.png", "image/png", &small);
        send_form(&client, &[part, part, part]).is(200);
        send_form(&client, &[part, part, part, part]).refused(413, "too_large");
    }

    fn what_stands_around_the_files_of_a_form_counts(pair) {
        let (_server, client) = someone(pair, &[("MAX_CONTENT_LENGTH", "20000")]);
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let png = sample("6-1");
        let with = |before: usize| [vec![b'x'; before], b"\r\n".to_vec(), form(&[("file", "six.png", "image/png", &png)])].concat();
        client.send("POST", PREDICT, Some(&kind), &with(10)).is(200);
        client.send("POST", PREDICT, Some(&kind), &with(100_000)).refused(413, "too_large");
    }

    fn a_form_holds_files_and_nothing_else(pair) {
        let (_server, client) = someone(pair, &[]);
        let png = sample("6-1");
        let file: Part<'_> = ("file", "six.png", "image/png", &png);
        send_form(&client, &[]).is(400);
        send_form(&client, &[("picture", "six.png", "image/png", &png)]).refused(400, "malformed_request");
        send_form(&client, &[file, ("top_k", "", "text/plain", b"3")]).refused(400, "malformed_request");
        send_form(&client, &[file, ("file", "empty.png", "image/png", b"")]).refused(400, "invalid_image");
        send(&client, "multipart/form-data", &form(&[file])).refused(400, "malformed_request");
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let whole = form(&[file]);
        for cut in [0, 10, 150, whole.len() - 6] {
            send(&client, &kind, &whole[..cut]).refused(400, "malformed_request");
        }
        send(&client, "multipart/form-data; boundary=another", &whole).refused(400, "malformed_request");
        send_form(&client, &[file]).is(200);
    }
}
