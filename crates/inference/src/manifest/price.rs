//! The `price` of a model.

use serde::{Deserialize, Deserializer, de::Error};

/// The highest price.
const MAX_PRICE: u32 = 1_000_000;

/// The credits that a row or picture costs, 1 to 1000000; default 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(u32);

impl Price {
    /// In credits.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for Price {
    fn default() -> Self {
        Self(1)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let price = u32::deserialize(deserializer)?;
        match price {
            1..=MAX_PRICE => Ok(Self(price)),
            _ => Err(D::Error::custom(format_args!("price must be 1 to {MAX_PRICE}"))),
        }
    }
}
