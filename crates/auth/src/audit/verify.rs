//! Verifying the trail: all of it, page by page, while others add to it.

use std::fmt;

use data_encoding::HEXLOWER;
use storage::{AuditRecord, AuditSeal, LinkedEvent, SealedLink, UnlinkedEvent};
use uuid::Uuid;

use super::keys::{AuditKeys, BEFORE_FIRST, LinkMac, MacStatus};
use super::seal::{digest, read};
use super::trail::AuditTrail;
use crate::events::Event;
use crate::{Result, crypto};

/// Rows read at a time.
const PAGE: u32 = 1000;
/// Findings that are listed; the others are counted.
const MOST_FINDINGS: usize = 100;

/// A deviation from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFinding {
    /// The number of the link or the seal.
    pub seq: Option<i64>,
    /// The event.
    pub event: Option<Uuid>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for AuditFinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seq) = self.seq {
            write!(formatter, "link {seq}: ")?;
        }
        if let Some(event) = self.event {
            write!(formatter, "event {event}: ")?;
        }
        formatter.write_str(&self.what)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Links that were verified.
    pub links: u64,
    /// The number of the last one; 0: there is none.
    pub last: i64,
    /// Seals that were verified.
    pub seals: u64,
    /// Genuine events that wait for their link.
    pub waiting: u64,
    /// The first hundred findings.
    pub findings: Vec<AuditFinding>,
    /// How many more there are.
    pub more: u64,
}

impl Verification {
    fn find(&mut self, seq: Option<i64>, event: Option<Uuid>, what: impl Into<String>) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(AuditFinding { seq, event, what: what.into() });
        } else {
            self.more += 1;
        }
    }
}

impl AuditTrail {
    /// Verifies every event, link and seal, and that the chain agrees with the seals that were `kept` elsewhere.
    pub async fn verify(&self, kept: &[AuditSeal]) -> Result<Verification> {
        let mut walk = Walk::new(self.keys());
        let boundary = self.boundary(&mut walk).await?;
        loop {
            let page = self.read().await?.audit_chain().links(walk.found.last, PAGE).await?;
            page.iter().for_each(|linked| walk.link(linked));
            if page.len() < PAGE as usize {
                break;
            }
        }
        self.verify_seals(&mut walk, boundary.as_ref()).await?;
        self.verify_unlinked(&mut walk).await?;
        if boundary.as_ref().is_some_and(|seal| seal.seq != walk.reported_pruned) {
            walk.found.find(
                boundary.map(|seal| seal.seq),
                None,
                "the links up to here are gone, and no event tells that they were pruned",
            );
        }
        for seal in kept {
            self.compare(&mut walk, seal).await?;
        }
        Ok(walk.found)
    }

    /// The seal that the chain begins at, where what was before it was pruned.
    async fn boundary(&self, walk: &mut Walk<'_>) -> Result<Option<AuditSeal>> {
        let mut tx = self.read().await?;
        let Some(through) = tx.audit_chain().pruned_through().await? else { return Ok(None) };
        let seal = tx.audit_chain().seal_at(through).await?;
        let head = seal.as_ref().map(|seal| read(seal, self.keys()));
        let mac = match head {
            Some(Ok(head)) => link_mac(&HEXLOWER.decode(head.mac.as_bytes()).unwrap_or_default()),
            Some(Err(what)) => {
                walk.found.find(Some(through), None, format!("the seal that the chain begins at: {what}"));
                None
            }
            None => {
                walk.found.find(Some(through), None, "the seal that the chain begins at is gone");
                None
            }
        };
        walk.found.last = through;
        walk.before = mac.into_iter().collect();
        Ok(seal)
    }

    async fn verify_seals(&self, walk: &mut Walk<'_>, boundary: Option<&AuditSeal>) -> Result<()> {
        let mut previous = boundary.cloned();
        let mut after = boundary.map_or(0, |seal| seal.seq);
        loop {
            let page = self.read().await?.audit_chain().seals(after, PAGE).await?;
            for sealed in &page {
                walk.seal(sealed, previous.as_ref());
                after = sealed.seal.seq;
                previous = Some(sealed.seal.clone());
            }
            if page.len() < PAGE as usize {
                return Ok(());
            }
        }
    }

    async fn verify_unlinked(&self, walk: &mut Walk<'_>) -> Result<()> {
        let mut after = Uuid::nil();
        loop {
            let page = self.read().await?.audit_chain().unlinked(after, PAGE).await?;
            page.iter().for_each(|unlinked| walk.unlinked(unlinked));
            match page.last() {
                Some(last) if page.len() == PAGE as usize => after = last.event.id,
                _ => return Ok(()),
            }
        }
    }

    /// Compares the chain with a seal that the database cannot have changed.
    async fn compare(&self, walk: &mut Walk<'_>, kept: &AuditSeal) -> Result<()> {
        let seq = Some(kept.seq);
        let head = match read(kept, self.keys()) {
            Ok(head) => head,
            Err(what) => {
                walk.found.find(seq, None, format!("the seal that was kept elsewhere: {what}"));
                return Ok(());
            }
        };
        let mut tx = self.read().await?;
        let here = match tx.audit_chain().mac_at(kept.seq).await? {
            Some(mac) => Some(HEXLOWER.encode(&mac)),
            None => {
                let seal = tx.audit_chain().seal_at(kept.seq).await?;
                seal.and_then(|seal| read(&seal, self.keys()).ok()).map(|head| head.mac)
            }
        };
        let pruned = tx.audit_chain().pruned_through().await?.unwrap_or(0);
        match here {
            Some(mac) if crypto::same_secret(&mac, &head.mac) => {}
            Some(_) => walk.found.find(
                seq,
                None,
                "a seal that was kept elsewhere tells another history: this one was written anew",
            ),
            // Pruned links are reported by an event; their content is not known any more.
            None if kept.seq < pruned => {}
            None => walk.found.find(
                seq,
                None,
                format!(
                    "a seal that was kept elsewhere is of this link, and the chain ends at {}: its tail was cut off, or an old copy was put in its place",
                    walk.found.last
                ),
            ),
        }
        Ok(())
    }
}

/// One walk along the chain.
struct Walk<'a> {
    keys: &'a AuditKeys,
    found: Verification,
    /// The MACs that the next link may follow: that of the link before, and where that was wrong, what it should be.
    /// None: it is not known.
    before: Vec<LinkMac>,
    /// Whether events without a MAC of their own can still come.
    adopts: bool,
    /// How far the chain was pruned, as genuine events tell.
    reported_pruned: i64,
}

impl<'a> Walk<'a> {
    fn new(keys: &'a AuditKeys) -> Self {
        let before = vec![BEFORE_FIRST];
        Self { keys, found: Verification::default(), before, adopts: true, reported_pruned: 0 }
    }

    fn link(&mut self, linked: &LinkedEvent) {
        let LinkedEvent { link, event } = linked;
        let (seq, id) = (Some(link.seq), Some(link.event_id));
        let expected = self.found.last + 1;
        if link.seq != expected {
            let gone = link.seq - 1;
            self.found.find(Some(expected), None, format!("the links from here to {gone} are gone"));
            self.before.clear();
        }
        (self.found.last, self.found.links) = (link.seq, self.found.links + 1);
        let stored = link_mac(&link.mac);
        let before = std::mem::replace(&mut self.before, stored.into_iter().collect());
        let Some(event) = event else {
            return self.found.find(seq, id, "the event is gone");
        };
        let Some(key) = self.keys.find(&link.key_id) else {
            let key = link.key_id.escape_debug();
            return self.found.find(
                seq,
                id,
                format!("its key {key} is neither AUDIT_KEY nor in AUDIT_KEYS_PREVIOUS"),
            );
        };
        let word = self.keys.mac_status(event);
        let follows = before.iter().any(|before| stored == Some(key.link(before, link.seq, event)));
        if !follows && !before.is_empty() {
            self.before.push(key.link(&before[0], link.seq, event));
        }
        match (word, follows || before.is_empty()) {
            (MacStatus::Invalid, _) => {
                self.found.find(seq, id, "the event was changed, or something else wrote it")
            }
            (MacStatus::Missing, _) if !self.adopts => {
                self.found.find(seq, id, "something else than this program wrote the event");
            }
            (_, false) => {
                self.found.find(seq, id, "the event or the link was changed, or rows are in another order");
            }
            (MacStatus::Valid, true) => self.genuine(event),
            (MacStatus::Missing, true) => {}
        }
    }

    fn genuine(&mut self, event: &AuditRecord) {
        self.adopts = false;
        if event.action == Event::AuditPruned.name()
            && let Some(through) = pruned_through(event)
        {
            self.reported_pruned = self.reported_pruned.max(through);
        }
    }

    fn seal(&mut self, sealed: &SealedLink, previous: Option<&AuditSeal>) {
        let seq = Some(sealed.seal.seq);
        self.found.seals += 1;
        let head = match read(&sealed.seal, self.keys) {
            Ok(head) => head,
            Err(what) => return self.found.find(seq, None, format!("its seal: {what}")),
        };
        if head.previous != previous.map(digest) {
            self.found.find(seq, None, "its seal: the one before it is gone, or is another one");
        }
        match &sealed.link_mac {
            Some(mac) if crypto::same_secret(&HEXLOWER.encode(mac), &head.mac) => {}
            Some(_) => {
                self.found.find(seq, None, "its seal is of another link: the history was written anew")
            }
            None => self.found.find(
                seq,
                None,
                format!(
                    "there is a seal of this link, and the chain ends at {}: its tail was cut off",
                    self.found.last
                ),
            ),
        }
    }

    fn unlinked(&mut self, unlinked: &UnlinkedEvent) {
        let id = Some(unlinked.event.id);
        match (self.keys.mac_status(&unlinked.event), unlinked.waits) {
            (MacStatus::Valid, true) => {
                self.found.waiting += 1;
                self.genuine(&unlinked.event);
            }
            (MacStatus::Valid, false) => self.found.find(None, id, "the event was taken out of the chain"),
            (MacStatus::Missing, true) if self.adopts => self.found.waiting += 1,
            (MacStatus::Missing | MacStatus::Invalid, _) => {
                self.found.find(
                    None,
                    id,
                    "something else than this program wrote the event, or it was changed",
                );
            }
        }
    }
}

fn link_mac(bytes: &[u8]) -> Option<LinkMac> {
    bytes.try_into().ok()
}

/// How far the chain was pruned, as the event of it says.
fn pruned_through(event: &AuditRecord) -> Option<i64> {
    let content: serde_json::Value = serde_json::from_slice(&event.canonical).ok()?;
    content["detail"]["through"].as_i64()
}
