//! The code keeps to docs/ARCHITECTURE.md: which crate may depend on which, and what is named in one place only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::harness::workspace;

const CRATES: [&str; 4] = ["api", "auth", "inference", "storage"];

/// What measures them (`scripts/bench`); nothing of it is in the product.
const BENCH: &str = "crates/bench";

/// Longest source file, in lines.
const MAX_LINES: usize = 400;

fn manifest(package: &Path) -> Table {
    fs::read_to_string(package.join("Cargo.toml")).expect("a manifest").parse().expect("a readable manifest")
}

/// What a crate links, for tests or not.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let named = |section: &str| manifest.get(section).and_then(Value::as_table).into_iter().flatten();
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    sections.into_iter().flat_map(named).map(|(name, _)| name.clone()).collect()
}

fn all_dependencies() -> BTreeMap<&'static str, BTreeSet<String>> {
    let of = |name| (name, dependencies(&manifest(&workspace().join("crates").join(name))));
    CRATES.into_iter().map(of).collect()
}

/// Every source file of the program's crates and of the tests.
pub fn sources() -> Vec<(PathBuf, String)> {
    let mut folders = vec![workspace().join("crates"), workspace().join("tests")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path.strip_prefix(workspace()).expect("inside").to_owned(), text));
            }
        }
    }
    files
}

/// Whether `word` stands in `text` as code: not as part of a longer word, and not in a comment.
fn names(text: &str, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).any(|line| {
        line.match_indices(word).any(|(start, _)| {
            let (before, after) = (line.as_bytes()[..start].last(), line.as_bytes().get(start + word.len()));
            let ends_open = word.ends_with(':') || word.ends_with('(');
            !is_part(before) && (ends_open || !is_part(after))
        })
    })
}

/// The source files, own tests of the crates left out, that name `word`.
fn files_naming(word: &str) -> Vec<String> {
    let is_product = |path: &Path| {
        let in_source = path.components().any(|part| part.as_os_str() == "src");
        path.starts_with("crates") && !path.starts_with(BENCH) && in_source
    };
    let mut found: Vec<String> = sources()
        .into_iter()
        .filter(|(path, text)| is_product(path) && names(text, word))
        .map(|(path, _)| path.display().to_string())
        .collect();
    found.sort();
    found
}

#[test]
fn the_members_are_the_four_crates_what_measures_them_and_the_tests() {
    let members = manifest(workspace())["workspace"]["members"].clone();
    let members: BTreeSet<&str> =
        members.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let expected = CRATES.map(|name| format!("crates/{name}"));
    assert_eq!(members, expected.iter().map(String::as_str).chain([BENCH, "tests"]).collect());
}

#[test]
fn the_arrows_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("api", &["auth", "inference", "storage"] as &[_]),
        ("auth", &["storage"]),
        ("inference", &[]),
        ("storage", &[]),
    ]);
    for (name, dependencies) in all_dependencies() {
        let ours: Vec<&str> = CRATES.into_iter().filter(|other| dependencies.contains(*other)).collect();
        assert!(ours.iter().all(|other| allowed[name].contains(other)), "{name} knows {ours:?}");
    }
    let tests = dependencies(&manifest(&workspace().join("tests")));
    assert!(CRATES.iter().all(|name| !tests.contains(*name)), "the acceptance tests speak HTTP only");
}

/// The modules of `crates/api`, and which others each names.
fn modules_of_the_api() -> BTreeMap<String, BTreeSet<String>> {
    let module = |(path, text): (PathBuf, String)| {
        let first = path.strip_prefix("crates/api/src").ok()?.components().next()?;
        Some((first.as_os_str().to_str()?.trim_end_matches(".rs").to_owned(), text))
    };
    let files: Vec<(String, String)> = sources().into_iter().filter_map(module).collect();
    let modules: BTreeSet<&str> = files.iter().map(|(module, _)| module.as_str()).collect();
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in &files {
        let lists: String =
            text.split("use crate::{").skip(1).filter_map(|rest| rest.split("};").next()).collect();
        let is_named = |other: &str| names(text, &format!("crate::{other}")) || names(&lists, other);
        let others = modules.iter().filter(|other| *other != module && is_named(other));
        named.entry(module.clone()).or_default().extend(others.map(ToString::to_string));
    }
    named
}

#[test]
fn no_module_of_the_api_depends_on_itself_through_others() {
    let named = modules_of_the_api();
    assert!(named["v1"].contains("app") && named["server"].contains("grpc"), "{named:?}");
    let is_in_a_circle = |module: &&String| {
        let (mut below, mut next) = (BTreeSet::new(), vec![*module]);
        while let Some(one) = next.pop() {
            next.extend(named[one].iter().filter(|other| below.insert(*other)));
        }
        below.contains(*module)
    };
    let circle: Vec<&String> = named.keys().filter(is_in_a_circle).collect();
    assert!(circle.is_empty(), "{circle:?} depend on each other");
}

#[test]
fn each_outside_crate_has_one_owner() {
    let owners: [(&str, &[&str]); 4] = [
        (
            "api",
            &[
                "actix-web",
                "actix-cors",
                "actix-governor",
                "utoipa",
                "clap",
                "metrics",
                "askama",
                "lettre",
                "rustls",
                "tonic",
                "prost",
            ],
        ),
        ("auth", &["jsonwebtoken", "argon2", "bcrypt", "zxcvbn", "totp-rs"]),
        ("inference", &["ort", "image", "fast_image_resize", "ndarray"]),
        ("storage", &["sqlx", "redis", "object_store"]),
    ];
    let all = all_dependencies();
    for (owner, guests) in owners {
        for (name, dependencies) in all.iter().filter(|(name, _)| **name != owner) {
            let strays: Vec<_> = guests.iter().filter(|guest| dependencies.contains(**guest)).collect();
            assert!(strays.is_empty(), "{strays:?} belong to {owner}, not to {name}");
        }
    }
    let actix = all.iter().filter(|(_, names)| names.iter().any(|name| name.starts_with("actix")));
    assert_eq!(actix.map(|(name, _)| *name).collect::<Vec<_>>(), ["api"]);
}

#[test]
fn what_belongs_in_one_file_stays_there() {
    let tokens = ["crates/auth/src/token/foreign.rs", "crates/auth/src/token/mod.rs"];
    assert_eq!(files_naming("jsonwebtoken"), tokens);
    let ways_out = [
        "crates/api/src/outgoing/http.rs",
        "crates/storage/src/blobs/s3.rs",
        "crates/storage/src/blobs/s3_client.rs",
        "crates/storage/src/blobs/web.rs",
    ];
    assert_eq!(files_naming("reqwest"), ways_out, "documents of issuers, and files of models");
    let runtime = files_naming("ort::");
    assert!(!runtime.is_empty(), "ONNX Runtime is named somewhere");
    assert!(runtime.iter().all(|file| file.starts_with("crates/inference/src/onnx/")), "{runtime:?}");
    assert_eq!(files_naming("argon2::"), ["crates/auth/src/password/argon2id.rs"]);
    assert_eq!(files_naming("Utc::now("), ["crates/storage/src/clock.rs"], "one clock");
    assert_eq!(files_naming("SystemTime::now("), [] as [&str; 0], "one clock");
    assert_eq!(
        files_naming("SecureRandom"),
        ["crates/auth/src/crypto/random.rs"],
        "one source of randomness"
    );
}

/// Comparing byte by byte tells by its time how much was right.
#[test]
fn secrets_are_compared_in_one_place() {
    assert_eq!(files_naming("constant_time"), ["crates/auth/src/crypto/mod.rs"]);
    for word in ["hash ==", "mac ==", "digest ==", "secret ==", "token ==", "password ==", "signature =="] {
        assert_eq!(files_naming(word), [] as [&str; 0], "{word}");
    }
}

#[test]
fn only_storage_speaks_to_the_stores() {
    for word in ["sqlx::", "redis::", "SELECT", "INSERT INTO", "UPDATE"] {
        let files = files_naming(word);
        let outside: Vec<_> = files.iter().filter(|file| !file.starts_with("crates/storage/")).collect();
        assert!(outside.is_empty(), "{word} in {outside:?}");
    }
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let long = |(path, text): (PathBuf, String)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines", path.display()))
    };
    let long: Vec<_> = sources().into_iter().filter_map(long).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn migrations_come_in_pairs() {
    let names = |engine: &str| -> BTreeSet<String> {
        let folder = workspace().join("migrations").join(engine);
        let entries = fs::read_dir(folder).expect("migrations");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    };
    assert!(!names("postgres").is_empty());
    assert_eq!(names("postgres"), names("sqlite"));
}

#[test]
fn one_crypto_stack_is_linked() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["tree", "--offline", "--workspace", "--edges", "normal,build", "--prefix", "none"];
    let output = Command::new(cargo).args(arguments).current_dir(workspace()).output().expect("cargo tree");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let linked: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(linked.contains("aws-lc-rs") && linked.contains("actix-web"), "{linked:?}");
    for foreign in ["ring", "openssl", "openssl-sys", "native-tls", "rsa", "rustls-ring"] {
        assert!(!linked.contains(foreign), "{foreign} is linked");
    }
}
