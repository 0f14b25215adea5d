//! Making keys.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::SigningAlgorithm;
use super::public_key::PublicKey;
use crate::{Error, Result, crypto::random};

/// The size that is as strong as the other algorithms: 128 bits (NIST SP 800-57, part 1, table 2).
const RSA_SIZE: KeySize = KeySize::Rsa3072;
/// What stands before the `RSAPrivateKey` of RFC 8017, which the JWT library wants, in PKCS #8 of a key of this size.
const RSA_PKCS8_HEAD: usize = 26;
/// Fewest bytes of a shared secret: the length of the digest (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;
/// Fewest guesses that a shared secret must withstand, as a power of ten; the estimate ends a little above 19.
const FEWEST_GUESSES: f64 = 19.0;

/// A key that is not stored yet.
pub(super) struct Material {
    pub algorithm: SigningAlgorithm,
    pub kid: String,
    /// PKCS #8, for RSA the `RSAPrivateKey` inside it, for HMAC the secret.
    pub private: Zeroizing<Vec<u8>>,
    /// The raw key, the uncompressed point, the `RSAPublicKey`; nothing for HMAC.
    pub public: Vec<u8>,
}

impl Material {
    /// A fresh key; an RSA key takes a second, so this has a thread of its own.
    pub async fn fresh(algorithm: SigningAlgorithm) -> Result<Self> {
        let made = tokio::task::spawn_blocking(move || Self::make(algorithm)).await;
        made.map_err(|error| Error::Internal(format!("no signing key could be made: {error}")))?
    }

    /// The key that a shared secret spells. Its id is drawn: one derived from the secret would help to guess it.
    pub fn shared(secret: &SharedSecret) -> Result<Self> {
        Self::hmac(Zeroizing::new(secret.0.expose_secret().as_bytes().to_vec()))
    }

    fn make(algorithm: SigningAlgorithm) -> Result<Self> {
        let pair = match algorithm {
            SigningAlgorithm::EdDsa => ed25519(),
            SigningAlgorithm::Es256 => p256(),
            SigningAlgorithm::Rs256 => rsa(),
            SigningAlgorithm::Hs256 => return Self::hmac(Zeroizing::new(random::bytes::<32>()?.to_vec())),
        };
        let (private, public) = pair.map_err(|_| Error::Internal("no signing key could be made".into()))?;
        let shown = PublicKey::of(algorithm, &public)?;
        let kid =
            shown.map(|key| key.kid).ok_or_else(|| Error::Internal("a key pair without an id".into()))?;
        Ok(Self { algorithm, kid, private, public })
    }

    fn hmac(secret: Zeroizing<Vec<u8>>) -> Result<Self> {
        let kid = BASE64URL_NOPAD.encode(&random::bytes::<32>()?);
        Ok(Self { algorithm: SigningAlgorithm::Hs256, kid, private: secret, public: Vec::new() })
    }
}

type Pair = std::result::Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unspecified>;

fn ed25519() -> Pair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref())?;
    Ok((Zeroizing::new(document.as_ref().to_vec()), pair.public_key().as_ref().to_vec()))
}

fn p256() -> Pair {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref())?;
    Ok((Zeroizing::new(document.as_ref().to_vec()), pair.public_key().as_ref().to_vec()))
}

fn rsa() -> Pair {
    let document = rsa::KeyPair::generate(RSA_SIZE)?.as_der()?;
    let private = document.as_ref().get(RSA_PKCS8_HEAD..).ok_or(Unspecified)?;
    let pair = rsa::KeyPair::from_der(private)?;
    Ok((Zeroizing::new(private.to_vec()), pair.public_key().as_ref().to_vec()))
}

/// What the first HS256 key is made of (`JWT_SECRET_KEY`).
#[derive(Debug)]
pub struct SharedSecret(SecretString);

impl SharedSecret {
    /// Takes the text as it is, as other JWT libraries do with a text. None where it is shorter than 32 bytes, counted
    /// as what it spells where it is hexadecimal, or easy to guess.
    pub fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let length = if hexadecimal { text.len() / 2 } else { text.len() };
        let strong = length >= SHORTEST_SECRET && zxcvbn::zxcvbn(text, &[]).guesses_log10() >= FEWEST_GUESSES;
        strong.then(|| Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_secret_is_long_and_hard_to_guess() {
        for good in [
            "2f1c9e7b4a8d3c6f0e5b9a7d1c4f8e2b6a0d3c7f9e1b5a8d4c2f6e0b7a9d3c1f",
            "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
            "hG7p-2kLw9sXqVt5YbN8rEzD3mCuJ6aF",
        ] {
            assert!(SharedSecret::parse(good).is_some(), "{good}");
        }
        for weak in [
            "",
            "hG7p-2kLw9sXqVt5YbN8rEzD3mCuJ6a",
            "2f1c9e7b4a8d3c6f0e5b9a7d1c4f8e2b",
            &"a".repeat(64),
            &"0123456789abcdef".repeat(4),
            "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
        ] {
            assert!(SharedSecret::parse(weak).is_none(), "{weak}");
        }
    }

    #[test]
    fn an_id_is_a_thumbprint_and_never_the_digest_of_a_secret() {
        for &algorithm in SigningAlgorithm::ALL {
            let material = Material::make(algorithm).unwrap();
            assert_eq!(material.kid.len(), 43, "{algorithm:?}");
            let shown = PublicKey::of(algorithm, &material.public).unwrap();
            assert_eq!(shown.is_none(), algorithm == SigningAlgorithm::Hs256);
        }
        let secret = SharedSecret::parse("hG7p-2kLw9sXqVt5YbN8rEzD3mCuJ6aF").unwrap();
        assert_ne!(Material::shared(&secret).unwrap().kid, Material::shared(&secret).unwrap().kid);
    }
}
