//! Large requests: they hold up nobody else, and no more of them are taken than there is room for.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::onnx_file::{
    Dimension, FLOAT, INT64, constant, graph, model, node, number_attribute, value,
};
use crate::harness::{Client, Pair, Person, Repository, Server, World, at_once, eventually, promise, sample};

const INFER: &str = "/v2/models/digits/infer";
/// Rows of a call of some 30 MB.
const MANY: usize = 230_000;

/// Zeros of this many rows of 64, but the last number.
fn rows(count: usize) -> Vec<u8> {
    let zeros = "0,".repeat(count * 64 - 2);
    let shape = format!("[{count},64]");
    format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":{shape},"data":[{zeros}0]}}]}}"#).into()
}

fn infer(client: &Client, body: &[u8]) -> crate::harness::Reply {
    client.send("POST", INFER, Some("application/json"), body)
}

/// A call that announces a body, sends this much of it and keeps the rest.
fn begun(server: &Server, person: &Person, model: &str, (sent, length): (usize, usize)) -> TcpStream {
    let mut stream = server.connect();
    write!(
        stream,
        "POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
        server.address(),
        person.tokens.access
    )
    .expect("the server reads");
    stream.write_all(&vec![b'{'; sent]).expect("the server reads");
    stream
}

/// Asks for the server's health for as long as the call takes: no answer waits for the call.
#[track_caller]
fn holds_up_nobody(server: &Server, call: impl FnOnce() + Send) {
    let (slowest, took) = std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let begun = Instant::now();
            call();
            begun.elapsed()
        });
        let mut slowest = Duration::ZERO;
        while !call.is_finished() {
            let asked = Instant::now();
            server.anon().get("/health/live").is(200);
            slowest = slowest.max(asked.elapsed());
        }
        (slowest, call.join().expect("the call"))
    });
    assert!(slowest < (took / 3).max(Duration::from_millis(200)), "{slowest:?} of {took:?}");
}

#[test]
fn a_large_tensor_holds_up_nobody_else() {
    let server = Server::start(Pair::Embedded, &[("WORKERS", "1")]);
    let ada = server.person("ada");
    let body = rows(MANY);
    holds_up_nobody(&server, || {
        let reply = infer(&ada.api, &body).is(400);
        assert!(reply.member("error").contains("data"), "{}", reply.text());
    });
}

/// The number of the largest of so many columns.
fn widest(columns: u64) -> Vec<u8> {
    let largest =
        node("ArgMax", &["x"], &["y"], &[number_attribute("axis", 1), number_attribute("keepdims", 1)]);
    let input = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(columns)]);
    let output = value("y", INT64, &[Dimension::Named("n"), Dimension::Fixed(1)]);
    model(&graph(&[largest], &[], &[input], &[output]))
}

/// A number times as many weights, which are all zero.
fn many_classes(classes: u64) -> Vec<u8> {
    let length = usize::try_from(classes * 4).expect("a length");
    let weights = constant("weights", FLOAT, &[1, classes], &vec![0; length]);
    let input = value("x", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(1)]);
    let output = value("y", FLOAT, &[Dimension::Named("n"), Dimension::Fixed(classes)]);
    model(&graph(&[node("MatMul", &["x", "weights"], &["y"], &[])], &[weights], &[input], &[output]))
}

#[test]
fn a_small_body_that_means_much_holds_up_nobody_else() {
    let repository = Repository::new(Pair::Embedded);
    let add = |name: &str, file: Vec<u8>, toml: &str| {
        fs::create_dir_all(repository.folder.join(name).join("1")).expect("a folder");
        fs::write(repository.folder.join(name).join("1/model.onnx"), file).expect("a model");
        fs::write(repository.folder.join(name).join("model.toml"), toml).expect("model.toml");
    };
    let columns =
        (0..1000).map(|number| format!("[[table.columns]]\nname = \"c{number}\"\nrequired = false\n"));
    let table = columns.collect::<String>();
    add("wide", widest(1000), &format!("[table]\ninput = \"x\"\n{table}[regression]\noutput = \"y\"\n"));
    let classes = "[classification]\noutput = \"y\"\nactivation = \"softmax\"\ntop_k = 1\n";
    add(
        "long",
        many_classes(50_000),
        &format!("[table]\ninput = \"x\"\n[[table.columns]]\nname = \"c\"\n{classes}"),
    );
    let (server, ada) = repository.start(&[("WORKERS", "1"), ("INFER_TIMEOUT_SECONDS", "60")]);
    for (model, row, rows) in [("wide", "{}", 1000), ("long", "{\"c\":1}", 200)] {
        let body = format!("{{\"rows\":[{}]}}", vec![row; rows].join(","));
        let path = format!("/api/v1/models/{model}/predict");
        holds_up_nobody(&server, || {
            ada.send("POST", &path, Some("application/json"), body.as_bytes()).is(200);
        });
    }
}

promise! {
    fn large_bodies_wait_outside_while_the_room_is_taken_and_small_ones_do_not(pair) {
        let settings = [("MAX_INFER_BODY_MB", "20"), ("MAX_BODIES_IN_MEMORY_MB", "20")];
        let server = Server::start(pair, &settings);
        let (ada, bob) = (server.person("ada"), server.person("bob"));
        // 2.5 MB: more than the slow one leaves of the room, and ten of them more than all of it.
        let large = rows(20_000);
        let slow = begun(&server, &bob, "digits", (18 << 20, (18 << 20) + 1));
        eventually("the room is taken", || (infer(&ada.api, &large).status == 503).then_some(()));
        let refused = infer(&ada.api, &large).is(503);
        assert!(refused.number("retry-after") >= 1);
        ada.api.predict(&sample("1-1")).is(200);
        let small = json!({"name": "x", "datatype": "FP32", "shape": [1, 64], "data": vec![0; 64]});
        ada.api.post(INFER, &json!({"inputs": [small]})).is(200);
        drop(slow);
        eventually("the room is free again", || (infer(&ada.api, &large).status == 400).then_some(()));
        for _ in 0..10 {
            infer(&ada.api, &large).is(400);
        }
    }

    fn nobody_takes_the_room_from_others(pair) {
        let settings = [("MAX_INFER_BODY_MB", "20"), ("MAX_BODIES_IN_MEMORY_MB", "20")];
        let server = Server::start(pair, &settings);
        let (ada, bob) = (server.person("ada"), server.person("bob"));
        let large = rows(20_000);
        // What is only announced takes none.
        let announced: Vec<_> = (0..8).map(|_| begun(&server, &bob, "digits", (1, 18 << 20))).collect();
        server.person("carl").api.predict(&sample("1-1")).is(200);
        infer(&ada.api, &large).is(400);
        drop(announced);
        // Nobody sends one for a model that they do not have.
        let mut answer = Vec::new();
        let mut none = begun(&server, &bob, "none", (1, 18 << 20));
        none.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        (&mut none).take(12).read_to_end(&mut answer).expect("an answer before the body");
        assert_eq!(answer, b"HTTP/1.1 404");
        // Of several bodies that come an account has half of the room.
        let half: Vec<_> = (0..8).map(|_| begun(&server, &bob, "digits", (3 << 20, (3 << 20) + 1))).collect();
        eventually("bob has his share", || (infer(&bob.api, &large).status == 503).then_some(()));
        assert!(infer(&bob.api, &large).is(503).member("error").contains("of yours"));
        infer(&ada.api, &large).is(400);
        drop(half);
    }
}

#[test]
fn large_pictures_that_nobody_waits_for_are_not_decoded() {
    // One of them takes all the room that there is, so that the small one waits for it, too.
    let settings =
        [("INFER_TIMEOUT_SECONDS", "1"), ("IMAGE_THREADS", "2"), ("MAX_DECODING_PIXELS", "16000000")];
    let server = Server::start(Pair::Embedded, &settings);
    let ada = server.person("ada");
    let mut picture = Cursor::new(Vec::new());
    let pixels = image::RgbaImage::from_pixel(4000, 4000, image::Rgba([9, 9, 9, 200]));
    pixels.write_to(&mut picture, image::ImageFormat::Png).expect("an encoder");
    // How long so many keep the decoders, until a small picture has its turn again.
    let busy_with = |count: usize| {
        let begun = Instant::now();
        let answers = at_once(count, |_| ada.api.predict(picture.get_ref()).status);
        assert!(answers.iter().all(|status| [200, 504].contains(status)), "{answers:?}");
        while ada.api.predict(&sample("1-1")).status != 200 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the decoders are still busy");
        }
        (begun.elapsed(), answers)
    };
    let (one, _) = busy_with(1);
    let (all, answers) = busy_with(40);
    assert!(answers.contains(&504), "{answers:?}");
    // Decoding all of them takes forty times as long as one, however slow the machine is.
    assert!(all < Duration::from_secs(4) + 10 * one, "{all:?}, one {one:?}");
    let memory = server.metric("process_resident_memory_bytes");
    assert!(memory < 1.0e9, "{memory}");
}

#[test]
fn room_for_less_than_one_body_is_no_setting() {
    let refused = World::new(Pair::Embedded).run(&["serve"], &[("MAX_BODIES_IN_MEMORY_MB", "63")], "");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("MAX_BODIES_IN_MEMORY_MB"), "{refused:?}");
}
