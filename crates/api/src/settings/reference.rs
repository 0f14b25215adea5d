//! The settings as a page of documentation: `docs/CONFIG.md` is this text, and a test compares them.

use clap::{Arg, CommandFactory};

use super::Settings;

/// The page.
pub fn markdown() -> String {
    let command = Settings::command();
    let mut page = String::from(HEAD);
    let mut heading = "";
    for argument in command.get_arguments() {
        let section = argument.get_help_heading().unwrap_or("Program");
        if section != heading {
            heading = section;
            page.push_str(&format!("\n## {heading}\n\n| setting | default | what it is |\n|---|---|---|\n"));
        }
        page.push_str(&row(argument));
    }
    page
}

const HEAD: &str = "# Settings\n\n\
    Made by `modelgate config --reference`; a test keeps it true.\n\n\
    Each setting is an environment variable. Layers, weakest first: the defaults below, a TOML file (`--config FILE` or\n\
    `MODELGATE_CONFIG`; the same names in either case, an unknown key is an error), `.env` in the working directory, the\n\
    environment. An empty value is unset. `NAME_FILE` names a file whose text, which is not empty, is the value of `NAME`.\n\
    `modelgate config` shows what is in force, `modelgate check` what is wrong with it.\n";

fn row(argument: &Arg) -> String {
    let name = argument.get_long().unwrap_or_default();
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = match defaults.join(",") {
        text if text.is_empty() => "unset".to_owned(),
        text => format!("`{text}`"),
    };
    let choices: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let choices = if choices.is_empty() { String::new() } else { format!(" One of {}.", choices.join(", ")) };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.replace('\n', " ").replace('|', "\\|").replace('<', "&lt;");
    let help = if help.ends_with('.') || help.is_empty() { help } else { format!("{help}.") };
    format!("| `{name}` | {default} | {help}{choices} |\n")
}
