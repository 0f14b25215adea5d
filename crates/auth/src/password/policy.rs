//! Which passwords may be chosen.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use zxcvbn::matching::patterns::MatchPattern;
use zxcvbn::{Entropy, Score, zxcvbn};

use crate::password::Blocklist;
use crate::{Error, Result, Violations};

/// Fewest and most characters of a password.
const LENGTH: std::ops::RangeInclusive<usize> = 12..=128;
/// Shortest word of a name or an address that a password may not hold, in characters.
const SHORTEST_WORD: usize = 4;
/// The product's name: everyone's first idea.
const PRODUCT: &str = "modelgate";
/// A common word among so many other characters that it takes this many guesses, as a power of ten, does no harm.
const HARMLESS: f64 = 10.0;

/// What a password has to be, besides long enough and unknown to those who guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PasswordRules {
    /// Made of upper and lower case letters, digits and special characters.
    #[default]
    Strict,
    /// Hard to guess, whatever it is made of (NIST SP 800-63B-4, section 3.1.1.2; ASVS 5.0, 6.2.5).
    Nist,
}

/// The rules of an installation.
#[derive(Clone, Debug, Default)]
pub struct PasswordPolicy {
    /// What a password has to be.
    pub rules: PasswordRules,
    /// Passwords that nobody may have.
    pub blocklist: Arc<Blocklist>,
}

/// A new password. The policy is applied where it is hashed, since that takes time: nothing else
/// makes a hash to be stored.
#[derive(Debug)]
pub struct NewPassword {
    field: String,
    password: SecretString,
    context: Vec<String>,
}

impl NewPassword {
    /// Takes the password of someone known by `context` (parts of the address, the name); `field` names the field in
    /// errors. Of the policy, only the length is looked at: 12–128 characters.
    pub fn check(field: &str, password: SecretString, context: &[&str]) -> Result<Self> {
        if !LENGTH.contains(&password.expose_secret().chars().count()) {
            return Err(Error::invalid(
                field,
                format!("use {} to {} characters", LENGTH.start(), LENGTH.end()),
            ));
        }
        let words = context.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
        let words = words.filter(|word| word.chars().count() >= SHORTEST_WORD).map(str::to_lowercase);
        let context = words.chain([PRODUCT.to_owned()]).collect();
        Ok(Self { field: field.to_owned(), password, context })
    }
}

impl PasswordPolicy {
    /// The password, where it breaks no rule. Takes up to a tenth of a second.
    pub(crate) fn admit(&self, new: NewPassword) -> Result<SecretString> {
        let problems = self.problems(new.password.expose_secret(), &new.context);
        if problems.is_empty() {
            Ok(new.password)
        } else {
            Err(Error::Invalid(Violations::from([(new.field, problems)])))
        }
    }

    /// Each rule has its message, which says nothing of what it found.
    fn problems(&self, password: &str, context: &[String]) -> Vec<String> {
        let strict = self.rules == PasswordRules::Strict;
        let lacks = |test: fn(char) -> bool| strict && !password.chars().any(test);
        let lower = password.to_lowercase();
        let words: Vec<&str> = context.iter().map(String::as_str).collect();
        let estimate = zxcvbn(password, &words);
        [
            (lacks(char::is_uppercase), "add an upper case letter"),
            (lacks(char::is_lowercase), "add a lower case letter"),
            (lacks(|c| c.is_ascii_digit()), "add a digit"),
            (lacks(|c| !c.is_alphanumeric()), "add a character that is neither letter nor digit"),
            (
                words.iter().any(|word| lower.contains(word)),
                "leave out your name, your address and the product's name",
            ),
            (
                is_common(password, &estimate) || self.blocklist.holds(&lower),
                "choose another one: this is among those that are tried first",
            ),
            (
                !strict && estimate.score() < Score::Three,
                "make it longer or less regular: this is easy to guess",
            ),
        ]
        .into_iter()
        .filter(|(broken, _)| *broken)
        .map(|(_, message)| message.to_owned())
        .collect()
    }
}

/// Whether it is one word of the lists that guessing begins with, or one with digits and signs around.
fn is_common(password: &str, estimate: &Entropy) -> bool {
    let stem = password.trim_matches(|c: char| !c.is_alphabetic());
    estimate.guesses_log10() < HARMLESS && (is_word(estimate) || is_word(&zxcvbn(stem, &[])))
}

fn is_word(estimate: &Entropy) -> bool {
    matches!(estimate.sequence(), [only] if matches!(only.pattern, MatchPattern::Dictionary(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(rules: PasswordRules, password: &str, context: &[&str]) -> Vec<String> {
        let policy = PasswordPolicy { rules, ..PasswordPolicy::default() };
        match NewPassword::check("password", password.into(), context).and_then(|new| policy.admit(new)) {
            Err(Error::Invalid(violations)) => violations.into_values().flatten().collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn every_rule_has_its_own_message() {
        let strict = |password: &str, context: &[&str]| problems(PasswordRules::Strict, password, context);
        assert_eq!(strict("Correct-horse-9", &[]), Vec::<String>::new());
        assert_eq!(strict("Short-1a", &[]), ["use 12 to 128 characters"]);
        assert_eq!(strict(&"aB3-".repeat(33), &[]), ["use 12 to 128 characters"]);
        assert_eq!(strict("correct-horse-9", &[]), ["add an upper case letter"]);
        assert_eq!(strict("CORRECT-HORSE-9", &[]), ["add a lower case letter"]);
        assert_eq!(strict("Correct-horse-x", &[]), ["add a digit"]);
        assert_eq!(strict("Correcthorse9x", &[]), ["add a character that is neither letter nor digit"]);
        assert_eq!(strict("Rosalind-horse-9", &["rosalind@example.com"]).len(), 1);
        assert_eq!(strict("MODELgate-horse-9", &[]).len(), 1);
    }

    #[test]
    fn common_words_are_refused_whatever_stands_around_them() {
        for common in [
            "Password123!",
            "Welcome2024!!",
            "Qwerty123456!",
            "P@ssw0rd!2024",
            "Iloveyou123!!",
            "Letmein123456!",
            "!!Dragon1234567",
            "Summer2024!!!",
        ] {
            for rules in [PasswordRules::Strict, PasswordRules::Nist] {
                assert!(
                    problems(rules, common, &[]).iter().any(|message| message.contains("tried first")),
                    "{common} {rules:?}"
                );
            }
        }
    }

    #[test]
    fn nist_asks_for_strength_and_for_no_kind_of_character() {
        let nist = |password: &str| problems(PasswordRules::Nist, password, &["rosalind@example.com"]);
        for good in ["jkdfhgkjweoiurtyvbnm", "correct horse battery", "äöüßéèçñøåœþðł", "829461037265918"]
        {
            assert_eq!(nist(good), Vec::<String>::new(), "{good}");
        }
        for weak in
            ["aaaaaaaaaaaaaaaaaaaa", "abcdefghijklmnop", "qwertyuiopasdf", "passwordpassword", "123456789012"]
        {
            assert!(!nist(weak).is_empty(), "{weak}");
        }
        assert!(!nist("rosalind goes for a walk").is_empty());
    }

    #[test]
    fn a_generated_password_satisfies_either_policy() {
        for rules in [PasswordRules::Strict, PasswordRules::Nist] {
            for _ in 0..20 {
                let password = crate::crypto::random::password().unwrap_or_default();
                assert!(!password.is_empty());
                assert_eq!(problems(rules, &password, &["ada@example.com"]), Vec::<String>::new());
            }
        }
    }
}
