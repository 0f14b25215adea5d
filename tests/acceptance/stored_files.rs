//! Stored files: what they are is told from their content, whose they are by nobody else, and nothing is left of them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, FileServer, Reply, World, at_once, eventually, promise, sample};

const FILES: &str = "/api/v1/files";
const DAY: Duration = Duration::from_secs(86_400);

fn store(client: &Client, name: &str, bytes: &[u8]) -> Reply {
    client.send("POST", &format!("{FILES}?name={name}"), Some("application/octet-stream"), bytes)
}

/// Stores it as a form's file, as a page or `curl -F` sends one.
fn store_form(client: &Client, query: &str, parts: &[(&str, &str, &[u8])]) -> Reply {
    let mut form = Vec::new();
    for (disposition, kind, bytes) in parts {
        let head =
            format!("--b\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {kind}\r\n\r\n");
        form.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    form.extend(b"--b--\r\n");
    client.send("POST", &format!("{FILES}{query}"), Some("multipart/form-data; boundary=b"), &form)
}

/// Every file below a folder.
fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { below(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

fn kept(world: &World) -> Vec<PathBuf> {
    below(&world.folder().join("data/files"))
}

promise! {
    fn a_stored_picture_is_ones_own_sealed_and_predicted_from(pair) {
        let world = World::new(pair);
        let server = world.start(&[]);
        let (ada, eve, admin) = (server.person("ada"), server.person("eve"), server.admin());
        let seven = sample("7-1");
        let stored = store(&ada.api, "..%2F..%2Fetc%2Fseven%0d%0a.png", &seven).is(201).json();
        assert_eq!((&stored["media_type"], &stored["size"], &stored["name"]), (&json!("image/png"), &json!(seven.len()), &json!("seven.png")));
        let path = format!("{FILES}/{}", stored["id"].as_str().expect("an id"));
        let got = ada.api.get(&path).is(200);
        assert_eq!(got.body, seven);
        assert_eq!(got.header("content-type"), Some("image/png"));
        assert!(got.header("content-disposition").is_some_and(|value| value.starts_with("attachment; filename=\"seven.png\"")));
        let key = ada.make_key(&["models:infer"]);
        let predict = format!("/api/v1/models/digits/predict?file={}", stored["id"].as_str().expect("an id"));
        for client in [ada.api.clone(), server.key(&key)] {
            let answer = client.act(&predict).is(200).json();
            assert_eq!(answer["results"][0]["predictions"][0]["label"], "7");
            assert_eq!(answer["results"][0]["filename"], "seven.png");
        }
        ada.api.send("POST", &predict, Some("image/png"), &seven).invalid(&["file"]);
        // By JSON: one, or several as a batch, within the bounds of pictures that are sent.
        let by_json = |client: &Client, body: Value| client.post("/api/v1/models/digits/predict", &body);
        let one = store(&ada.api, "one.png", &sample("1-1")).is(201).json()["id"].clone();
        let answer = by_json(&server.key(&key), json!({"file": one})).is(200).json();
        assert_eq!((&answer["results"][0]["predictions"][0]["label"], &answer["results"][0]["filename"]), (&json!("1"), &json!("one.png")));
        let answer = by_json(&ada.api, json!({"files": [stored["id"], one, one]})).is(200).json();
        let labels: Vec<&Value> = (0..3).map(|index| &answer["results"][index]["predictions"][0]["label"]).collect();
        assert_eq!(labels, ["7", "1", "1"]);
        let foreign = store(&eve.api, "x", &seven).is(201).json()["id"].clone();
        by_json(&ada.api, json!({"files": [one, foreign]})).refused(404, "not_found");
        by_json(&ada.api, json!({"files": vec![&one; 17]})).refused(413, "too_large");
        for wrong in [json!({"files": []}), json!({"file": one, "files": [one]}), json!({})] {
            by_json(&ada.api, wrong).invalid(&["file"]);
        }
        by_json(&ada.api, json!({"file": "../../etc/passwd"})).refused(400, "malformed_request");
        for wrong in [json!({"rows": []}), json!({"file": 5, "rows": []}), json!({"texts": []})] {
            by_json(&ada.api, wrong).refused(415, "unsupported_media_type");
        }
        for (wrong, member) in [(json!({"file": one, "url": "http://169.254.169.254/"}), "`url`"), (json!({"fiel": one}), "`fiel`")] {
            let told = by_json(&ada.api, wrong).refused(400, "malformed_request").member("detail");
            assert!(told.contains(member), "{told}");
        }
        for (client, id) in [(&ada.api, &one), (&eve.api, &foreign)] {
            client.delete(&format!("{FILES}/{}", id.as_str().expect("an id"))).is(204);
        }
        server.key(&key).send("POST", FILES, Some("image/png"), &seven).refused(403, "insufficient_permissions");

        // Nobody else's, an administrator's neither.
        for other in [&eve.api, &admin.api] {
            other.get(&path).refused(404, "not_found");
            other.delete(&path).refused(404, "not_found");
            other.act(&predict).refused(404, "not_found");
            assert!(other.get(FILES).is(200).items().is_empty());
        }
        ada.api.act("/api/v1/models/digits/predict?file=nonsense").is(404);
        server.anon().get(&path).is(401);

        // A form's file is stored as the body itself is, under the name that the form gives it.
        let part = "name=\"file\"; filename=\"../a/seven.png\"";
        for (query, name) in [("", "seven.png"), ("?name=other.png", "other.png")] {
            let stored = store_form(&eve.api, query, &[(part, "image/png", &seven)]).is(201).json();
            assert_eq!((&stored["name"], &stored["size"]), (&json!(name), &json!(seven.len())));
            let path = format!("{FILES}/{}", stored["id"].as_str().expect("an id"));
            assert_eq!(eve.api.get(&path).is(200).body, seven);
            eve.api.delete(&path).is(204);
        }

        // On disk: one sealed file that only this user reads.
        let [file] = &kept(&world)[..] else { panic!("{:?}", kept(&world)) };
        let bytes = fs::read(file).expect("the file");
        assert!(!bytes.windows(4).any(|part| part == b"IHDR"), "in the clear");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(file).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(ada.api.get("/api/v1/me/export").is(200).json()["files"][0]["id"], stored["id"]);
        assert_eq!(server.cli(&["keys", "rotate-encryption"], "").code, Some(0));

        ada.api.delete(&path).is(204);
        ada.api.get(&path).is(404);
        assert!(kept(&world).is_empty());
        store(&eve.api, "a", &seven).is(201);
        store(&ada.api, "a", &seven).is(201);
        ada.api.delete("/api/v1/me").is(204);
        admin.api.delete(&format!("/api/v1/admin/users/{}", eve.id)).is(204);
        assert!(kept(&world).is_empty(), "{:?}", kept(&world));
    }

    fn what_is_no_picture_or_too_much_is_refused_and_leaves_nothing(pair) {
        let world = World::new(pair);
        let settings = [("MAX_UPLOAD_SIZE_MB", "1"), ("MAX_FILES_PER_ACCOUNT", "3"), ("FILE_RETENTION_DAYS", "2")];
        let server = world.start(&settings);
        let ada = server.person("ada");
        let seven = sample("7-1");
        // A picture's header that says 60000 by 60000 pixels; a page that calls itself one; an archive.
        let mut bomb = seven.clone();
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = crc32fast::hash(&bomb[12..29]).to_be_bytes();
        bomb[29..33].copy_from_slice(&crc);
        store(&ada.api, "bomb.png", &bomb).refused(413, "too_large");
        for wrong in [&b"<html><script>alert(1)</script>"[..], b"PK\x03\x04zip", b"GIF89a", b"\xff\xd8\xff", b"", &seven[..20], &seven[..seven.len() / 2], b"MZ"] {
            store(&ada.api, "a.png", wrong).refused(400, "invalid_image");
        }
        for kind in ["text/html", "multipart/mixed; boundary=b", "application/json"] {
            ada.api.send("POST", FILES, Some(kind), &seven).refused(415, "unsupported_media_type");
        }
        let (file, other) = ("name=\"file\"; filename=\"a\"", "name=\"other\"");
        for parts in [&[(other, "text/plain", &b"x"[..])][..], &[(file, "image/png", &seven), (file, "image/png", &seven)], &[(file, "image/png", &seven), (other, "text/plain", b"x")]] {
            store_form(&ada.api, "", parts).refused(400, "malformed_request");
        }
        store_form(&ada.api, "", &[]).refused(400, "invalid_image");
        store_form(&ada.api, "", &[(file, "image/jpeg", &seven)]).refused(400, "invalid_image");
        store_form(&ada.api, "", &[(file, "image/png", &vec![0; (1 << 20) + 1])]).refused(413, "too_large");
        ada.api.send("POST", FILES, Some("multipart/form-data; boundary=b"), b"--b\r\nContent-Disp").refused(400, "malformed_request");
        ada.api.send("POST", FILES, Some("image/jpeg"), &seven).refused(400, "invalid_image");
        store(&ada.api, "a", &vec![0; (1 << 20) + 1]).refused(413, "too_large");
        assert!(kept(&world).is_empty(), "{:?}", kept(&world));

        // A picture with a page behind it is that picture, to be saved and never shown.
        let polyglot = [&seven[..], b"<script>alert(1)</script>"].concat();
        let id = store(&ada.api, "x.html", &polyglot).is(201).member("id");
        let got = ada.api.get(&format!("{FILES}/{id}")).is(200);
        assert_eq!((got.header("content-type"), got.header("x-content-type-options")), (Some("image/png"), Some("nosniff")));

        // At the edge of the bound as many as fit, and no more.
        let answers = at_once(8, |_| store(&ada.api, "a", &seven).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 2, "{answers:?}");
        store(&ada.api, "a", &seven).refused(409, "too_many_files");
        assert_eq!(kept(&world).len(), 3);
        world.advance(DAY * 3);
        eventually("old files are gone", || kept(&world).is_empty().then_some(()));
        let ada = server.log_in(&ada.email, &ada.password);
        assert!(ada.api.get(FILES).is(200).items().is_empty());

        // Killed in the middle of an upload: the next start finds nothing of it, and loses nothing else.
        store(&ada.api, "a", &seven).is(201);
        let mut stream = server.connect();
        let head = format!(
            "POST {FILES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: image/png\r\nContent-Length: 900000\r\n\r\n",
            ada.tokens.access
        );
        stream.write_all(head.as_bytes()).expect("a head");
        stream.write_all(&vec![1; 300_000]).expect("a part");
        eventually("the quarantine has it", || (kept(&world).len() == 2).then_some(()));
        drop(server);
        assert_eq!(kept(&world).len(), 2, "it was killed");
        let server = world.start(&settings);
        eventually("the quarantine is swept", || (kept(&world).len() == 1).then_some(()));
        let again = server.log_in(&ada.email, &ada.password);
        let id = again.api.get(FILES).is(200).items()[0]["id"].clone();
        assert_eq!(again.api.get(&format!("{FILES}/{}", id.as_str().expect("an id"))).is(200).body, seven);

        // One that breaks off, without a kill.
        let mut stream = server.connect();
        let head = head.replace(&ada.tokens.access, &again.tokens.access);
        stream.write_all(head.as_bytes()).expect("a head");
        stream.write_all(&vec![1; 300_000]).expect("a part");
        eventually("the quarantine has it", || (kept(&world).len() == 2).then_some(()));
        drop(stream);
        eventually("it is gone", || (kept(&world).len() == 1).then_some(()));
    }

    fn in_a_bucket_they_are_sealed_the_same_and_nothing_is_left_there_either(pair) {
        const SECRET: &str = "Never-to-be-read-s3-4712";
        let file_server = FileServer::plain().owned_by("keeper", SECRET);
        let world = World::new(pair);
        world.remember(SECRET);
        let endpoint = file_server.url("");
        let settings = [
            ("FILE_DIR", "s3://pictures/of/people"), ("MODEL_SOURCES_PLAIN_HTTP", "true"), ("AWS_ENDPOINT_URL", &*endpoint),
            ("AWS_ACCESS_KEY_ID", "keeper"), ("AWS_SECRET_ACCESS_KEY", SECRET), ("FILE_RETENTION_DAYS", "2"), ("MAX_FILES_PER_ACCOUNT", "3"),
        ];
        let server = world.start(&settings);
        let (ada, eve, admin) = (server.person("ada"), server.person("eve"), server.admin());
        let seven = sample("7-1");
        let lies_there = |path: &str| file_server.files().contains_key(path);
        file_server.cut(1);
        let id = store(&ada.api, "seven.png", &seven).is(201).member("id");
        let (path, place) = (format!("{FILES}/{id}"), format!("/pictures/of/people/{}/{id}", ada.id));
        assert!(lies_there(&place), "{:?}", file_server.asked());
        let sealed = file_server.files()[&place].clone();
        assert!(sealed.len() > seven.len() && !sealed.windows(4).any(|part| part == b"IHDR"), "in the clear");
        assert_eq!(ada.api.get(&path).is(200).body, seven);
        eve.api.get(&path).refused(404, "not_found");
        let predict = format!("/api/v1/models/digits/predict?file={id}");
        assert_eq!(ada.api.act(&predict).is(200).json()["results"][0]["predictions"][0]["label"], "7");
        assert!(kept(&world).is_empty(), "nothing stays in quarantine");

        // The bucket is out of order: nothing is promised, nothing is lost, nothing half-done is seen.
        file_server.is_down(true);
        for reply in [store(&ada.api, "a", &seven), ada.api.get(&path), ada.api.act(&predict)] {
            assert!(reply.header("retry-after").is_some());
            reply.refused(503, "unavailable");
        }
        assert_eq!(ada.api.get(FILES).is(200).items().len(), 1);
        assert!(kept(&world).is_empty());
        file_server.is_down(false);
        // Every answer to it is lost, though the file got there: it is taken away again.
        file_server.cut(3);
        store(&ada.api, "a", &seven).refused(503, "unavailable");
        assert_eq!(file_server.files().len(), 1);
        // Others' bytes are not its bytes, whoever can write there.
        let other = store(&ada.api, "a", &seven).is(201).member("id");
        let other_place = format!("/pictures/of/people/{}/{other}", ada.id);
        file_server.put(&place, &file_server.files()[&other_place]);
        ada.api.get(&path).refused(503, "unavailable");
        file_server.put(&place, &[&sealed[..], &[0; 100_000]].concat());
        ada.api.get(&path).refused(503, "unavailable");
        file_server.put(&place, &sealed);
        ada.api.get(&path).is(200);

        let answers = at_once(4, |_| store(&ada.api, "a", &seven).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert_eq!(file_server.files().len(), 3);
        ada.api.delete(&path).is(204);
        assert!(!lies_there(&place));

        // Deleted while the bucket was out of order, or left by a killed process: a later sweep finds it, and that
        // only.
        file_server.is_down(true);
        ada.api.delete(&format!("{FILES}/{other}")).is(204);
        file_server.is_down(false);
        let (orphan, stranger) = (format!("/pictures/of/people/{}/{id}", eve.id), "/pictures/of/others/file");
        file_server.put(&orphan, &sealed);
        file_server.put(stranger, &sealed);
        file_server.put("/pictures/of/people/readme", &sealed);
        assert!(lies_there(&other_place));
        world.advance(Duration::from_secs(2 * 3600));
        eventually("what no row tells of is gone", || (!lies_there(&other_place) && !lies_there(&orphan)).then_some(()));
        assert_eq!(file_server.files().len(), 3, "{:?}", file_server.files().keys());

        // Who goes away while the bucket takes its time leaves a file that counts, or nothing.
        let puts = || file_server.asked().iter().filter(|asked| asked.starts_with("PUT ")).count();
        let before = puts();
        file_server.hold(true);
        let mut stream = server.connect();
        let head = format!(
            "POST {FILES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
            server.log_in(&ada.email, &ada.password).tokens.access, seven.len()
        );
        stream.write_all(&[head.as_bytes(), &seven].concat()).expect("a file");
        eventually("the bucket is asked", || (puts() > before).then_some(()));
        drop(stream);
        file_server.hold(false);
        eventually("it is taken", || kept(&world).is_empty().then_some(()));
        let ada = server.log_in(&ada.email, &ada.password);
        eventually("what lies there is counted", || {
            let counted = ada.api.get(FILES).is(200).items().len();
            (file_server.files().len() == 3 + counted - 1).then_some(())
        });

        // With their account, and by age.
        let before = file_server.files().len();
        let eve = server.log_in(&eve.email, &eve.password);
        let admin = server.log_in(&admin.email, &admin.password);
        for name in ["a", "b", "c"] {
            store(&eve.api, name, &seven).is(201);
        }
        assert_eq!(file_server.files().len(), before + 3);
        admin.api.delete(&format!("/api/v1/admin/users/{}", eve.id)).is(204);
        assert_eq!(file_server.files().len(), before);
        world.advance(DAY * 3);
        eventually("old files are gone", || (file_server.files().len() == 2).then_some(()));
        assert!(lies_there(stranger) && lies_there("/pictures/of/people/readme"));

        drop(server);
        assert_eq!(world.run(&["check"], &settings, "").code, Some(0));
        file_server.is_down(true);
        let told = world.run(&["check"], &settings, "");
        assert!(told.code == Some(1) && told.stderr.contains("FILE_DIR") && !told.stderr.contains(SECRET), "{told:?}");
        let wrong = world.run(&["serve"], &[("FILE_DIR", "s3://keeper:hush@pictures/of")], "");
        assert!(wrong.code == Some(1) && wrong.stderr.contains("FILE_DIR") && wrong.stderr.contains("s3://bucket/prefix"), "{wrong:?}");
        let wrong = world.run(&["serve"], &[("FILE_DIR", "s3://pictures/of")], "");
        assert!(wrong.code == Some(1) && wrong.stderr.contains("AWS_ACCESS_KEY_ID"), "{wrong:?}");
    }
}
