//! Putting the layers together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::ValueParser;
use clap::{Arg, CommandFactory, Parser};

use super::{Settings, SettingsError};

/// Names the configuration file where `--config` is not given.
const FILE_VARIABLE: &str = "MODELGATE_CONFIG";
/// A setting whose name ends so is read from the file it names.
const FILE_SUFFIX: &str = "_FILE";

type Values = BTreeMap<String, String>;

/// Reads the settings from a TOML file (`file`, or what `MODELGATE_CONFIG` names), `.env` in the working directory and
/// the environment; later layers win, empty values are unset.
pub fn load(file: Option<&Path>) -> Result<Settings, SettingsError> {
    parse(&merged(layers(file)?)?)
}

/// Every setting with the value in force, in the form of a `.env` file; secrets are hidden.
pub fn in_force(file: Option<&Path>) -> Result<Vec<(String, String)>, SettingsError> {
    let values = merged(layers(file)?)?;
    parse(&values)?;
    let shown = |argument: &Arg| {
        let name = argument.get_long()?.to_owned();
        let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
        let value = match values.get(&name) {
            Some(_) if is_secret(argument) => "(hidden)".into(),
            Some(value) => value.clone(),
            None => defaults.collect::<Vec<_>>().join(","),
        };
        Some((name, value))
    };
    Ok(Settings::command().get_arguments().filter_map(shown).collect())
}

fn is_secret(argument: &Arg) -> bool {
    argument.get_value_parser().type_id() == ValueParser::new(super::secret).type_id()
}

fn layers(file: Option<&Path>) -> Result<[Values; 3], SettingsError> {
    let environment = read_environment()?;
    let file = file.map(Path::to_owned).or_else(|| named_file(&environment));
    let from_file = file.map(|path| read_toml(&path)).transpose()?.unwrap_or_default();
    Ok([from_file, read_dotenv()?, environment])
}

/// Variables of other programs may hold any bytes.
fn read_environment() -> Result<Values, SettingsError> {
    let known = names();
    let mut values = Values::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(values.insert(name, value)),
            Err(_) if known.iter().any(|known| name.strip_suffix(FILE_SUFFIX).unwrap_or(&name) == known) => {
                return Err(SettingsError(format!("{name} is not UTF-8")));
            }
            Err(_) => {}
        }
    }
    Ok(values)
}

fn named_file(environment: &Values) -> Option<PathBuf> {
    environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Merges the layers, weakest first.
fn merged(layers: impl IntoIterator<Item = Values>) -> Result<Values, SettingsError> {
    let known = names();
    let mut values = Values::new();
    for layer in layers {
        values.extend(known_values(&known, layer)?);
    }
    Ok(values)
}

fn parse(values: &Values) -> Result<Settings, SettingsError> {
    let command = Settings::command();
    let delimiter = |name: &str| {
        command.get_arguments().find(|argument| argument.get_long() == Some(name))?.get_value_delimiter()
    };
    let arguments = values.iter().map(|(name, value)| match delimiter(name) {
        // People write a space after a comma.
        Some(delimiter) => {
            let parts: Vec<&str> = value.split(delimiter).map(str::trim).collect();
            format!("--{name}={}", parts.join(&delimiter.to_string()))
        }
        None => format!("--{name}={value}"),
    });
    Settings::try_parse_from(arguments).map_err(|error| {
        let text = error.to_string();
        let text = text.trim_start_matches("error: ").replace("'--", "'");
        let lines = text.lines().take_while(|line| !line.starts_with("For more"));
        SettingsError(lines.collect::<Vec<_>>().join("\n").trim().to_owned())
    })
}

/// The names of all settings.
pub(super) fn names() -> Vec<String> {
    Settings::command()
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect()
}

/// The settings of one layer, `NAME_FILE` resolved.
fn known_values(known: &[String], layer: Values) -> Result<Values, SettingsError> {
    let mut values = Values::new();
    for name in known {
        let direct = layer.get(name).filter(|value| !value.is_empty());
        let indirect = layer.get(&format!("{name}{FILE_SUFFIX}")).filter(|path| !path.is_empty());
        let value = match (direct, indirect) {
            (Some(_), Some(_)) => {
                return Err(SettingsError(format!("{name} and {name}{FILE_SUFFIX} are both set; keep one")));
            }
            (Some(value), None) => value.clone(),
            (None, Some(path)) => fs::read_to_string(path)
                .map_err(|error| SettingsError(format!("{name}{FILE_SUFFIX} cannot be read: {error}")))?
                .trim_end_matches(['\r', '\n'])
                .to_owned(),
            (None, None) => continue,
        };
        if value.is_empty() {
            return Err(SettingsError(format!(
                "{name}{FILE_SUFFIX} names an empty file; unset it, or write the value"
            )));
        }
        if value.starts_with("$(") {
            return Err(SettingsError(format!(
                "{name} holds a command that was not run; write its output instead"
            )));
        }
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn read_dotenv() -> Result<Values, SettingsError> {
    let lines = match dotenvy::from_path_iter(".env") {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(Values::new()),
        Err(error) => return Err(SettingsError(format!(".env cannot be read: {error}"))),
    };
    let (mut values, mut before) = (Values::new(), String::new());
    for line in lines {
        let (name, value) = line.map_err(|error| {
            // The reader's own words show the line, which may hold a secret.
            let reason = match error {
                dotenvy::Error::LineParse(..) => "write each line as NAME='value'".to_owned(),
                other => other.to_string(),
            };
            SettingsError(format!(".env cannot be read{before}: {reason}"))
        })?;
        before = format!(" after {name}");
        values.insert(name, value);
    }
    Ok(values)
}

/// A TOML file with the settings' names, in either case, as keys; a key that is no setting is an error.
fn read_toml(path: &Path) -> Result<Values, SettingsError> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("{shown} cannot be read: {error}")))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        SettingsError(format!("{shown}, line {line}: {}", error.message()))
    })?;
    let (known, mut values) = (names(), Values::new());
    for (key, value) in table {
        let wrong = |what: &str| SettingsError(format!("{shown}: {what}"));
        let name = key.to_uppercase();
        let base = name.strip_suffix(FILE_SUFFIX).unwrap_or(&name);
        if !known.iter().any(|known| *known == name || known == base) {
            return Err(wrong(&format!("there is no setting {key:?}; see docs/CONFIG.md")));
        }
        let value = plain(&value).ok_or_else(|| {
            wrong(&format!("{key:?} must be text, a number, true, false or a list of those"))
        })?;
        if values.insert(name, value).is_some() {
            return Err(wrong(&format!("{key:?} is set twice, in capitals and without; keep one")));
        }
    }
    Ok(values)
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            items.iter().map(plain).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn combine<const N: usize>(layers: [Values; N]) -> Result<Settings, SettingsError> {
        parse(&merged(layers)?)
    }

    fn layer(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn later_layers_win_and_empty_is_unset() {
        let settings =
            combine([layer(&[("PORT", "1"), ("HOST", "::1")]), layer(&[("PORT", "2"), ("HOST", "")])])
                .unwrap();
        assert_eq!(settings.program.port, 2);
        assert_eq!(settings.program.host.to_string(), "::1");
        assert!(settings.program.is_production(), "an unset APP_ENV is production");
    }

    #[test]
    fn a_list_may_have_spaces_around_its_commas() {
        let spaced = [("EXECUTION_PROVIDERS", "cuda, cpu"), ("ALLOWED_HOSTS", " a.example , b.example")];
        let settings = combine([layer(&spaced)]).unwrap();
        assert_eq!(settings.models.execution_providers.len(), 2);
        assert_eq!(settings.program.allowed_hosts, ["a.example", "b.example"]);
    }

    #[test]
    fn a_wrong_value_names_its_setting() {
        let error = combine([layer(&[("PORT", "eighty")])]).unwrap_err().to_string();
        assert!(error.contains("PORT") && error.contains("eighty"), "{error}");
        for host in ["https://example.com", "example.com:443", "a.example b.example", "a.example,,"] {
            let error = combine([layer(&[("ALLOWED_HOSTS", host)])]).unwrap_err().to_string();
            assert!(error.contains("ALLOWED_HOSTS") && error.contains("no host name"), "{error}");
        }
        combine([layer(&[("ALLOWED_HOSTS", "*, *.example.com, localhost, [::1], 127.0.0.1")])]).unwrap();
        let error = combine([layer(&[("ALLOWED_ORIGINS", "*")])]).unwrap_err().to_string();
        assert!(error.contains("ALLOWED_ORIGINS") && error.contains("wildcard"), "{error}");
        let error =
            combine([layer(&[("ENCRYPTION_KEY", "$(openssl rand -base64 32)")])]).unwrap_err().to_string();
        assert!(error.contains("not run"), "{error}");
    }

    #[test]
    fn a_file_may_hold_a_secret_and_a_toml_file_no_unknown_key() {
        let folder = std::env::temp_dir().join(format!("modelgate-settings-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (secret, config) = (folder.join("token"), folder.join("modelgate.toml"));
        fs::write(&secret, "hush\n").unwrap();
        let settings = combine([layer(&[("METRICS_TOKEN_FILE", secret.to_str().unwrap())])]).unwrap();
        assert_eq!(
            secrecy::ExposeSecret::expose_secret(settings.program.metrics_token.as_ref().unwrap()),
            "hush"
        );
        fs::write(&config, "port = 9\nTRUSTED_PROXIES = [\"10.0.0.0/8\"]\n").unwrap();
        assert_eq!(combine([read_toml(&config).unwrap()]).unwrap().program.trusted_proxies.len(), 1);
        fs::write(&config, "port = 1\nPORT = 2\n").unwrap();
        assert!(read_toml(&config).unwrap_err().to_string().contains("twice"));
        fs::write(&secret, "\n").unwrap();
        let empty = combine([layer(&[("METRICS_TOKEN_FILE", secret.to_str().unwrap())])]).unwrap_err();
        assert!(empty.to_string().contains("METRICS_TOKEN_FILE names an empty file"), "{empty}");
        fs::write(&config, "prot = 9\n").unwrap();
        assert!(read_toml(&config).unwrap_err().to_string().contains("prot"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
