//! Streamed encryption of files: AES-256-GCM over pieces, under a key that is used for one file alone. Each piece is
//! bound to its file, its place and to whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway
//! and Vizár): no piece can be left out, repeated, moved or cut off.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{Error, Result, crypto::random};

/// Bytes of a piece before it is sealed.
pub const PIECE: usize = 64 << 10;
const TAG: usize = 16;

/// The bytes of a file of so many bytes, sealed.
pub(crate) const fn sealed_length(plain: u64) -> u64 {
    let pieces = plain.div_ceil(PIECE as u64);
    plain.saturating_add((if pieces == 0 { 1 } else { pieces }).saturating_mul(TAG as u64))
}

/// The key of one file.
pub(crate) struct FileKey {
    cipher: LessSafeKey,
    file: Uuid,
}

impl FileKey {
    /// A fresh one, and its bytes, to be sealed.
    pub fn generate(file: Uuid) -> Result<(Self, Zeroizing<[u8; 32]>)> {
        let bytes = Zeroizing::new(random::bytes::<32>()?);
        Ok((Self::from_bytes(&*bytes, file)?, bytes))
    }

    /// The key of these bytes.
    pub fn from_bytes(bytes: &[u8], file: Uuid) -> Result<Self> {
        let key =
            UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| Error::Internal("no key of a file".into()))?;
        Ok(Self { cipher: LessSafeKey::new(key), file })
    }

    /// The key is used for one file, so that the number of the piece is a nonce that never comes twice.
    fn nonce(number: u64, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[0] = u8::from(is_last);
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, number: u64, is_last: bool, piece: &mut Vec<u8>) -> Result<()> {
        let place = Aad::from(self.file.into_bytes());
        let sealed = self.cipher.seal_in_place_append_tag(Self::nonce(number, is_last), place, piece);
        sealed.map_err(|_| Error::Internal("sealing failed".into()))
    }

    /// All that was sealed, opened.
    pub fn open(&self, mut sealed: &[u8]) -> Result<Vec<u8>> {
        let broken = || Error::Internal(format!("file {} does not open: it was changed", self.file));
        let mut opened = Vec::with_capacity(sealed.len());
        let mut number = 0;
        loop {
            let is_last = sealed.len() <= PIECE + TAG;
            let (piece, rest) = sealed.split_at(sealed.len().min(PIECE + TAG));
            let start = opened.len();
            opened.extend_from_slice(piece);
            let place = Aad::from(self.file.into_bytes());
            let nonce = Self::nonce(number, is_last);
            let length = self.cipher.open_in_place(nonce, place, &mut opened[start..]);
            let length = length.map_err(|_| broken())?.len();
            opened.truncate(start + length);
            if is_last {
                return Ok(opened);
            }
            (sealed, number) = (rest, number + 1);
        }
    }
}

/// Seals what passes by.
pub(crate) struct PieceSealer {
    key: FileKey,
    number: u64,
    gathered: Vec<u8>,
}

impl PieceSealer {
    pub fn new(key: FileKey) -> Self {
        Self { key, number: 0, gathered: Vec::new() }
    }

    /// Takes bytes in; gives the pieces that are sealed with them, none of which is the last.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.gathered.extend_from_slice(bytes);
        let mut sealed = Vec::new();
        // A full piece waits: it may be the last.
        while self.gathered.len() > PIECE {
            let rest = self.gathered.split_off(PIECE);
            let mut piece = std::mem::replace(&mut self.gathered, rest);
            self.key.seal(self.number, false, &mut piece)?;
            self.number += 1;
            sealed.append(&mut piece);
        }
        Ok(sealed)
    }

    /// The last piece, and the key to open all of them.
    pub fn finish(mut self) -> Result<(Vec<u8>, FileKey)> {
        self.key.seal(self.number, true, &mut self.gathered)?;
        Ok((self.gathered, self.key))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn sealed(plain: &[u8], step: usize) -> (Vec<u8>, FileKey) {
        let mut sealer = PieceSealer::new(FileKey::generate(Uuid::from_u128(1)).unwrap().0);
        let mut all = Vec::new();
        for part in plain.chunks(step.max(1)) {
            all.extend(sealer.push(part).unwrap());
        }
        let (last, key) = sealer.finish().unwrap();
        all.extend(last);
        (all, key)
    }

    #[test]
    fn what_passed_comes_back_whatever_its_length() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7] {
            let plain: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
            for step in [1000, PIECE, 3 * PIECE] {
                let (all, key) = sealed(&plain, step);
                assert_eq!(all.len() as u64, sealed_length(length as u64));
                assert_eq!(key.open(&all).unwrap(), plain, "{length} by {step}");
            }
        }
    }

    #[test]
    fn nothing_of_it_can_be_changed_moved_or_cut_off() {
        let plain = vec![7; 2 * PIECE + 100];
        let (all, key) = sealed(&plain, PIECE);
        let piece = PIECE + TAG;
        let swapped = [&all[piece..2 * piece], &all[..piece], &all[2 * piece..]].concat();
        let repeated = [&all[..piece], &all[..piece], &all[piece..]].concat();
        let mut changed = all.clone();
        changed[piece + 5] ^= 1;
        for wrong in
            [&all[..2 * piece], &all[..all.len() - 1], &all[piece..], &swapped, &repeated, &changed, &[][..]]
        {
            assert!(key.open(wrong).is_err());
        }
        let (_, bytes) = FileKey::generate(Uuid::from_u128(1)).unwrap();
        let mut sealer = PieceSealer::new(FileKey::from_bytes(&*bytes, Uuid::from_u128(1)).unwrap());
        assert!(sealer.push(b"some").unwrap().is_empty());
        let (all, _) = sealer.finish().unwrap();
        let other = FileKey::from_bytes(&*bytes, Uuid::from_u128(2)).unwrap();
        assert!(other.open(&all).is_err(), "another file's place");
    }
}
