//! Rows and texts to predict from: `{"rows": [{column: value}]}` and `{"texts": ["…"]}`. The cells go from the JSON
//! into the model's inputs with nothing in between.

use std::fmt::{self, Formatter};

use inference::{Cell, MAX_PROBLEMS, Problem, RowReader, Rows, Table, TextBatch, Texts};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json;
use crate::error::{ApiError, Code, Result};

/// Reads at most `most` rows for the table.
pub fn read_rows(bytes: &[u8], table: &Table, most: usize) -> Result<Rows> {
    let mut list = RowList { reader: table.reader(most), is_full: false };
    let read = read(bytes, "rows", &mut list);
    if list.is_full {
        return Err(too_many("rows", list.reader.max_rows()));
    }
    read?;
    Ok(list.reader.finish()?)
}

/// Reads at most `most` texts.
pub fn read_texts(bytes: &[u8], texts: &Texts, most: usize) -> Result<TextBatch> {
    let mut list = TextList { most, texts: Vec::new(), problems: Vec::new(), is_full: false };
    let read = read(bytes, "texts", &mut list);
    if list.is_full {
        return Err(too_many("texts", most));
    }
    read?;
    if list.problems.is_empty() {
        return Ok(texts.check(list.texts)?);
    }
    Err(inference::Error::Invalid(list.problems).into())
}

fn too_many(what: &str, most: usize) -> ApiError {
    ApiError::new(Code::TooLarge, format!("Send at most {most} {what} at a time."))
}

fn read<List: TakeList>(bytes: &[u8], name: &'static str, list: &mut List) -> Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = deserializer.deserialize_map(Body { name, list }).and_then(|()| deserializer.end());
    read.map_err(|error| json::unreadable(&error))
}

/// The list that a body consists of.
trait TakeList {
    fn take<'de, A: SeqAccess<'de>>(&mut self, list: A) -> std::result::Result<(), A::Error>;
}

/// An object with one member, a list.
struct Body<'a, List> {
    name: &'static str,
    list: &'a mut List,
}

impl<'de, List: TakeList> Visitor<'de> for Body<'_, List> {
    type Value = ();

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with the member {}", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<(), A::Error> {
        let Some(name) = members.next_key::<String>()? else {
            return Err(A::Error::custom(format_args!("the member {} is missing", self.name)));
        };
        if name == self.name {
            members.next_value_seed(Elements { name: self.name, list: self.list })?;
            if members.next_key::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        Err(A::Error::custom(format_args!("the only member is {}, once", self.name)))
    }
}

struct Elements<'a, List> {
    name: &'static str,
    list: &'a mut List,
}

impl<'de, List: TakeList> DeserializeSeed<'de> for Elements<'_, List> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, List: TakeList> Visitor<'de> for Elements<'_, List> {
    type Value = ();

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of {}", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<(), A::Error> {
        self.list.take(list)
    }
}

struct RowList<'t> {
    reader: RowReader<'t>,
    is_full: bool,
}

impl TakeList for RowList<'_> {
    fn take<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> std::result::Result<(), A::Error> {
        while let Some(has_room) = list.next_element_seed(Row(&mut self.reader))? {
            if !has_room {
                self.is_full = true;
                return Err(A::Error::custom("there are too many rows"));
            }
        }
        Ok(())
    }
}

/// One row; false where there is no room for it.
struct Row<'a, 't>(&'a mut RowReader<'t>);

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<bool, D::Error> {
        if !self.0.begin() {
            return Ok(false);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of columns and their values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<bool, A::Error> {
        while let Some(column) = members.next_key_seed(ColumnName(self.0))? {
            match column {
                Some(column) => {
                    members.next_value_seed(CellFor(|cell: Cell<'_>| self.0.cell(column, cell)))?
                }
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        self.0.end();
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<bool, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        self.none()
    }

    fn visit_bool<E: Error>(self, _: bool) -> std::result::Result<bool, E> {
        self.none()
    }

    fn visit_i64<E: Error>(self, _: i64) -> std::result::Result<bool, E> {
        self.none()
    }

    fn visit_u64<E: Error>(self, _: u64) -> std::result::Result<bool, E> {
        self.none()
    }

    fn visit_f64<E: Error>(self, _: f64) -> std::result::Result<bool, E> {
        self.none()
    }

    fn visit_str<E: Error>(self, _: &str) -> std::result::Result<bool, E> {
        self.none()
    }

    fn visit_unit<E: Error>(self) -> std::result::Result<bool, E> {
        self.none()
    }
}

impl Row<'_, '_> {
    /// What stands here is no row.
    fn none<E>(self) -> std::result::Result<bool, E> {
        self.0.no_row();
        Ok(true)
    }
}

/// A member's name, as the column that it is.
struct ColumnName<'a, 't>(&'a mut RowReader<'t>);

impl<'de> DeserializeSeed<'de> for ColumnName<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> std::result::Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ColumnName<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a column")
    }

    fn visit_str<E: Error>(self, name: &str) -> std::result::Result<Self::Value, E> {
        Ok(self.0.column(name))
    }
}

/// One cell, given to the closure.
struct CellFor<Take>(Take);

impl<'de, T, Take: FnOnce(Cell<'_>) -> T> DeserializeSeed<'de> for CellFor<Take> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, Take: FnOnce(Cell<'_>) -> T> Visitor<'de> for CellFor<Take> {
    type Value = T;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("a cell")
    }

    fn visit_bool<E: Error>(self, value: bool) -> std::result::Result<T, E> {
        Ok(self.0(Cell::Boolean(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> std::result::Result<T, E> {
        Ok(self.0(Cell::Integer(value)))
    }

    #[expect(clippy::cast_precision_loss, reason = "a number that is written with more digits is rounded")]
    fn visit_u64<E: Error>(self, value: u64) -> std::result::Result<T, E> {
        Ok(self.0(i64::try_from(value).map_or(Cell::Number(value as f64), Cell::Integer)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> std::result::Result<T, E> {
        Ok(self.0(Cell::Number(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> std::result::Result<T, E> {
        Ok(self.0(Cell::Text(value)))
    }

    fn visit_unit<E: Error>(self) -> std::result::Result<T, E> {
        Ok(self.0(Cell::Missing))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<T, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.0(Cell::Nested))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> std::result::Result<T, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.0(Cell::Nested))
    }
}

struct TextList {
    most: usize,
    texts: Vec<String>,
    problems: Vec<Problem>,
    is_full: bool,
}

impl TakeList for TextList {
    fn take<'de, A: SeqAccess<'de>>(&mut self, mut list: A) -> std::result::Result<(), A::Error> {
        let text = |cell: Cell<'_>| if let Cell::Text(text) = cell { Some(text.to_owned()) } else { None };
        while let Some(text) = list.next_element_seed(CellFor(text))? {
            if self.texts.len() == self.most {
                self.is_full = true;
                return Err(A::Error::custom("there are too many texts"));
            }
            if text.is_none() && self.problems.len() < MAX_PROBLEMS {
                let place = format!("texts[{}]", self.texts.len());
                self.problems.push(Problem { place, message: "must be a text".to_owned() });
            }
            self.texts.push(text.unwrap_or_default());
        }
        Ok(())
    }
}
