use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::Category;

/// The categories' names, made distinct by the id where two share one, for use as JSON keys.
pub(crate) fn distinct_names<'a>(categories: impl IntoIterator<Item = &'a Category>) -> Vec<String> {
    let categories: Vec<_> = categories.into_iter().collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for category in &categories {
        *uses.entry(&category.name).or_default() += 1;
    }
    let mut taken: HashSet<String> = HashSet::new();
    categories
        .iter()
        .map(|category| {
            let mut name = category.name.clone();
            if uses.get(name.as_str()) != Some(&1) {
                name = format!("{name} ({})", category.id);
            }
            while !taken.insert(name.clone()) {
                name.push('\'');
            }
            name
        })
        .collect()
}

/// Serialises a list of named things as a map from name to thing, in its order.
pub(crate) fn by_name<T: Named + Serialize, S: Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(list.len()))?;
    for item in list {
        map.serialize_entry(item.name(), item)?;
    }
    map.end()
}

/// What [`by_name`] keys an entry with.
pub(crate) trait Named {
    fn name(&self) -> &str;
}
