//! `modelgate check`

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{CommandResult, SettingsSource, print};
use crate::settings::{Finding, Settings, Severity, findings};
use crate::start;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much of an answer is read.
const MAX_ANSWER: u64 = 64 << 10;

/// Check the settings and the stores.
#[derive(Args, Debug)]
pub struct Check {
    /// Check a running server instead: succeeds when this address answers 200, for health checks in containers.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

impl Check {
    /// Runs the command.
    pub async fn run(self, settings: impl SettingsSource) -> CommandResult {
        match self.url {
            Some(url) => probe(&url),
            None => inspect(&settings()?).await,
        }
    }
}

async fn inspect(settings: &Settings) -> CommandResult {
    print_findings(&findings(settings))?;
    tell_missing_files(settings);
    let store = start::store(settings).await?;
    print_findings(&start::wall(settings, &store).await?)?;
    store.ping().await.map_err(|error| format!("database: {}", storage::with_causes(&error)))?;
    let ephemeral =
        start::ephemeral(settings).map_err(|error| format!("redis: {}", storage::with_causes(&error)))?;
    ephemeral.ping().await.map_err(|error| format!("redis: {}", storage::with_causes(&error)))?;
    let vault = start::files(settings)?.vault;
    vault.ping().await.map_err(|error| format!("FILE_DIR: {}", storage::with_causes(&error)))?;
    // Whether the keys fit what the database was written with, and the files that are named can be read.
    start::auth(settings, store, ephemeral).await?;
    print("The settings are good and the stores answer.");
    Ok(())
}

/// A server starts without them, and serves no model.
fn tell_missing_files(settings: &Settings) {
    let inference = start::inference(settings);
    if let Err(error) = std::fs::read_dir(&inference.model_dir) {
        print(&format!("note: MODEL_DIR ({}) cannot be read: {error}", inference.model_dir.display()));
    }
    // One without a folder is looked for by the system.
    let is_missing = |library: &PathBuf| library.components().count() > 1 && !library.is_file();
    if let Some(library) = inference.runtime_library.filter(is_missing) {
        print(&format!("note: ORT_DYLIB_PATH ({}) is no file", library.display()));
    }
}

fn print_findings(found: &[Finding]) -> CommandResult {
    for finding in found {
        let severity = if finding.severity == Severity::Fatal { "wrong" } else { "note" };
        print(&format!("{severity}: {}", finding.text));
    }
    if found.iter().any(|finding| finding.severity == Severity::Fatal) {
        return Err("the server would not start".into());
    }
    Ok(())
}

/// Plain HTTP to this machine is all that a container's health check needs.
fn probe(url: &str) -> CommandResult {
    let wrong = "write the URL as http://host:port/path";
    let rest = url.strip_prefix("http://").ok_or(wrong)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    authority.rsplit_once(':').ok_or(wrong)?;
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("{authority} did not answer within {} s", PATIENCE.as_secs())
        }
        _ => format!("{authority}: {error}"),
    };
    let mut addresses = authority.to_socket_addrs().map_err(failed)?;
    let address = addresses.next().ok_or("the host has no address")?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n")
        .map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap_or("nothing");
    if status == "200" { Ok(()) } else { Err(format!("{url} answered {status}")) }
}
