//! The register of what is shown: every row and every attack has its number once, and tests that exist or a reason that
//! docs/SECURITY.md gives, too.

use std::collections::BTreeSet;
use std::process::Command;

use toml::{Table, Value};

use crate::harness::workspace;

const ROWS: i64 = 105;
const ATTACKS: i64 = 114;

fn read(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The entries of one file of the register, in their order.
fn register(file: &str, kind: &str) -> Vec<Table> {
    let mut register: Table = read(&format!("tests/conformance/{file}.toml")).parse().expect("readable TOML");
    let entries = register.remove(kind).expect("entries");
    let as_table = |entry: &Value| entry.as_table().cloned().expect("an entry is a table");
    entries.as_array().expect("a list").iter().map(as_table).collect()
}

fn entries() -> Vec<(&'static str, Table)> {
    let rows = register("rows", "row").into_iter().map(|entry| ("row", entry));
    rows.chain(register("attacks", "attack").into_iter().map(|entry| ("attack", entry))).collect()
}

fn tests(entry: &Table) -> Vec<&str> {
    entry.get("tests").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The tests of this binary, without their engine pairs.
fn listed() -> BTreeSet<String> {
    let own = std::env::current_exe().expect("this test's own path");
    let output = Command::new(own).args(["--list", "--format", "terse"]).output().expect("a list");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    names
        .map(|name| name.trim_end_matches("::embedded").trim_end_matches("::postgres_redis").to_owned())
        .collect()
}

/// Whether a test of another test binary stands in its source: `storage/…` and the like are unit tests, `contract/…`
/// are those of crates/storage/tests.
fn stands_in_source(name: &str) -> bool {
    let (binary, path) = name.split_once('/').expect("the name of a test binary");
    let mut path: Vec<&str> = path.split("::").collect();
    let function = path.pop().unwrap_or_default();
    path.retain(|module| *module != "tests");
    let folder = if binary == "contract" { "storage/tests/contract" } else { &format!("{binary}/src") };
    let file = workspace().join("crates").join(folder).join(path.join("/"));
    let texts = [file.with_extension("rs"), file.join("mod.rs")]
        .map(|file| std::fs::read_to_string(file).unwrap_or_default());
    texts.iter().any(|text| text.contains(&format!("fn {function}(")))
}

#[test]
fn every_number_comes_once_and_in_order() {
    for (file, kind, count) in [("rows", "row", ROWS), ("attacks", "attack", ATTACKS)] {
        let numbers: Vec<i64> =
            register(file, kind).iter().filter_map(|entry| entry["number"].as_integer()).collect();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{file}");
    }
}

#[test]
fn every_entry_says_what_it_means_and_has_tests_or_a_reason() {
    let known = BTreeSet::from(["number", "asvs", "level", "group", "meaning", "tests", "why"]);
    for (kind, entry) in entries() {
        let number = &entry["number"];
        let members: BTreeSet<&str> = entry.keys().map(String::as_str).collect();
        assert!(members.is_subset(&known), "{kind} {number}: {members:?}");
        let text = |name: &str| entry.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        assert!(text("meaning"), "{kind} {number} means nothing");
        assert!(!tests(&entry).is_empty() || text("why"), "{kind} {number} has neither tests nor a reason");
        assert!(text("group") != (text("asvs") && text("level")), "{kind} {number}: {entry:?}");
    }
}

#[test]
fn every_test_that_is_named_exists() {
    let listed = listed();
    assert!(listed.len() > 100, "{}", listed.len());
    for (kind, entry) in entries() {
        for name in tests(&entry) {
            let exists = if name.contains('/') { stands_in_source(name) } else { listed.contains(name) };
            assert!(exists, "{kind} {}: there is no test {name}", entry["number"]);
        }
    }
}

/// The list in docs/SECURITY.md is the reasons, no more and no fewer: `scripts/conformance-page reasons` writes it.
#[test]
fn what_has_no_test_is_told_to_people() {
    let expected: Vec<String> = entries()
        .iter()
        .filter_map(|(kind, entry)| {
            Some(format!("* {kind} {}: {}", entry["number"], entry.get("why")?.as_str()?))
        })
        .collect();
    let document = read("docs/SECURITY.md");
    let told: Vec<&str> =
        document.lines().filter(|line| line.starts_with("* row ") || line.starts_with("* attack ")).collect();
    assert_eq!(told, expected, "run scripts/conformance-page reasons");
}
