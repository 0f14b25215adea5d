//! Stored files: known by their content, seen by their owner only, sealed, and gone without a trace when removed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Client, FileServer, Person, Reply, Server, World, at_once, eventually, promise, sample,
};

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

/// The secret key of the bucket.
const SECRET: &str = "Never-to-be-read-s3-4712";

/// A server that keeps its files in a bucket.
struct Bucket<'world> {
    server: Server,
    world: &'world World,
    file_server: FileServer,
    /// A picture.
    seven: Vec<u8>,
}

/// Where a file lies in the bucket.
fn place(owner: &Person, id: &str) -> String {
    format!("/pictures/of/people/{}/{id}", owner.id)
}

impl Bucket<'_> {
    fn has(&self, path: &str) -> bool {
        self.file_server.files().contains_key(path)
    }

    fn count(&self) -> usize {
        self.file_server.files().len()
    }

    fn store(&self, person: &Person) -> Reply {
        store(&person.api, "a", &self.seven)
    }

    fn log_in_again(&self, person: &Person) -> Person {
        self.server.log_in(&person.email, &person.password)
    }

    fn a_file_lies_there_sealed(&self, ada: &Person, eve: &Person) -> String {
        self.file_server.cut(1);
        let id = self.store(ada).is(201).member("id");
        let (path, place) = (format!("{FILES}/{id}"), place(ada, &id));
        assert!(self.has(&place), "{:?}", self.file_server.asked());
        let sealed = self.file_server.files()[&place].clone();
        assert!(
            sealed.len() > self.seven.len() && !sealed.windows(4).any(|part| part == b"IHDR"),
            "in the clear"
        );
        assert_eq!(ada.api.get(&path).is(200).body, self.seven);
        eve.api.get(&path).refused(404, "not_found");
        let answer = ada.api.act(&predict_from(&id)).is(200).json();
        assert_eq!(answer["results"][0]["predictions"][0]["label"], "7");
        assert!(kept(self.world).is_empty(), "nothing stays in quarantine");
        id
    }

    /// Answers the id of a second file.
    fn while_it_is_down_nothing_is_promised_and_nothing_lost(&self, ada: &Person, id: &str) -> String {
        self.file_server.is_down(true);
        let path = format!("{FILES}/{id}");
        for reply in [self.store(ada), ada.api.get(&path), ada.api.act(&predict_from(id))] {
            assert!(reply.header("retry-after").is_some());
            reply.refused(503, "unavailable");
        }
        assert_eq!(ada.api.get(FILES).is(200).items().len(), 1);
        assert!(kept(self.world).is_empty());
        self.file_server.is_down(false);
        // Every answer to it is lost, though the file got there: it is taken away again.
        self.file_server.cut(3);
        self.store(ada).refused(503, "unavailable");
        assert_eq!(self.count(), 1);
        self.store(ada).is(201).member("id")
    }

    /// Of another file, or with something added: nobody who can write there can pass off other bytes.
    fn foreign_bytes_are_refused(&self, ada: &Person, id: &str, other: &str) -> Vec<u8> {
        let (path, here) = (format!("{FILES}/{id}"), place(ada, id));
        let sealed = self.file_server.files()[&here].clone();
        self.file_server.put(&here, &self.file_server.files()[&place(ada, other)]);
        ada.api.get(&path).refused(503, "unavailable");
        self.file_server.put(&here, &[&sealed[..], &[0; 100_000]].concat());
        ada.api.get(&path).refused(503, "unavailable");
        self.file_server.put(&here, &sealed);
        ada.api.get(&path).is(200);
        sealed
    }

    fn the_number_of_files_is_bounded_and_deletion_is_immediate(&self, ada: &Person, id: &str) {
        let answers = at_once(4, |_| self.store(ada).status);
        assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
        assert_eq!(self.count(), 3);
        ada.api.delete(&format!("{FILES}/{id}")).is(204);
        assert!(!self.has(&place(ada, id)));
    }

    /// Deleted while the bucket was down, or left by a killed process.
    fn what_no_row_names_is_swept_and_only_that(
        &self,
        ada: &Person,
        eve: &Person,
        (id, other): (&str, &str),
        sealed: &[u8],
    ) {
        self.file_server.is_down(true);
        ada.api.delete(&format!("{FILES}/{other}")).is(204);
        self.file_server.is_down(false);
        let (deleted, orphan) = (place(ada, other), place(eve, id));
        for path in [&*orphan, STRANGER, "/pictures/of/people/readme"] {
            self.file_server.put(path, sealed);
        }
        assert!(self.has(&deleted));
        self.world.advance(Duration::from_secs(2 * 3600));
        eventually("both are swept", || (!self.has(&deleted) && !self.has(&orphan)).then_some(()));
        assert_eq!(self.count(), 3, "{:?}", self.file_server.files().keys());
    }

    fn a_caller_who_goes_away_leaves_a_file_that_counts_or_nothing(&self, ada: &Person) {
        let puts = || self.file_server.asked().iter().filter(|asked| asked.starts_with("PUT ")).count();
        let before = puts();
        self.file_server.hold(true);
        let mut stream = self.server.connect();
        let head = format!(
            "POST {FILES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
            self.log_in_again(ada).tokens.access,
            self.seven.len()
        );
        stream.write_all(&[head.as_bytes(), &self.seven].concat()).expect("a file");
        eventually("the bucket is asked", || (puts() > before).then_some(()));
        drop(stream);
        self.file_server.hold(false);
        eventually("the quarantine is empty", || kept(self.world).is_empty().then_some(()));
        let ada = self.log_in_again(ada);
        eventually("what lies there is counted", || {
            let counted = ada.api.get(FILES).is(200).items().len();
            (self.count() == 3 + counted - 1).then_some(())
        });
    }

    fn files_go_with_their_account_and_by_age(&self, eve: &Person, admin: &Person) {
        let before = self.count();
        let (eve, admin) = (self.log_in_again(eve), self.log_in_again(admin));
        for _ in 0..3 {
            self.store(&eve).is(201);
        }
        assert_eq!(self.count(), before + 3);
        admin.api.delete(&format!("/api/v1/admin/users/{}", eve.id)).is(204);
        assert_eq!(self.count(), before);
        self.world.advance(DAY * 3);
        eventually("old files are gone", || (self.count() == 2).then_some(()));
        assert!(self.has(STRANGER) && self.has("/pictures/of/people/readme"));
    }
}

/// A file of somebody else in the same bucket.
const STRANGER: &str = "/pictures/of/others/file";

fn predict_from(id: &str) -> String {
    format!("/api/v1/models/digits/predict?file={id}")
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
        ada.api.act(&predict.replace("?file=", "?%66ile=")).is(200);
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
        let bucket = Bucket { server, world: &world, file_server, seven: sample("7-1") };
        let id = bucket.a_file_lies_there_sealed(&ada, &eve);
        let other = bucket.while_it_is_down_nothing_is_promised_and_nothing_lost(&ada, &id);
        let sealed = bucket.foreign_bytes_are_refused(&ada, &id, &other);
        bucket.the_number_of_files_is_bounded_and_deletion_is_immediate(&ada, &id);
        bucket.what_no_row_names_is_swept_and_only_that(&ada, &eve, (&id, &other), &sealed);
        bucket.a_caller_who_goes_away_leaves_a_file_that_counts_or_nothing(&ada);
        bucket.files_go_with_their_account_and_by_age(&eve, &admin);

        let Bucket { server, file_server, .. } = bucket;
        drop(server);
        assert_eq!(world.run(&["check"], &settings, "").code, Some(0));
        file_server.is_down(true);
        let down = world.run(&["check"], &settings, "");
        assert!(down.code == Some(1) && down.stderr.contains("FILE_DIR") && !down.stderr.contains(SECRET), "{down:?}");
        let wrong = world.run(&["serve"], &[("FILE_DIR", "s3://keeper:hush@pictures/of")], "");
        assert!(wrong.code == Some(1) && wrong.stderr.contains("FILE_DIR") && wrong.stderr.contains("s3://bucket/prefix"), "{wrong:?}");
        let wrong = world.run(&["serve"], &[("FILE_DIR", "s3://pictures/of")], "");
        assert!(wrong.code == Some(1) && wrong.stderr.contains("AWS_ACCESS_KEY_ID"), "{wrong:?}");
    }
}
