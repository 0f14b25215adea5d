//! Signatures of versions: a holder of one of the operator's keys vouches for all files of a version.
//!
//! What is signed is the list of the files as `sha256sum` writes it, one line for each, in the order of their names:
//! the SHA-256 in lower-case hexadecimal, two spaces, the name.

use std::{io::Read, path::Path};

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use data_encoding::BASE64;

use super::integrity::Digests;

/// The signature of a version lies beside its model: 64 bytes, or the same in Base64.
pub const SIGNATURE_FILE: &str = "model.sig";
/// More than this is no signature.
const MAX_BYTES: u64 = 1024;
/// Length of a signature, in bytes.
const LENGTH: usize = 64;

/// A public key for Ed25519 (RFC 8032).
pub type SigningKey = [u8; 32];

/// The text that is signed.
pub(super) fn signed_text(files: &Digests) -> String {
    files.iter().map(|(file, sha256)| format!("{sha256}  {file}\n")).collect()
}

/// Whether one of the keys signed the files of a version. Without keys nothing needs a signature.
pub(crate) fn check(keys: &[SigningKey], folder: &Path, files: &Digests) -> Result<(), String> {
    if keys.is_empty() {
        return Ok(());
    }
    let missing =
        |_| format!("it is not signed: {SIGNATURE_FILE} is missing, and MODEL_SIGNING_KEYS are set");
    let mut bytes = Vec::new();
    let file = super::open(&folder.join(SIGNATURE_FILE)).map_err(missing)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(missing)?;
    let decoded = BASE64.decode(bytes.trim_ascii()).ok().filter(|decoded| decoded.len() == LENGTH);
    let bytes = decoded.unwrap_or(bytes);
    let text = signed_text(files);
    let fits =
        |key: &&SigningKey| UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &bytes).is_ok();
    match keys.iter().find(fits) {
        Some(_) => Ok(()),
        None => {
            Err(format!("none of MODEL_SIGNING_KEYS made its signature ({SIGNATURE_FILE}) for these files"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    #[test]
    fn only_the_files_that_were_signed_by_a_known_key_are_taken() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let key = |pair: &Ed25519KeyPair| SigningKey::try_from(pair.public_key().as_ref()).unwrap();
        let files: Digests = [("model.onnx".to_owned(), "a".repeat(64))].into();
        let changed: Digests = [("model.onnx".to_owned(), "b".repeat(64))].into();
        let more: Digests =
            files.iter().chain(&changed).map(|(_, sum)| (format!("{sum}.bin"), sum.clone())).collect();
        let folder = tempfile::tempdir().unwrap();
        let write = |bytes: &[u8]| std::fs::write(folder.path().join(SIGNATURE_FILE), bytes).unwrap();
        let taken = |keys: &[SigningKey], files: &Digests| check(keys, folder.path(), files).is_ok();

        assert!(taken(&[], &files), "nothing is asked for");
        assert!(check(&[key(&pair)], folder.path(), &files).unwrap_err().contains("not signed"));
        let signature = pair.sign(signed_text(&files).as_bytes());
        for bytes in
            [signature.as_ref().to_vec(), format!("{}\n", BASE64.encode(signature.as_ref())).into_bytes()]
        {
            write(&bytes);
            assert!(taken(&[key(&pair)], &files) && taken(&[key(&other), key(&pair)], &files));
            assert!(!taken(&[key(&other)], &files) && !taken(&[key(&pair)], &changed));
            assert!(!taken(&[key(&pair)], &more));
        }
        for bytes in [&[][..], b"AAAA", &[0; 64], &[0; 5000]] {
            write(bytes);
            assert!(!taken(&[key(&pair)], &files));
        }
    }
}
