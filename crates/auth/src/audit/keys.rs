//! The keys of the audit trail. They live outside the database: write access to it does not suffice to forge events.
//!
//! Three keys are derived from each `AUDIT_KEY`: one for the MACs of events, one for links, one that signs
//! seals.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use storage::AuditRecord;

use crate::{Error, Result, crypto};

/// Length of a key's id, in bytes.
const ID_LEN: usize = 8;
/// Version of the form in which an event is hashed.
const FORM: u8 = 1;
/// What stands before an Ed25519 key in its `SubjectPublicKeyInfo` (RFC 8410, section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The MAC of a link.
pub(crate) type LinkMac = [u8; 32];
/// What stands in the place of a MAC before the first link.
pub(crate) const BEFORE_FIRST: LinkMac = [0; 32];

/// One key: 32 random bytes.
pub struct AuditKey {
    id: [u8; ID_LEN],
    events: hmac::Key,
    links: hmac::Key,
    signer: Ed25519KeyPair,
}

impl AuditKey {
    /// Reads base64, standard or URL-safe; anything but 32 bytes is refused, and so is a placeholder.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = crypto::parse_key(text)?;
        let derived = |purpose: &[u8]| crypto::authenticate(&bytes, purpose);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&derived(b"modelgate audit key id")[..ID_LEN]);
        let key = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, &derived(purpose));
        Some(Self {
            id,
            events: key(b"modelgate audit event"),
            links: key(b"modelgate audit link"),
            signer: Ed25519KeyPair::from_seed_unchecked(&derived(b"modelgate audit seal")).ok()?,
        })
    }

    /// What it is known by.
    pub fn id(&self) -> String {
        HEXLOWER.encode(&self.id)
    }

    /// What verifies its seals, for those who have nothing else: a public key in PEM (RFC 8410).
    pub fn public_pem(&self) -> String {
        let spki = [&SPKI_HEAD[..], self.signer.public_key().as_ref()].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", BASE64.encode(&spki))
    }

    /// The key's id and the MAC of an event, which its writer adds.
    pub(crate) fn event_mac(&self, event: &AuditRecord) -> Vec<u8> {
        let mac = hmac::sign(&self.events, &hashed_form(event));
        [&self.id[..], mac.as_ref()].concat()
    }

    /// The MAC of a link: over the one before it, its number and every column of the event.
    pub(crate) fn link(&self, before: &LinkMac, seq: i64, event: &AuditRecord) -> LinkMac {
        let mut context = hmac::Context::with_key(&self.links);
        context.update(before);
        context.update(&seq.to_be_bytes());
        context.update(&self.id);
        context.update(&hashed_form(event));
        context.update(event.mac.as_deref().unwrap_or_default());
        let mut mac = BEFORE_FIRST;
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    pub(crate) fn sign(&self, head: &[u8]) -> Vec<u8> {
        self.signer.sign(head).as_ref().to_vec()
    }

    pub(crate) fn has_signed(&self, head: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.signer.public_key()).verify(head, signature).is_ok()
    }
}

/// The keys of an installation: the active one writes, the ones before it only verify.
pub struct AuditKeys {
    active: AuditKey,
    previous: Vec<AuditKey>,
}

/// Whether the MAC of an event is that of its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MacStatus {
    /// It was made with one of our keys.
    Valid,
    /// There is none: the event is from before there was one, or was put there.
    Missing,
    /// It was made with another key, or the event was changed since.
    Invalid,
}

impl AuditKeys {
    /// `AUDIT_KEY` and what `AUDIT_KEYS_PREVIOUS` lists.
    pub fn new(active: AuditKey, previous: Vec<AuditKey>) -> Self {
        Self { active, previous }
    }

    /// The key that writes.
    pub fn active(&self) -> &AuditKey {
        &self.active
    }

    /// All of them, the active one first.
    pub fn all(&self) -> impl Iterator<Item = &AuditKey> {
        std::iter::once(&self.active).chain(&self.previous)
    }

    pub(crate) fn find(&self, id: &str) -> Option<&AuditKey> {
        self.all().find(|key| key.id() == id)
    }

    /// The key of this id, or why there is none.
    pub(crate) fn known(&self, id: &str) -> Result<&AuditKey> {
        self.find(id).ok_or_else(|| {
            Error::Internal(format!(
                "the audit trail was written with the key {id}, which is neither AUDIT_KEY nor in AUDIT_KEYS_PREVIOUS"
            ))
        })
    }

    pub(crate) fn mac_status(&self, event: &AuditRecord) -> MacStatus {
        let Some(word) = &event.mac else { return MacStatus::Missing };
        let genuine = word.split_at_checked(ID_LEN).is_some_and(|(id, mac)| {
            let key = self.all().find(|key| key.id == *id);
            key.is_some_and(|key| hmac::verify(&key.events, &hashed_form(event), mac).is_ok())
        });
        if genuine { MacStatus::Valid } else { MacStatus::Invalid }
    }
}

/// Every column of an event but its MAC, each with its length: no two events have the same form.
fn hashed_form(event: &AuditRecord) -> Vec<u8> {
    let mut form = Vec::with_capacity(128 + event.canonical.len());
    form.push(FORM);
    let mut add = |field: Option<&[u8]>| {
        form.push(u8::from(field.is_some()));
        let field = field.unwrap_or_default();
        form.extend_from_slice(&(field.len() as u64).to_be_bytes());
        form.extend_from_slice(field);
    };
    add(Some(event.id.as_bytes()));
    add(Some(&event.occurred_at.timestamp_micros().to_be_bytes()));
    add(Some(event.action.as_bytes()));
    add(Some(event.outcome.as_bytes()));
    add(event.actor.as_ref().map(|actor| actor.as_bytes().as_slice()));
    add(event.target.as_deref().map(str::as_bytes));
    add(event.request_id.as_deref().map(str::as_bytes));
    add(Some(&event.canonical));
    form
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use chrono::{DateTime, TimeDelta};
    use uuid::Uuid;

    use super::*;

    pub(crate) fn key(byte: u8) -> AuditKey {
        let mut bytes = [byte; 32];
        bytes[0] = !byte;
        AuditKey::parse(&BASE64.encode(&bytes)).unwrap()
    }

    pub(crate) fn event() -> AuditRecord {
        AuditRecord {
            id: Uuid::from_u128(1),
            occurred_at: DateTime::UNIX_EPOCH,
            action: "action".into(),
            outcome: "success".into(),
            actor: Some(Uuid::from_u128(2)),
            target: Some("target".into()),
            request_id: None,
            canonical: b"{}".to_vec(),
            mac: None,
        }
    }

    #[test]
    fn every_column_changes_what_is_vouched_for() {
        let key = key(1);
        let original = event();
        let changes: [fn(&mut AuditRecord); 9] = [
            |event| event.id = Uuid::from_u128(3),
            |event| event.occurred_at += TimeDelta::microseconds(1),
            |event| event.action.push('x'),
            |event| event.outcome.push('x'),
            |event| event.actor = None,
            |event| event.target = None,
            |event| event.target = Some(String::new()),
            |event| event.request_id = Some(String::new()),
            |event| event.canonical.push(b' '),
        ];
        let forms = changes.map(|change| {
            let mut changed = original.clone();
            change(&mut changed);
            assert_ne!(key.event_mac(&changed), key.event_mac(&original));
            assert_ne!(key.link(&BEFORE_FIRST, 1, &changed), key.link(&BEFORE_FIRST, 1, &original));
            hashed_form(&changed)
        });
        let different: std::collections::BTreeSet<_> = forms.iter().collect();
        assert_eq!(different.len(), forms.len());
        // What moves from one column to the next is another event.
        let mut moved = original.clone();
        (moved.action, moved.outcome) = ("actions".into(), "uccess".into());
        assert_ne!(key.event_mac(&moved), key.event_mac(&original));
    }

    #[test]
    fn a_link_depends_on_its_place_and_its_key() {
        let (one, two, event) = (key(1), key(2), event());
        let link = one.link(&BEFORE_FIRST, 1, &event);
        assert_ne!(link, one.link(&BEFORE_FIRST, 2, &event));
        assert_ne!(link, one.link(&[1; 32], 1, &event));
        assert_ne!(link, two.link(&BEFORE_FIRST, 1, &event));
        let vouched = AuditRecord { mac: Some(one.event_mac(&event)), ..event };
        assert_ne!(link, one.link(&BEFORE_FIRST, 1, &vouched));
    }

    #[test]
    fn a_word_is_ours_missing_or_false() {
        let keys = AuditKeys::new(key(1), vec![key(2)]);
        let event = event();
        assert_eq!(keys.mac_status(&event), MacStatus::Missing);
        for (writer, word) in
            [(key(1), MacStatus::Valid), (key(2), MacStatus::Valid), (key(3), MacStatus::Invalid)]
        {
            let vouched = AuditRecord { mac: Some(writer.event_mac(&event)), ..event.clone() };
            assert_eq!(keys.mac_status(&vouched), word);
        }
        for mac in [vec![], vec![1; 7], vec![0; 40]] {
            assert_eq!(keys.mac_status(&AuditRecord { mac: Some(mac), ..event.clone() }), MacStatus::Invalid);
        }
    }
}
