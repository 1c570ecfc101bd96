//! Pages of a list that is sorted by its sort key.
//!
//! A page is read with one Query per shard, of at most 1 MB each (Amazon DynamoDB: Query), so the
//! cost of a page is bounded, however large its items are. When the read of one shard stops early,
//! the page ends at that shard's last key: beyond it, items of that shard may be missing.

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most items to return.
    pub limit: usize,
    /// The direction to read in.
    pub ascending: bool,
    /// The sort key to continue after, in reading direction; `None` starts at the list's first item
    /// in that direction.
    pub after: Option<String>,
}

/// The bounds of the sort keys that a page may contain, both inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The lowest sort key.
    pub low: String,
    /// The highest sort key.
    pub high: String,
}

/// What was read for a page: up to [`Page::limit`] items, possibly fewer even when more follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<T> {
    /// Items with their sort keys, in reading direction.
    pub items: Vec<(String, T)>,
    /// The sort key to continue after; `None` at the end of the list.
    pub next: Option<String>,
}

/// One shard's part of a page.
pub(crate) struct Part<T> {
    pub(crate) items: Vec<(String, T)>,
    /// The last key that was read, when the shard may hold more.
    pub(crate) frontier: Option<String>,
}

impl Range {
    /// Whether no key can be within the bounds.
    pub(crate) fn is_empty(&self) -> bool {
        self.low > self.high
    }

    /// All keys that start with a prefix of ASCII characters.
    pub fn prefix(prefix: &str) -> Self {
        Self {
            low: prefix.to_owned(),
            high: format!("{prefix}~"),
        }
    }
}

impl<T> Slice<T> {
    /// The same slice, with a prefix removed from its keys.
    pub(crate) fn without_prefix(self, prefix: &str) -> Self {
        let cut = |key: String| key.strip_prefix(prefix).map(str::to_owned).unwrap_or(key);
        let items = self.items.into_iter();
        Self {
            items: items.map(|(key, item)| (cut(key), item)).collect(),
            next: self.next.map(cut),
        }
    }
}

impl Page {
    /// The bounds of a query for this page. They include the item to continue after, which
    /// [`Page::admits`] filters out.
    pub(crate) fn narrow(&self, mut range: Range) -> Range {
        match &self.after {
            Some(after) if self.ascending && *after > range.low => range.low.clone_from(after),
            Some(after) if !self.ascending && *after < range.high => range.high.clone_from(after),
            _ => {}
        }
        range
    }

    /// Whether an item comes after the page's start.
    pub(crate) fn admits(&self, sort_key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| after != sort_key)
    }

    /// How many items a query must read to fill the page and to know whether more follow.
    pub(crate) fn query_limit(&self) -> i32 {
        let start = usize::from(self.after.is_some());
        i32::try_from(self.limit + 1 + start).unwrap_or(i32::MAX)
    }

    fn is_before(&self, a: &str, b: &str) -> bool {
        if self.ascending { a < b } else { a > b }
    }

    /// Merges what each shard returned into one slice.
    pub(crate) fn merge<T>(&self, parts: Vec<Part<T>>) -> Slice<T> {
        let mut frontier: Option<String> = None;
        let mut items = Vec::new();
        for part in parts {
            items.extend(part.items);
            frontier = match (frontier, part.frontier) {
                (Some(a), Some(b)) => Some(if self.is_before(&a, &b) { a } else { b }),
                (a, b) => a.or(b),
            };
        }
        items.sort_by(|(a, _), (b, _)| if self.ascending { a.cmp(b) } else { b.cmp(a) });
        let is_known = |key: &str| {
            frontier
                .as_deref()
                .is_none_or(|end| !self.is_before(end, key))
        };
        let known = items.iter().take_while(|(key, _)| is_known(key)).count();
        let has_more = frontier.is_some() || known > self.limit;
        items.truncate(known.min(self.limit));
        let last = items.last().map(|(key, _)| key.clone()).or(frontier);
        Slice {
            items,
            next: last.filter(|_| has_more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(keys: &[&str], frontier: Option<&str>) -> Part<()> {
        Part {
            items: keys.iter().map(|key| ((*key).to_owned(), ())).collect(),
            frontier: frontier.map(str::to_owned),
        }
    }

    fn merge(page: &Page, parts: Vec<Part<()>>) -> (Vec<String>, Option<String>) {
        let slice = page.merge(parts);
        let keys = slice.items.into_iter().map(|(key, ())| key).collect();
        (keys, slice.next)
    }

    fn page(limit: usize, ascending: bool) -> Page {
        Page {
            limit,
            ascending,
            after: None,
        }
    }

    #[test]
    fn shards_merge_in_order() {
        let parts = || vec![part(&["a", "d"], None), part(&["b", "c"], None)];
        assert_eq!(merge(&page(9, true), parts()).0, ["a", "b", "c", "d"]);
        let (keys, next) = merge(&page(4, true), parts());
        assert_eq!((keys.len(), next), (4, None), "the end is known");
        let (keys, next) = merge(&page(3, true), parts());
        assert_eq!((keys.len(), next.as_deref()), (3, Some("c")));
    }

    #[test]
    fn a_shard_that_was_cut_off_bounds_the_others() {
        let parts = vec![part(&["a", "b"], Some("b")), part(&["c", "d"], None)];
        let (keys, next) = merge(&page(9, true), parts);
        assert_eq!(
            keys,
            ["a", "b"],
            "the first shard may hold something before c"
        );
        assert_eq!(next.as_deref(), Some("b"));
        let parts = vec![part(&["d", "c"], Some("c")), part(&["b"], None)];
        assert_eq!(merge(&page(9, false), parts).0, ["d", "c"]);
    }

    #[test]
    fn a_page_narrows_its_range_in_reading_direction() {
        let range = || Range {
            low: "a".into(),
            high: "z".into(),
        };
        let page = |ascending| Page {
            after: Some("m".into()),
            ..page(1, ascending)
        };
        assert_eq!(page(true).narrow(range()).low, "m");
        assert_eq!(page(false).narrow(range()).high, "m");
        assert!(!page(true).admits("m"), "the start is left out");
    }
}
