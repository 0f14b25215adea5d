//! E-mail addresses: their normal form, how they are found although they are sealed, and which characters are visible.

use data_encoding::HEXLOWER;
use storage::{Scope, SealedColumn, Service, Store};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::crypto::sealing::EncryptionKeys;
use crate::{Error, Result, crypto, crypto::random};

/// The name of the index's key among the program's secrets.
const INDEX_KEY: &str = "email_index";

/// A text for comparing: compatible forms (NFKC) and cases of a letter are one.
pub(crate) fn folded(text: &str) -> String {
    // Lower case can take a text out of its normal form.
    text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// The form of an address that is the same in each of its spellings: case, width, surrounding space, and a domain in
/// its own script or in ASCII (UTS #46).
fn normal_form(address: &str) -> String {
    let address = folded(address.trim());
    let ascii = |domain: &str| idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    match address.rsplit_once('@') {
        Some((user, domain)) => format!("{user}@{}", ascii(domain)),
        None => address,
    }
}

/// Whether every character of a text shows: two texts that look the same must not differ in what nobody sees.
pub fn is_visible(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || c.is_whitespace() || is_ignorable(c))
}

/// `Default_Ignorable_Code_Point` (Unicode 16, `DerivedCoreProperties.txt`) and interlinear annotation.
fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Finds addresses in the database, where they are sealed, by a keyed digest of their normal form. With the database
/// but without the key nobody can even try addresses out.
pub(crate) struct EmailIndex(Zeroizing<Vec<u8>>);

impl EmailIndex {
    /// Reads the index's key, making it where there is none. It is a secret of its own, because it must outlive a
    /// change of `ENCRYPTION_KEY`.
    pub async fn load(store: &Store, encryption: &EncryptionKeys) -> Result<Self> {
        let place = SealedColumn::Secret.place(INDEX_KEY);
        let fresh = Zeroizing::new(random::bytes::<32>()?);
        let mut tx = store.begin(Scope::Service(Service::Setup)).await?;
        // Of replicas that start at once, one keeps its key and all read that.
        tx.secrets().keep(INDEX_KEY, &encryption.seal(&place, &*fresh)?).await?;
        let sealed = tx.secrets().find(INDEX_KEY).await?;
        tx.commit().await?;
        let sealed = sealed.ok_or_else(|| Error::Internal(format!("{place} is missing")))?;
        Ok(Self(Zeroizing::new(encryption.open(&place, &sealed)?)))
    }

    /// What an identity at another issuer is found by. No address has a control character, so none is found by the
    /// same.
    pub fn of_identity(&self, issuer: &str, subject: &str) -> String {
        let text = format!("identity\0{}\0{issuer}\0{subject}", issuer.len());
        HEXLOWER.encode(&crypto::authenticate(&self.0, text.as_bytes()))
    }

    /// What an address, in any spelling, is found by.
    pub fn of(&self, address: &str) -> String {
        HEXLOWER.encode(&crypto::authenticate(&self.0, normal_form(address).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_an_address_are_one() {
        for spelling in [
            "ada@bücher.example",
            " ADA@BÜCHER.example\t",
            "ada@bu\u{308}cher.example",
            "ada@xn--bcher-kva.example",
            "ａｄａ@bücher．example",
        ] {
            assert_eq!(normal_form(spelling), "ada@xn--bcher-kva.example", "{spelling:?}");
        }
        for other in ["a.da@bücher.example", "ada+1@bücher.example", "аda@bücher.example", "ada", "", "@"]
        {
            assert_ne!(normal_form(other), "ada@xn--bcher-kva.example", "{other:?}");
        }
    }

    #[test]
    fn what_nobody_sees_is_found() {
        assert!(is_visible("ada@bücher.example") && is_visible("ада@пример.example"));
        for invisible in
            ["\u{200b}", "\u{ad}", "\u{feff}", "\u{202e}", "\u{3164}", "\0", "\n", " ", "\u{a0}", "\u{e0041}"]
        {
            assert!(!is_visible(&format!("ada@exam{invisible}ple.com")), "{invisible:?}");
        }
    }
}
