//! Pages of a list that is sorted by its sort key.
//!
//! A page is read with one Query per shard, of at most 1 MB each (Amazon DynamoDB: Query), so what a
//! page costs is bounded whatever the items hold. A shard whose read ended early bounds what the
//! others may contribute: behind its last key, items of it may be missing.

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The most items to return.
    pub limit: usize,
    /// The direction to read in.
    pub ascending: bool,
    /// The sort key to start behind, in reading direction; `None` starts at the end.
    pub after: Option<String>,
}

/// The bounds of the sort keys that a page may hold, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least sort key.
    pub low: String,
    /// The greatest sort key.
    pub high: String,
}

/// What was read for a page: up to [`Page::limit`] items, and maybe fewer although more follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice<T> {
    /// Items with their sort keys, in reading direction.
    pub items: Vec<(String, T)>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<String>,
}

/// One shard's part of a page.
pub(crate) struct Part<T> {
    pub(crate) items: Vec<(String, T)>,
    /// The last key that was read, when the shard may hold more.
    pub(crate) frontier: Option<String>,
}

impl Range {
    /// Whether no key can lie inside.
    pub(crate) fn is_empty(&self) -> bool {
        self.low > self.high
    }

    /// Everything that begins with a prefix of ASCII characters.
    pub fn prefix(prefix: &str) -> Self {
        Self {
            low: prefix.to_owned(),
            high: format!("{prefix}~"),
        }
    }
}

impl<T> Slice<T> {
    /// The same with keys that lack a prefix.
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
    /// The bounds of a query for this page; the item to start behind is included and has to be
    /// left out by [`Page::admits`].
    pub(crate) fn narrow(&self, mut range: Range) -> Range {
        match &self.after {
            Some(after) if self.ascending && *after > range.low => range.low.clone_from(after),
            Some(after) if !self.ascending && *after < range.high => range.high.clone_from(after),
            _ => {}
        }
        range
    }

    /// Whether an item lies behind the start.
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
