//! Lists from outside, of which no more is kept than is taken.

use std::fmt::{self, Formatter};
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

/// The first items of a list: as many as are taken and one more, so that the reader can tell that there are more. An
/// item takes two bytes in a body and hundreds in memory.
#[derive(Debug)]
pub struct AtMost<T, const MOST: usize>(pub Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for AtMost<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

struct Items<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
    type Value = AtMost<T, MOST>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= MOST {
            match items.next_element()? {
                Some(item) => kept.push(item),
                None => return Ok(AtMost(kept)),
            }
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AtMost(kept))
    }
}

impl<T, const MOST: usize> AtMost<T, MOST> {
    /// The items; none where there are more than are taken.
    pub fn within_bound(self) -> Option<Vec<T>> {
        (self.0.len() <= MOST).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test may panic")]
    use super::*;

    #[test]
    fn no_more_is_kept_than_tells_that_there_is_more() {
        let read =
            |count: usize| serde_json::from_str::<AtMost<u8, 3>>(&format!("{:?}", vec![7; count])).unwrap();
        assert_eq!(read(3).within_bound(), Some(vec![7; 3]));
        assert_eq!(read(1000).0.len(), 4);
        assert_eq!(read(4).within_bound(), None);
        assert!(serde_json::from_str::<AtMost<u8, 3>>("[1, 2, 3, 4, nonsense]").is_err());
    }
}
