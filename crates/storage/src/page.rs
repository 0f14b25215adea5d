//! Pages of a list: newest first, continued from an opaque cursor.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;

/// Items on a page without a `limit`.
const DEFAULT_LIMIT: u32 = 50;
/// The most items on a page.
const MAX_LIMIT: u32 = 100;

/// The requested page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The most items; clamped to 1..=100 when used.
    pub limit: u32,
    /// Where the page before ended; none for the first page.
    pub cursor: Option<Cursor>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { limit: DEFAULT_LIMIT, cursor: None }
    }
}

impl PageRequest {
    /// One row more than the page holds, to see whether another page follows.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit()) + 1
    }

    /// Every id on the page is below this one. Ids are version 7, so newest first is highest first.
    pub(crate) fn below(&self) -> Uuid {
        self.cursor.as_ref().map_or(Uuid::max(), |cursor| cursor.0)
    }

    pub(crate) fn page<T>(&self, mut items: Vec<T>, id: impl Fn(&T) -> Uuid) -> Page<T> {
        let limit = self.limit() as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| Cursor::after(id(last)).encode());
        Page { items, next_cursor }
    }

    /// The most items on the page, within the bounds.
    pub fn limit(&self) -> u32 {
        self.limit.clamp(1, MAX_LIMIT)
    }
}

/// A place in a list. Opaque outside: the key of the last item, in base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Uuid);

impl Cursor {
    /// The place behind the item with this id.
    pub fn after(id: Uuid) -> Self {
        Self(id)
    }

    /// Reads a cursor that an earlier page gave; none when it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        Uuid::from_slice(&bytes).ok().map(Self)
    }

    /// The form in which clients get it.
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(self.0.as_bytes())
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// The cursor of the next page; none on the last one.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]

    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nonsense_does_not() {
        let cursor = Cursor(Uuid::from_u128(7));
        assert_eq!(Cursor::parse(&cursor.encode()).unwrap(), cursor);
        for text in ["", "x", "AAAA", "!!!!", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_page_is_as_long_as_asked_within_its_bounds() {
        for (limit, rows) in [(0, 2), (1, 2), (50, 51), (100, 101), (1000, 101)] {
            assert_eq!(PageRequest { limit, cursor: None }.rows(), rows);
        }
    }
}
