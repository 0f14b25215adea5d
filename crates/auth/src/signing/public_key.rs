//! Public keys as others read them (RFC 7517, RFC 7518, RFC 8037).

use aws_lc_rs::rsa;
use aws_lc_rs::signature::RsaPublicKeyComponents;
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

use super::SigningAlgorithm;
use crate::{Error, Result, crypto};

/// A key as the JWKS document shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PublicKey {
    /// The id that tokens name: the RFC 7638 thumbprint.
    pub kid: String,
    /// The only algorithm that it verifies.
    pub alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: &'static str,
    /// The key itself.
    #[serde(flatten)]
    pub parameters: Parameters,
}

/// The members that make a key what it is, each in base64url.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kty")]
pub enum Parameters {
    /// An Edwards curve.
    #[serde(rename = "OKP")]
    Edwards {
        /// `Ed25519`.
        crv: &'static str,
        /// The key.
        x: String,
    },
    /// An elliptic curve.
    #[serde(rename = "EC")]
    Elliptic {
        /// `P-256`.
        crv: &'static str,
        /// First coordinate.
        x: String,
        /// Second coordinate.
        y: String,
    },
    /// RSA.
    #[serde(rename = "RSA")]
    Rsa {
        /// Modulus.
        n: String,
        /// Exponent.
        e: String,
    },
}

impl PublicKey {
    /// The key with this public half; none for HS256, which has no half that others may know.
    pub(super) fn of(algorithm: SigningAlgorithm, public: &[u8]) -> Result<Option<Self>> {
        let broken = || Error::Internal("a stored public key cannot be read".into());
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let parameters = match algorithm {
            SigningAlgorithm::EdDsa => Parameters::Edwards { crv: "Ed25519", x: text(public) },
            SigningAlgorithm::Es256 => {
                // SEC 1, section 2.3.3: the uncompressed form is 4, then both coordinates.
                let point = public.strip_prefix(&[4]).filter(|point| point.len() == 64).ok_or_else(broken)?;
                Parameters::Elliptic { crv: "P-256", x: text(&point[..32]), y: text(&point[32..]) }
            }
            SigningAlgorithm::Rs256 => {
                let key = rsa::PublicKey::from_der(public).map_err(|_| broken())?;
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(&key);
                Parameters::Rsa { n: text(&parts.n), e: text(&parts.e) }
            }
            SigningAlgorithm::Hs256 => return Ok(None),
        };
        Ok(Some(Self { kid: parameters.thumbprint()?, alg: algorithm.name(), usage: "sig", parameters }))
    }
}

impl Parameters {
    /// RFC 7638: the digest of the required members in lexical order, the order in which serde_json's map keeps them.
    fn thumbprint(&self) -> Result<String> {
        let members = serde_json::to_value(self).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(BASE64URL_NOPAD.encode(&crypto::sha256(members.to_string().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// RFC 8037, appendix A.3, and RFC 7638, section 3.1.
    #[test]
    fn thumbprints_are_those_of_the_standards() {
        let key =
            Parameters::Edwards { crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into() };
        assert_eq!(key.thumbprint().unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let key = Parameters::Rsa {
            n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
                jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs\
                8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_\
                xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
                .into(),
            e: "AQAB".into(),
        };
        assert_eq!(key.thumbprint().unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}
