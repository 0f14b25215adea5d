//! Which passwords may be chosen.

use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result, Violations};

/// Fewest and most characters of a password.
const LENGTH: std::ops::RangeInclusive<usize> = 12..=128;

/// A password that satisfies the policy; only such a one can be set.
#[derive(Debug)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks `password` for someone known by `context` (parts of the address, the name): 12–128 characters with an
    /// upper and a lower case letter, a digit and a special character, and none of the context words in it.
    /// `field` names the field in the error.
    pub fn check(field: &str, password: SecretString, context: &[&str]) -> Result<Self> {
        let problems = problems(password.expose_secret(), context);
        if problems.is_empty() {
            Ok(Self(password))
        } else {
            Err(Error::Invalid(Violations::from([(field.to_owned(), problems)])))
        }
    }

    pub(crate) fn into_secret(self) -> SecretString {
        self.0
    }
}

fn problems(password: &str, context: &[&str]) -> Vec<String> {
    let length = password.chars().count();
    let has = |test: fn(char) -> bool| password.chars().any(test);
    let lower = password.to_lowercase();
    let contextual = context
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
        .any(|word| word.chars().count() >= 4 && lower.contains(&word.to_lowercase()));
    [
        (!LENGTH.contains(&length), format!("use {} to {} characters", LENGTH.start(), LENGTH.end())),
        (!has(char::is_uppercase), "add an upper case letter".to_owned()),
        (!has(char::is_lowercase), "add a lower case letter".to_owned()),
        (!has(|c| c.is_ascii_digit()), "add a digit".to_owned()),
        (!has(|c| !c.is_alphanumeric()), "add a character that is neither letter nor digit".to_owned()),
        (
            contextual || lower.contains("modelgate"),
            "leave out your name, your address and the product's name".to_owned(),
        ),
    ]
    .into_iter()
    .filter_map(|(broken, message)| broken.then_some(message))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_own_message() {
        assert_eq!(problems("Correct-horse-9", &[]), Vec::<String>::new());
        assert_eq!(problems("Short-1a", &[]), ["use 12 to 128 characters"]);
        assert_eq!(problems(&"aB3-".repeat(33), &[]), ["use 12 to 128 characters"]);
        assert_eq!(problems("correct-horse-9", &[]), ["add an upper case letter"]);
        assert_eq!(problems("CORRECT-HORSE-9", &[]), ["add a lower case letter"]);
        assert_eq!(problems("Correct-horse-x", &[]), ["add a digit"]);
        assert_eq!(problems("Correcthorse9x", &[]), ["add a character that is neither letter nor digit"]);
        assert_eq!(problems("Rosalind-horse-9", &["rosalind@example.com"]).len(), 1);
        assert_eq!(problems("MODELgate-horse-9", &[]).len(), 1);
    }

    #[test]
    fn a_generated_password_satisfies_the_policy() {
        for _ in 0..50 {
            assert_eq!(problems(&crate::random::password().unwrap_or_default(), &[]), Vec::<String>::new());
        }
    }
}
