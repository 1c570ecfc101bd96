//! Paged lists: `limit`, `iterator`, `order` in, `data`, `iterator`, `prevIterator`, `done` out.
//!
//! An iterator is the key of the last item that was looked at; with a leading `-` it reads
//! backwards from the first one. Keys never change, so items that arrive while a caller pages
//! through do not shift later pages.
//!
//! **What a page costs is bounded**: at most [`MAX_ROUNDS`] rounds, each one Query of at most 1 MB
//! per shard. A filter that admits little may therefore leave a page short although more follows;
//! `done` tells, and the iterator goes on where the search ended.

use posthorn_domain::error::FieldError;
use posthorn_store::{Page, Slice};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::refusal::Refusal;

const DEFAULT_LIMIT: usize = 50;

/// The most items of a page, as Svix's.
pub(crate) const MAX_LIMIT: usize = 250;

/// How often a page that filters left short is read on.
pub(crate) const MAX_ROUNDS: usize = 4;

/// The query parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Items of the page.
    #[param(minimum = 1, maximum = 250)]
    pub(crate) limit: Option<usize>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    pub(crate) iterator: Option<String>,
    /// The direction of the list.
    #[param(inline)]
    pub(crate) order: Option<Order>,
}

/// The direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Order {
    /// Oldest, or first by name, first.
    Ascending,
    /// The other way round.
    Descending,
}

/// What to read for a page.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) page: Page,
    backwards: bool,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListOut<T> {
    data: Vec<T>,
    iterator: Option<String>,
    prev_iterator: Option<String>,
    done: bool,
}

impl Paging {
    /// The page to read, in an order that the caller may have chosen. `K` is what the iterator holds.
    pub(crate) fn plan<K: TryFrom<String>>(&self, default: Order) -> Result<Plan, FieldError> {
        let limit = match self.limit {
            None => DEFAULT_LIMIT,
            Some(limit @ 1..=MAX_LIMIT) => limit,
            Some(_) => {
                let msg = format!("must be from 1 to {MAX_LIMIT}");
                return Err(FieldError::at("query", "limit", msg));
            }
        };
        let ascending = self.order.unwrap_or(default) == Order::Ascending;
        let (after, backwards) = match self.iterator.as_deref() {
            None | Some("") => (None, false),
            Some(iterator) => match iterator.strip_prefix('-') {
                Some(before) => (Some(before.to_owned()), true),
                None => (Some(iterator.to_owned()), false),
            },
        };
        if after.clone().is_some_and(|key| K::try_from(key).is_err()) {
            let msg = "must be one that a list returned";
            return Err(FieldError::at("query", "iterator", msg));
        }
        let ascending = ascending != backwards;
        let page = Page {
            limit,
            ascending,
            after,
        };
        Ok(Plan { page, backwards })
    }
}

impl Plan {
    /// Reads slices until the page is full, the list ends or the bound is reached. `read` gives the
    /// items of one slice that the filters admit, with their keys.
    pub(crate) async fn fill<T, F: Future<Output = Result<Slice<T>, Refusal>>>(
        &self,
        mut read: impl FnMut(Page) -> F,
    ) -> Result<ListOut<T>, Refusal> {
        let mut page = self.page.clone();
        let mut found = Slice {
            items: Vec::new(),
            next: None,
        };
        for _ in 0..MAX_ROUNDS {
            let slice = read(page.clone()).await?;
            found.items.extend(slice.items);
            found.next = slice.next;
            if found.items.len() >= page.limit || found.next.is_none() {
                break;
            }
            page.after.clone_from(&found.next);
        }
        Ok(self.respond(found))
    }

    /// The response for what was read.
    pub(crate) fn respond<T>(&self, found: Slice<T>) -> ListOut<T> {
        let Slice {
            mut items,
            mut next,
        } = found;
        if items.len() > self.page.limit {
            items.truncate(self.page.limit);
            next = items.last().map(|(key, _)| key.clone());
        }
        let first = items.first().map(|(key, _)| key.clone());
        let last = items.last().map(|(key, _)| key.clone());
        let done = next.is_none();
        let onward = next.or(last);
        let mut data: Vec<T> = items.into_iter().map(|(_, item)| item).collect();
        let backward = |key: String| format!("-{key}");
        let (iterator, prev_iterator) = if self.backwards {
            data.reverse();
            (first, onward.map(backward))
        } else {
            let is_first_page = self.page.after.is_none();
            // A list without an end stays open: its last key finds what arrives later.
            let iterator = onward.or_else(|| self.page.after.clone());
            (iterator, first.filter(|_| !is_first_page).map(backward))
        };
        ListOut {
            data,
            iterator,
            prev_iterator,
            done,
        }
    }
}

/// The same slice with each item shown another way, or left out.
pub(crate) fn filter_map<T, U>(slice: Slice<T>, mut show: impl FnMut(T) -> Option<U>) -> Slice<U> {
    let items = slice.items.into_iter();
    Slice {
        items: items
            .filter_map(|(key, item)| Some((key, show(item)?)))
            .collect(),
        next: slice.next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(iterator: Option<&str>) -> Plan {
        let paging = Paging {
            limit: Some(2),
            iterator: iterator.map(str::to_owned),
            order: None,
        };
        paging.plan::<String>(Order::Ascending).unwrap()
    }

    fn slice(keys: &[&str], next: Option<&str>) -> Slice<String> {
        let item = |key: &&str| ((*key).to_owned(), (*key).to_owned());
        Slice {
            items: keys.iter().map(item).collect(),
            next: next.map(str::to_owned),
        }
    }

    #[test]
    fn a_page_knows_whether_more_follow() {
        let list = plan(None).respond(slice(&["a", "b"], Some("b")));
        assert_eq!((list.iterator.as_deref(), list.done), (Some("b"), false));
        assert_eq!(list.prev_iterator, None);
        let list = plan(Some("b")).respond(slice(&["c"], None));
        assert_eq!((list.iterator.as_deref(), list.done), (Some("c"), true));
        assert_eq!(list.prev_iterator.as_deref(), Some("-c"));
        let list = plan(Some("c")).respond(slice(&[], None));
        assert_eq!(
            list.iterator.as_deref(),
            Some("c"),
            "what arrives later is found"
        );
    }

    #[test]
    fn a_page_backwards_has_the_lists_order() {
        let plan = plan(Some("-e"));
        assert!(!plan.page.ascending);
        let list = plan.respond(slice(&["d", "c"], Some("c")));
        assert_eq!(list.data, ["c", "d"]);
        assert_eq!(list.prev_iterator.as_deref(), Some("-c"));
        assert_eq!(list.iterator.as_deref(), Some("d"));
    }

    #[tokio::test]
    async fn a_page_that_filters_left_short_is_read_on_within_the_bound() {
        let mut reads = 0;
        let plan = plan(None);
        let list = plan.fill(|page| {
            reads += 1;
            assert_eq!(page.after.is_none(), reads == 1);
            std::future::ready(Ok(slice(&[], Some("x"))))
        });
        let list: ListOut<String> = list.await.unwrap();
        assert_eq!((reads, list.done), (MAX_ROUNDS, false));
        assert_eq!(
            list.iterator.as_deref(),
            Some("x"),
            "where the search ended"
        );
    }

    #[test]
    fn an_iterator_of_another_list_is_named() {
        let paging = Paging {
            iterator: Some("-msg_1".to_owned()),
            ..Paging::default()
        };
        let error = paging
            .plan::<posthorn_domain::id::MessageId>(Order::Ascending)
            .unwrap_err();
        assert_eq!(error.loc, ["query", "iterator"]);
    }

    #[test]
    fn a_limit_out_of_range_is_named() {
        let paging = Paging {
            limit: Some(0),
            ..Paging::default()
        };
        assert_eq!(
            paging.plan::<String>(Order::Ascending).unwrap_err().loc,
            ["query", "limit"]
        );
    }
}
