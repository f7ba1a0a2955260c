//! Topics in the order of their names: to find one, and to read them in pages.
//!
//! A list in chunks, each short enough that an insert moves little. It keeps numbers only, some five
//! bytes a topic, and asks whoever calls for the names.

/// Most topics in a chunk.
const CHUNK: usize = 512;

/// Numbers of topics, ordered by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// None of them is empty.
    chunks: Vec<Vec<u32>>,
}

/// Where a topic stands, or would stand.
type Place = (usize, usize);

impl Names {
    /// The topic of this name.
    pub(super) fn find<'a>(&self, name: &str, named: impl Fn(u32) -> &'a str) -> Option<u32> {
        let (chunk, place) = self.search(name, named).ok()?;
        Some(self.chunks[chunk][place])
    }

    /// Puts a topic into its place; its name must not be there yet.
    pub(super) fn insert<'a>(&mut self, name: &str, topic: u32, named: impl Fn(u32) -> &'a str) {
        let (chunk, place) = self
            .search(name, named)
            .expect_err("a name has one topic at the most");
        let Some(items) = self.chunks.get_mut(chunk) else {
            self.chunks.push(vec![topic]);
            return;
        };
        items.insert(place, topic);
        if items.len() > CHUNK {
            let upper = items.split_off(CHUNK / 2);
            items.shrink_to_fit();
            self.chunks.insert(chunk + 1, upper);
        }
    }

    /// Takes the topic of this name out.
    pub(super) fn remove<'a>(&mut self, name: &str, named: impl Fn(u32) -> &'a str) {
        let Ok((chunk, place)) = self.search(name, named) else {
            return;
        };
        let items = &mut self.chunks[chunk];
        items.remove(place);
        if items.is_empty() {
            self.chunks.remove(chunk);
        } else if items.len() * 4 < items.capacity() {
            items.shrink_to(items.len() * 2);
        }
    }

    /// The topics whose names come after this one, or all, in order.
    pub(super) fn after<'a>(
        &self,
        name: Option<&str>,
        named: impl Fn(u32) -> &'a str,
    ) -> impl Iterator<Item = u32> {
        let (chunk, place) = match name.map(|name| self.search(name, named)) {
            None => (0, 0),
            Some(Ok((chunk, place))) => (chunk, place + 1),
            Some(Err(place)) => place,
        };
        let first = self.chunks.get(chunk).map_or(&[][..], |c| &c[place..]);
        let rest = self.chunks.iter().skip(chunk + 1).flatten();
        first.iter().chain(rest).copied()
    }

    fn search<'a>(&self, name: &str, named: impl Fn(u32) -> &'a str) -> Result<Place, Place> {
        let behind = self.chunks.partition_point(|c| named(c[0]) <= name);
        let chunk = behind.saturating_sub(1);
        let Some(items) = self.chunks.get(chunk) else {
            return Err((0, 0));
        };
        match items.binary_search_by(|topic| named(*topic).cmp(name)) {
            Ok(place) => Ok((chunk, place)),
            Err(place) => Err((chunk, place)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn names_stay_in_order_through_thousands_of_random_changes() {
        let mut rng = StdRng::seed_from_u64(3);
        let known: Vec<String> = (0..6000)
            .map(|_| format!("{:x}", rng.random::<u64>() >> rng.random_range(0..60)))
            .collect();
        let named = |topic: u32| known[topic as usize].as_str();
        let (mut names, mut model) = (Names::default(), BTreeMap::new());
        for round in 0..40_000 {
            let topic = rng.random_range(0..known.len() as u32);
            let name = named(topic);
            // it grows, and then shrinks again
            let grow = rng.random_range(0..40_000) > round;
            match (model.contains_key(name), grow) {
                (false, true) => {
                    names.insert(name, topic, named);
                    model.insert(name, topic);
                }
                (true, false) => {
                    names.remove(name, named);
                    model.remove(name);
                }
                _ => names_agree(&names, &model, name, named),
            }
        }
        assert!(names.after(None, named).eq(model.values().copied()));
        assert!(names.chunks.iter().all(|c| (1..=CHUNK).contains(&c.len())));
    }

    fn names_agree<'a>(
        names: &Names,
        model: &BTreeMap<&str, u32>,
        name: &str,
        named: impl Fn(u32) -> &'a str + Copy,
    ) {
        use std::ops::Bound::{Excluded, Unbounded};
        assert_eq!(names.find(name, named), model.get(name).copied());
        let after = names.after(Some(name), named).take(3);
        let expected = model.range::<str, _>((Excluded(name), Unbounded));
        assert!(after.eq(expected.take(3).map(|(_, topic)| *topic)));
    }

    #[test]
    fn an_empty_list_has_nothing_before_or_behind() {
        let names = Names::default();
        assert_eq!(names.find("a", |_| unreachable!()), None);
        assert_eq!(names.after(None, |_| unreachable!()).count(), 0);
        assert_eq!(names.after(Some("a"), |_| unreachable!()).count(), 0);
    }
}
