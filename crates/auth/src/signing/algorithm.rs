//! What access tokens can be signed with.

use storage::named_enum;

named_enum! {
    /// A signature algorithm of RFC 7518 or RFC 8037. It belongs to a key, never to a token.
    pub enum SigningAlgorithm {
        /// Ed25519.
        EdDsa = "EdDSA",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// RSASSA-PKCS1-v1_5 with SHA-256, for verifiers that know nothing newer.
        Rs256 = "RS256",
        /// HMAC with SHA-256: a verifier could also sign, so its keys are published nowhere.
        Hs256 = "HS256",
    }
}
