//! The form of every list.

use serde::Serialize;
use storage::Page;
use utoipa::ToSchema;

/// Part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// The items of this part.
    pub items: Vec<T>,
    /// Send it as `cursor` to get the next part; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A page of rows, each as clients see it.
    pub fn of<Row: Into<T>>(page: Page<Row>) -> Self {
        Self { items: page.items.into_iter().map(Into::into).collect(), next_cursor: page.next_cursor }
    }
}
