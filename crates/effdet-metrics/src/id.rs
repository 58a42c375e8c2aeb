use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Id of an image or a category: a number, or a text that is none.
///
/// A text that is a number as we would write it becomes that number, because data sets mix `2299` and `"2299"` for one
/// image. With zeros in front it stays a text: `1` and `001` are two pictures. Where there is but one of them, the other
/// finds it: COCO's `397133` is the picture that some call `000000397133`. Numbers sort before texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Int(i64),
    /// Anything else, such as `2007_000027`.
    Text(Box<str>),
}

impl Id {
    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Text(_) => None,
        }
    }
}

impl From<i64> for Id {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<i32> for Id {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}

impl From<u32> for Id {
    fn from(n: u32) -> Self {
        Self::Int(n.into())
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        match text.parse::<i64>() {
            Ok(n) if n.to_string() == text => Self::Int(n),
            _ => Self::Text(text.into()),
        }
    }
}

/// The number that stands in a text behind zeros.
pub(crate) fn padded_number(text: &str) -> Option<i64> {
    let is_padded =
        text.len() > 1 && text.starts_with('0') && text.bytes().all(|digit| digit.is_ascii_digit());
    if is_padded { text.parse().ok() } else { None }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => n.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id (an integer or a text)")
            }

            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Id, E> {
                Ok(Id::Int(n))
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Id, E> {
                i64::try_from(n).map(Id::Int).map_err(|_| E::custom(format_args!("id {n} is too large")))
            }

            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Id, E> {
                let whole = n.fract() == 0.0 && n.abs() <= 2f64.powi(53);
                whole
                    .then_some(Id::Int(n as i64))
                    .ok_or_else(|| E::invalid_type(de::Unexpected::Float(n), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::from(text))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// Numbers the distinct ids it is shown from 0.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interner {
    ids: Vec<Id>,
    index: HashMap<Id, u32>,
    last: u32,
}

impl Interner {
    pub(crate) fn intern(&mut self, id: Id) -> u32 {
        // Files list the boxes of one image together.
        if self.ids.get(self.last as usize) == Some(&id) {
            return self.last;
        }
        let next = self.ids.len() as u32;
        self.last = match self.index.get(&id) {
            Some(&known) => known,
            None => {
                self.index.insert(id.clone(), next);
                self.ids.push(id);
                next
            }
        };
        self.last
    }

    pub(crate) fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// Replaces the ids for which `other` has another one.
    pub(crate) fn map_ids(&mut self, other: impl Fn(&Id) -> Option<Id>) {
        for (i, id) in (0u32..).zip(&mut self.ids) {
            if let Some(other) = other(id) {
                self.index.insert(other.clone(), i);
                *id = other;
            }
        }
    }

    /// Takes in the ids of another table and returns, for each of its numbers, the number here.
    pub(crate) fn merge(&mut self, other: Self) -> Vec<u32> {
        other.ids.into_iter().map(|id| self.intern(id)).collect()
    }

    /// For each of the interned ids, its position among the sorted `known` ones. One that is not known goes by its
    /// number, with zeros in front on one side, if only one known id has it.
    pub(crate) fn resolve<T>(&self, known: &[T], id_of: impl Fn(&T) -> &Id) -> Vec<Option<u32>> {
        let exact = |id: &Id| known.binary_search_by(|k| id_of(k).cmp(id)).ok().map(|i| i as u32);
        let mut padded: Option<HashMap<i64, Option<u32>>> = None;
        let mut by_number = |id: &Id| match id {
            Id::Text(text) => exact(&Id::Int(padded_number(text)?)),
            Id::Int(n) => {
                let padded = padded.get_or_insert_with(|| padded_numbers(known.iter().map(&id_of)));
                padded.get(n).copied().flatten()
            }
        };
        self.ids.iter().map(|id| exact(id).or_else(|| by_number(id))).collect()
    }
}

/// The positions of texts by the number that stands in them behind zeros; none where several have it.
fn padded_numbers<'a>(ids: impl Iterator<Item = &'a Id>) -> HashMap<i64, Option<u32>> {
    let mut positions: HashMap<i64, Option<u32>> = HashMap::new();
    for (position, id) in (0u32..).zip(ids) {
        if let Id::Text(text) = id
            && let Some(number) = padded_number(text)
        {
            positions.entry(number).and_modify(|known| *known = None).or_insert(Some(position));
        }
    }
    positions
}

/// Checks that `count` things can be numbered by `u32`.
pub(crate) fn check_count(count: usize, what: &'static str) -> Result<(), Error> {
    if u32::try_from(count).is_ok_and(|n| n < u32::MAX) { Ok(()) } else { Err(Error::TooMany { what }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_texts_are_numbers() {
        let parse = |text: &str| serde_json::from_str::<Id>(text);
        assert_eq!(parse("2299").unwrap(), parse("\"2299\"").unwrap());
        assert_eq!(parse("2299.0").unwrap(), Id::Int(2299));
        assert_eq!(parse("\"-7\"").unwrap(), Id::Int(-7));
        for text in ["2007_000027", "+7", "007", "-0", "", "-", "99999999999999999999"] {
            assert_eq!(Id::from(text), Id::Text(text.into()));
        }
        assert!(parse("1.5").is_err() && parse("null").is_err() && parse("18446744073709551615").is_err());
    }

    #[test]
    fn zeros_in_front_tell_ids_apart_only_where_both_are_known() {
        let resolve = |id: &str, known: &[&str]| {
            let mut ids = Interner::default();
            ids.intern(id.into());
            let mut known: Vec<Id> = known.iter().map(|text| Id::from(*text)).collect();
            known.sort_unstable();
            ids.resolve(&known, |id| id)[0].map(|position| known[position as usize].to_string())
        };
        let cases: [(&str, &[&str], Option<&str>); 6] = [
            ("1", &["1", "01"], Some("1")),
            ("01", &["1", "01"], Some("01")),
            ("000000397133", &["397133", "5"], Some("397133")),
            ("5", &["000005", "000006"], Some("000005")),
            ("5", &["05", "005"], None),
            ("5", &["50", "a5"], None),
        ];
        for (id, known, found) in cases {
            assert_eq!(resolve(id, known).as_deref(), found, "{id} among {known:?}");
        }
    }

    #[test]
    fn merged_tables_number_each_id_once() {
        let (mut left, mut right) = (Interner::default(), Interner::default());
        for n in [5, 3, 5] {
            left.intern(n.into());
        }
        for n in [3, 8] {
            right.intern(n.into());
        }
        assert_eq!(left.merge(right), [1, 2]);
        assert_eq!(left.ids(), [Id::Int(5), Id::Int(3), Id::Int(8)]);
    }
}
