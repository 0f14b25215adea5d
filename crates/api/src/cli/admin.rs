//! `modelgate admin`

use std::io::Read;

use auth::{NewUserRequest, Origin, Role};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};

use super::calibrate::Calibrate;
use super::import::Import;
use super::{CommandResult, print};
use crate::settings::Settings;
use crate::start;
use crate::v1::rules;
use crate::v1::users::{check_email, check_name};

/// Longest password read from standard input, in bytes.
const MAX_PASSWORD: u64 = 1024;

/// Manage administrators and people.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Make an administrator; the only way to the first one.
    Create(Create),
    /// Make accounts for people from elsewhere, who keep their passwords: for everyone in a file, or for nobody.
    Import(Import),
    /// Measure how much a password's hash may cost on this machine, and print the settings for it.
    Calibrate(Calibrate),
}

/// An administrator to make.
#[derive(Args, Debug)]
pub struct Create {
    /// The e-mail address to log in with.
    #[arg(long)]
    email: String,
    /// The name to show.
    #[arg(long, default_value = "Administrator")]
    name: String,
    #[command(flatten)]
    password: Password,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Password {
    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
    /// Make a password and print it, alone, on standard output.
    #[arg(long)]
    generate: bool,
}

impl Admin {
    /// Runs the command.
    pub async fn run(self, settings: Settings) -> CommandResult {
        match self {
            Self::Create(create) => create.run(settings).await,
            Self::Import(import) => import.run(settings).await,
            Self::Calibrate(calibrate) => calibrate.run(),
        }
    }
}

impl Create {
    async fn run(self, settings: Settings) -> CommandResult {
        self.check()?;
        let password = if self.password.generate { generated()? } else { typed()? };
        let auth = start::command(&settings).await?;
        let request = NewUserRequest { email: self.email, name: self.name, password: password.clone() };
        let user = auth.create_user(request, Role::Admin, &Origin::default()).await.map_err(explained)?;
        if self.password.generate {
            print(password.expose_secret());
        } else {
            print(&format!("Made the administrator {}.", user.email));
        }
        Ok(())
    }

    /// The rules of a registration.
    fn check(&self) -> CommandResult {
        check_email(&self.email).map_err(|error| format!("--email: {}", rules::message(error)))?;
        check_name(&self.name).map_err(|error| format!("--name: {}", rules::message(error)))
    }
}

fn generated() -> Result<SecretString, String> {
    auth::random_password().map(Into::into).map_err(|error| error.to_string())
}

fn typed() -> Result<SecretString, String> {
    let mut text = String::new();
    // Longer than any password with the end of its line: it is refused as a whole, not cut.
    let read = std::io::stdin().take(MAX_PASSWORD + 3).read_to_string(&mut text);
    read.map_err(|error| format!("the password cannot be read: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

pub(super) fn explained(error: auth::Error) -> String {
    match error {
        auth::Error::Invalid(violations) => {
            let lines =
                violations.iter().map(|(field, messages)| format!("{field}: {}", messages.join("; ")));
            lines.collect::<Vec<_>>().join("\n")
        }
        other => storage::with_causes(&other),
    }
}
