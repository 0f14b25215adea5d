//! Finding people by a part of their address or name. Both are sealed, so that no query can look for it: people are
//! opened, newest first, until enough are found.

use storage::{Cursor, Page, PageRequest, Scope, Service};
use uuid::Uuid;

use crate::accounts::address::folded;
use crate::accounts::people::Person;
use crate::{Auth, Result};

/// People read at a time.
const BATCH: u32 = 100;
/// People opened in one request; the search goes on from the cursor.
const MOST_OPENED: usize = 5_000;

impl Auth {
    /// People's accounts, newest first; `text` is part of an address or a name, in any case. A whole address finds that
    /// person alone. Where many are looked through, a page may be shorter than its limit and still not be the last.
    pub(crate) async fn search_people(&self, text: &str, page: &PageRequest) -> Result<Page<Person>> {
        let mut tx = self.store.read(Scope::Service(Service::Administration)).await?;
        if page.cursor.is_none()
            && let Some(found) = tx.users().credentials(&self.email_index.of(text)).await?
        {
            return Ok(Page { items: vec![self.open_person(found.user)?], next_cursor: None });
        }
        let mut search = Search::new(text, page.limit() as usize);
        let mut batch = PageRequest { limit: BATCH, cursor: page.cursor.clone() };
        loop {
            let users = tx.users().list(&batch).await?;
            for user in users.items {
                search.look_at(self.open_person(user)?);
            }
            batch.cursor = users.next_cursor.as_deref().and_then(Cursor::parse);
            let at_end = batch.cursor.is_none();
            if at_end || search.is_over() {
                return Ok(search.page(at_end));
            }
        }
    }
}

/// What was found among the people looked at so far.
struct Search {
    text: String,
    limit: usize,
    /// One more than the limit at most: it tells that another page follows.
    found: Vec<Person>,
    opened: usize,
    last: Option<Uuid>,
}

impl Search {
    fn new(text: &str, limit: usize) -> Self {
        Self { text: folded(text), limit, found: Vec::new(), opened: 0, last: None }
    }

    fn look_at(&mut self, person: Person) {
        self.opened += 1;
        self.last = Some(person.id);
        let fits = [&person.email, &person.name].iter().any(|text| folded(text).contains(&self.text));
        if fits && !self.is_full() {
            self.found.push(person);
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() > self.limit
    }

    fn is_over(&self) -> bool {
        self.is_full() || self.opened >= MOST_OPENED
    }

    /// What was found; `at_end`: there is nobody else to look at.
    fn page(mut self, at_end: bool) -> Page<Person> {
        let behind = if self.is_full() {
            self.found.truncate(self.limit);
            self.found.last().map(|person| person.id)
        } else {
            self.last.filter(|_| !at_end)
        };
        Page { items: self.found, next_cursor: behind.map(|id| Cursor::after(id).encode()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: usize) -> Person {
        Person {
            id: Uuid::from_u128(number as u128),
            email: format!("person-{number}@example.com"),
            name: if number.is_multiple_of(2) { "Éva Even".into() } else { "Odo Odd".into() },
            role: "user".into(),
            active: true,
            created_at: chrono::DateTime::UNIX_EPOCH,
            last_login_at: None,
        }
    }

    /// Looks at people downwards from a number, as a request would that is continued there.
    fn looked_at(text: &str, limit: usize, from: usize) -> (usize, Page<Person>) {
        let mut search = Search::new(text, limit);
        let mut next = from;
        while next > 0 && !search.is_over() {
            next -= 1;
            search.look_at(person(next));
        }
        (next, search.page(next == 0))
    }

    fn cursor(number: usize) -> Option<String> {
        Some(Cursor::after(Uuid::from_u128(number as u128)).encode())
    }

    #[test]
    fn a_page_is_as_long_as_asked_and_goes_on_behind_its_last_item() {
        let (_, page) = looked_at("e\u{301}VA", 3, 10);
        assert_eq!(page.items.iter().map(|person| person.id.as_u128()).collect::<Vec<_>>(), [8, 6, 4]);
        assert_eq!(page.next_cursor, cursor(4));
        let (_, rest) = looked_at("éva", 3, 4);
        assert_eq!((rest.items.len(), rest.next_cursor), (2, None), "2, 0");
        let (_, all) = looked_at("éva", 5, 10);
        assert_eq!((all.items.len(), all.next_cursor), (5, None), "no page follows an exact end");
    }

    #[test]
    fn a_long_search_stops_and_can_be_continued_where_it_did() {
        let people = MOST_OPENED * 2 + 10;
        let (next, page) = looked_at("person-7@", 10, people);
        assert_eq!((page.items.len(), &page.next_cursor), (0, &cursor(people - MOST_OPENED)));
        let (next, page) = looked_at("person-7@", 10, next);
        assert_eq!((page.items.len(), page.next_cursor), (0, cursor(next)));
        let (_, page) = looked_at("person-7@", 10, next);
        assert_eq!((page.items.len(), page.next_cursor), (1, None));
    }
}
