//! `modelgate admin import`

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use auth::{ImportedPerson, Origin, Role};
use clap::Args;
use secrecy::SecretString;
use serde::Deserialize;

use super::admin::explained;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;
use crate::v1::rules;
use crate::v1::users::{check_email, check_name};

/// Most people in one file, since all are made in one transaction.
const MAX_LINES: usize = 10_000;
/// Most bytes of a file.
const MAX_BYTES: u64 = 16 << 20;
/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// People to make accounts for: a JSON object a line, `{"email", "name", "role"?, "password_hash"?}`.
#[derive(Args, Debug)]
pub struct Import {
    /// The file; - reads standard input.
    file: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    email: String,
    name: String,
    role: Option<String>,
    password_hash: Option<SecretString>,
}

impl Import {
    /// Runs the command: everyone in the file gets an account, or nobody does.
    pub async fn run(self, settings: Settings) -> CommandResult {
        let people = read(open(&self.file)?)?;
        let auth = start::command(&settings).await?;
        let problems = auth.import_people(&people, &Origin::default()).await.map_err(explained)?;
        let lines: Vec<String> =
            problems.iter().map(|(position, problem)| describe(*position, problem)).collect();
        if lines.is_empty() {
            print(&format!("Made {} accounts.", people.len()));
            return Ok(());
        }
        Err(imported_nobody(&lines))
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

fn read(source: impl BufRead) -> Result<Vec<ImportedPerson>, String> {
    let mut source = source.take(MAX_BYTES);
    let lines: Result<Vec<String>, _> = source.by_ref().lines().take(MAX_LINES + 1).collect();
    if source.limit() == 0 {
        return Err(format!("the file has {MAX_BYTES} bytes or more; import it in parts"));
    }
    let lines = lines.map_err(|error| format!("the file cannot be read: {error}"))?;
    if lines.len() > MAX_LINES {
        return Err(format!("the file has more than {MAX_LINES} lines; import it in parts"));
    }
    let (mut people, mut problems) = (Vec::new(), Vec::new());
    for (position, line) in lines.iter().enumerate() {
        match understood(line) {
            Ok(person) => people.push(person),
            Err(problem) => problems.push(describe(position, &problem)),
        }
    }
    if problems.is_empty() { Ok(people) } else { Err(imported_nobody(&problems)) }
}

/// The parser's own message could hold a part of the line.
fn understood(line: &str) -> Result<ImportedPerson, String> {
    let shape = "this is not a JSON object with email, name and, optionally, role and password_hash";
    let Line { email, name, role, password_hash } = serde_json::from_str(line).map_err(|_| shape)?;
    check_email(&email).map_err(|error| format!("email: {}", rules::message(error)))?;
    check_name(&name).map_err(|error| format!("name: {}", rules::message(error)))?;
    let role = role.unwrap_or_else(|| Role::User.name().to_owned());
    Ok(ImportedPerson { email, name, role, password_hash })
}

fn describe(position: usize, problem: &str) -> String {
    format!("line {}: {problem}", position + 1)
}

fn imported_nobody(problems: &[String]) -> String {
    format!("nobody was imported\n{}", problems.join("\n"))
}
