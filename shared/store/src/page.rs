//! Pages of a list that is sorted by its sort key.

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

    /// How many items a query must read to fill the page.
    pub(crate) fn query_limit(&self) -> i32 {
        let start = usize::from(self.after.is_some());
        i32::try_from(self.limit + start).unwrap_or(i32::MAX)
    }

    /// Merges what each shard returned into one page.
    pub(crate) fn merge<T>(&self, shards: Vec<Vec<(String, T)>>) -> Vec<T> {
        let mut all: Vec<_> = shards
            .into_iter()
            .flatten()
            .filter(|(key, _)| self.admits(key))
            .collect();
        all.sort_by(|(a, _), (b, _)| if self.ascending { a.cmp(b) } else { b.cmp(a) });
        all.into_iter()
            .take(self.limit)
            .map(|(_, item)| item)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_merge_in_order_without_the_start() {
        let page = Page {
            limit: 3,
            ascending: false,
            after: Some("d".into()),
        };
        let key = |k: &str| (k.to_owned(), k.to_owned());
        let merged = page.merge(vec![vec![key("d"), key("a")], vec![key("c"), key("b")]]);
        assert_eq!(merged, ["c", "b", "a"]);
    }

    #[test]
    fn a_page_narrows_its_range_in_reading_direction() {
        let range = || Range {
            low: "a".into(),
            high: "z".into(),
        };
        let page = |ascending| Page {
            limit: 1,
            ascending,
            after: Some("m".into()),
        };
        assert_eq!(page(true).narrow(range()).low, "m");
        assert_eq!(page(false).narrow(range()).high, "m");
    }
}
