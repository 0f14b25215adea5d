//! What is shipped around the program: no engine is needed to read that the compose file and the image are safe.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use crate::harness::workspace;
use crate::workspace::sources;

/// Parts of names whose values are secrets.
const SECRET_WORDS: [&str; 4] = ["PASSWORD", "SECRET", "TOKEN", "KEY"];

fn read(name: &str) -> String {
    fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compose() -> Value {
    serde_saphyr::from_str(&read("docker-compose.yml")).expect("docker-compose.yml is YAML")
}

fn services() -> Vec<(String, Value)> {
    let services = compose()["services"].as_object().cloned().expect("services");
    services.into_iter().collect()
}

/// The service whose image has this name.
fn service(image: &str) -> Value {
    let all = services();
    let named = |service: &Value| service["image"].as_str().is_some_and(|name| name.starts_with(image));
    let found = all.into_iter().find(|(_, service)| named(service));
    found.unwrap_or_else(|| panic!("no service runs {image}")).1
}

/// `environment`, whether written as a map or as a list.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match &service["environment"] {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Value::Array(lines) => lines
            .iter()
            .filter_map(|line| line.as_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_WORDS.iter().any(|word| name.contains(word))
        && !name.ends_with("_FILE")
        && !name.contains("EXPIRES")
}

/// The settings of `docs/CONFIG.md` with their defaults; another test keeps that page true.
fn settings() -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((name, cells.next()?.trim_matches('`').to_owned()))
    };
    let settings: BTreeMap<_, _> = read("docs/CONFIG.md").lines().filter_map(row).collect();
    assert!(settings.len() > 30, "{settings:?}");
    settings
}

/// `NAME=value` lines of `.env.example`, commented out or not.
fn example() -> Vec<(String, String, bool)> {
    let assignment = |line: &str| {
        let commented = line.starts_with('#');
        let (name, value) = line.trim_start_matches(['#', ' ']).split_once('=')?;
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let value = value.split(" #").next().unwrap_or_default().trim();
        (!name.is_empty() && name.chars().all(is_name))
            .then(|| (name.to_owned(), value.to_owned(), commented))
    };
    read(".env.example").lines().filter_map(assignment).collect()
}

#[test]
fn compose_publishes_the_api_only() {
    for store in ["postgres", "redis"] {
        assert!(service(store).get("ports").is_none(), "{store} is published");
        assert_ne!(service(store)["network_mode"], "host");
    }
    let published: Vec<_> =
        services().into_iter().filter(|(_, service)| service.get("ports").is_some()).collect();
    assert_eq!(published.len(), 1, "one service is published");
    let (_, api) = &published[0];
    assert!(api["image"].as_str().is_some_and(|image| image.contains("modelgate")));
    let ports: Vec<&str> = api["ports"].as_array().expect("ports").iter().filter_map(Value::as_str).collect();
    for setting in ["PORT", "GRPC_PORT"] {
        let inside = format!(":{}", environment(api)[setting]);
        assert!(ports.iter().any(|port| port.ends_with(&inside)), "{setting} is not published: {ports:?}");
    }
    assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{ports:?}");
}

#[test]
fn compose_isolates_the_stores() {
    let networks = compose()["networks"].clone();
    for store in ["postgres", "redis"] {
        let service = service(store);
        let joined: Vec<String> = match &service["networks"] {
            Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            Value::Object(names) => names.keys().cloned().collect(),
            other => panic!("{store} joins {other}"),
        };
        assert!(!joined.is_empty());
        for network in joined {
            assert_eq!(networks[&network]["internal"], true, "{store} can leave through {network}");
        }
    }
}

#[test]
fn compose_wants_every_secret_from_outside() {
    let mut wanted = BTreeSet::new();
    for (name, service) in services() {
        for (variable, value) in environment(&service).into_iter().filter(|(name, _)| is_secret(name)) {
            assert!(value.starts_with("${") && value.contains(":?"), "{name}: {variable}={value}");
            wanted.insert(variable);
        }
    }
    assert!(wanted.contains("ENCRYPTION_KEY"), "{wanted:?}");
    // Wherever a secret is put in, such as into a URL or a command, it must be demanded as well.
    for use_of in read("docker-compose.yml").split("${").skip(1) {
        let inside = use_of.split('}').next().unwrap_or_default();
        let name = inside.split(':').next().unwrap_or_default();
        assert!(!is_secret(name) || inside.contains(":?"), "${{{inside}}}");
    }
}

#[test]
fn compose_gives_the_program_settings_that_it_knows() {
    let known = settings();
    let environment = environment(&service("modelgate"));
    for name in environment.keys() {
        let name = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains_key(name), "{name} is no setting");
    }
    assert_eq!(environment.get("APP_ENV").map(String::as_str), Some("production"));
    for needed in ["DATABASE_URL", "REDIS_URL", "ENCRYPTION_KEY", "AUDIT_KEY"] {
        assert!(
            environment.contains_key(needed) || environment.contains_key(&format!("{needed}_FILE")),
            "{needed}"
        );
    }
}

#[test]
fn redis_forgets_nothing() {
    let redis = service("redis");
    let command = redis["command"].to_string();
    assert!(command.contains("noeviction"), "{command}");
    assert!(command.contains("appendonly"), "{command}");
    assert!(!command.contains("appendonly no") && !command.contains(r#""appendonly","no""#), "{command}");
    assert!(command.contains("maxmemory"), "{command}");
}

#[test]
fn every_container_is_small_and_harmless() {
    for (name, service) in services() {
        let limits = &service["deploy"]["resources"]["limits"];
        let limited = |long: &str, short: &str| limits.get(long).or_else(|| service.get(short)).is_some();
        assert!(limited("memory", "mem_limit"), "{name} has no memory limit");
        assert!(limited("cpus", "cpus"), "{name} has no processor limit");
        assert!(limited("pids", "pids_limit"), "{name} has no process limit");
        assert!(service["security_opt"].to_string().contains("no-new-privileges"), "{name}");
        assert!(service["cap_drop"].to_string().contains("ALL"), "{name} keeps capabilities");
        assert_eq!(service["read_only"], true, "{name} can write to its image");
        assert!(service.get("privileged").is_none(), "{name}");
        assert!(!service["volumes"].to_string().contains("docker.sock"), "{name}");
        assert!(service.get("restart").is_some(), "{name} does not restart");
    }
    for store in ["postgres", "redis"] {
        assert!(service(store)["healthcheck"].get("test").is_some(), "{store} has no health check");
    }
}

/// The value that a line such as `ARG NAME=value` gives to `${NAME}`.
fn resolved(dockerfile: &str, image: &str) -> String {
    let Some(name) = image.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return image.to_owned();
    };
    let default = dockerfile.lines().find_map(|line| line.strip_prefix(&format!("ARG {name}=")));
    default.unwrap_or_else(|| panic!("{name} has no default")).trim().to_owned()
}

fn is_pinned(image: &str) -> bool {
    let tag = image.split('@').next().unwrap_or_default().rsplit_once(':').map_or("", |(_, tag)| tag);
    tag.starts_with(|c: char| c.is_ascii_digit()) || tag.contains('-') || image.contains("@sha256:")
}

#[test]
fn bases_are_pinned() {
    for store in ["postgres", "redis"] {
        let image = service(store)["image"].as_str().map(str::to_owned).unwrap_or_default();
        assert!(is_pinned(&image), "{image}");
    }
    let dockerfile = read("Dockerfile");
    let mut stages: Vec<&str> = Vec::new();
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        assert!(stages.contains(&words[0]) || is_pinned(&resolved(&dockerfile, words[0])), "FROM {line}");
        stages.push(words.get(2).unwrap_or(&""));
    }
    assert!(stages.len() >= 2, "what builds the program does not belong into its image");
}

#[test]
fn the_image_runs_as_nobody_special_and_can_be_probed() {
    let dockerfile = read("Dockerfile");
    let last = |word: &str| {
        let line = dockerfile.lines().rfind(|line| line.trim_start().starts_with(word));
        line.unwrap_or_else(|| panic!("no {word}")).to_owned()
    };
    assert!(last("USER ").trim_start_matches("USER ").starts_with("1000"), "{}", last("USER "));
    let probe = dockerfile.split("HEALTHCHECK").nth(1).expect("a health check");
    assert!(probe.contains("modelgate") && probe.contains("check") && probe.contains("/health/live"));
    assert!(last("ENTRYPOINT ").contains("modelgate"));
    for word in ["ENV ", "ARG "] {
        let mut lines = dockerfile.lines().filter(|line| line.trim_start().starts_with(word));
        assert!(!lines.any(is_secret), "a secret is baked in");
    }
    assert!(!dockerfile.contains("ADD http"), "a download without a checksum");
}

#[test]
fn the_image_takes_no_secret_along() {
    let ignored = read(".dockerignore");
    for name in [".git", ".env", "target", "data"] {
        let covers =
            |line: &str| matches!(line.trim_matches('/'), "*" | "**") || line.trim_matches('/') == name;
        assert!(ignored.lines().map(str::trim).any(covers), "{name} goes into the image's context");
    }
}

/// Crates read files beside them while they are built, such as `../../migrations/sqlite`.
#[test]
fn the_image_is_built_from_all_that_the_build_reads() {
    let context = read(".dockerignore");
    let taken: BTreeSet<&str> = context.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut wanted = BTreeSet::from(["Cargo.toml", "Cargo.lock", "crates", "tests"].map(str::to_owned));
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("crates")) {
        let in_tests = path.components().any(|part| part.as_os_str() == "tests");
        let beside = ["\"../../", "=../../"].into_iter().flat_map(|mark| text.split(mark).skip(1));
        let names = beside.filter_map(|rest| rest.split(['/', '"', '\n']).next());
        let ours = names.filter(|name| !in_tests && !name.is_empty() && workspace().join(name).exists());
        wanted.extend(ours.map(str::to_owned));
    }
    assert!(wanted.contains("migrations") && wanted.contains("proto"), "{wanted:?}");
    let missing: Vec<_> = wanted.iter().filter(|name| !taken.contains(name.as_str())).collect();
    assert!(missing.is_empty(), ".dockerignore keeps {missing:?} from the build");
}

#[test]
fn the_image_is_built_with_a_profile_that_was_recorded_for_its_compiler() {
    let dockerfile = read("Dockerfile");
    let (_, after) = dockerfile.split_once("FROM rust:").expect("a stage with the compiler");
    let version = after.split('-').next().unwrap_or_default();
    assert!(dockerfile.contains("./scripts/build "), "the image is not built by scripts/build");
    let record =
        workspace().join(format!("scripts/profile/rustc-{version}-x86_64-unknown-linux-gnu.profdata"));
    assert!(record.is_file(), "scripts/record-profile was not run with Rust {version}");
    let context = read(".dockerignore");
    for needed in ["!scripts/build", "!scripts/profile"] {
        assert!(context.lines().any(|line| line == needed), "the build of the image lacks {needed}");
    }
}

#[test]
fn the_example_has_every_setting_and_no_other() {
    let known: BTreeSet<String> = settings().into_keys().collect();
    let listed: BTreeSet<String> = example().into_iter().map(|(name, ..)| name).collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    assert!(missing.is_empty(), ".env.example lacks {missing:?}");
    let compose = read("docker-compose.yml");
    for name in listed.difference(&known) {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains(base) || compose.contains(&format!("${{{name}")), "{name} is no setting");
    }
}

#[test]
fn the_example_tells_true_defaults_and_no_usable_secret() {
    let known = settings();
    for (name, value, commented) in example() {
        let Some(default) = known.get(&name) else { continue };
        if commented && default != "unset" {
            assert_eq!(&value, default, "the default of {name}");
        }
        let strong = value.len() >= 32 && !value.contains("${") && !value.to_lowercase().contains("change");
        assert!(!(is_secret(&name) && strong), "{name} could be used as it stands");
    }
}

#[test]
fn scripts_stop_at_the_first_error() {
    let folder = workspace().join("scripts");
    let mut scripts = vec![workspace().join(".ci/run")];
    scripts.extend(fs::read_dir(folder).expect("scripts").map(|entry| entry.expect("an entry").path()));
    for script in scripts.into_iter().filter(|path| path.is_file()) {
        let text = fs::read_to_string(&script).expect("a script");
        let mode = fs::metadata(&script).expect("its mode").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{} cannot be run", script.display());
        if text.lines().next().is_some_and(|line| line.contains("bash")) {
            assert!(text.contains("set -euo pipefail") || text.contains("exec "), "{}", script.display());
            let parsed = Command::new("bash").arg("-n").arg(&script).output().expect("bash");
            assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
        }
    }
    assert!(read(".ci/run").contains("./scripts/test"), "the robot runs what people run");
}

#[test]
fn exceptions_in_the_lists_of_forbidden_things_have_reasons() {
    let clippy: toml::Table = read("clippy.toml").parse().expect("clippy.toml");
    let methods = clippy["disallowed-methods"].as_array().expect("a list");
    assert!(methods.iter().all(|method| method["reason"].as_str().is_some_and(|reason| !reason.is_empty())));
    let deny: toml::Table = read("deny.toml").parse().expect("deny.toml");
    let banned = deny["bans"]["deny"].to_string();
    for name in ["openssl-sys", "native-tls", "ring", "rsa"] {
        assert!(banned.contains(name), "deny.toml lets {name} in");
    }
}
