//! Paged lists: `limit`, `iterator`, `order` in, `data`, `iterator`, `prevIterator`, `done` out.
//!
//! An iterator is the key of the last item of a page; with a leading `-` it reads backwards from
//! the first one. Items that arrive while a caller pages through do not shift later pages.

use posthorn_domain::error::FieldError;
use posthorn_store::Page;
use serde::{Deserialize, Serialize};

const DEFAULT_LIMIT: usize = 50;

/// The most items of a page, as Svix's.
const MAX_LIMIT: usize = 250;

/// The query parameters of every list.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Paging {
    pub(crate) limit: Option<usize>,
    pub(crate) iterator: Option<String>,
    pub(crate) order: Option<Order>,
}

/// The direction of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
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
    /// One item more than the page has, to know whether there are more.
    pub(crate) page: Page,
    limit: usize,
    backwards: bool,
    is_first: bool,
}

/// A page of a list.
#[derive(Debug, Serialize)]
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
                return Err(FieldError::at(
                    "query",
                    "limit",
                    format!("must be from 1 to {MAX_LIMIT}"),
                ));
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
            return Err(FieldError::at(
                "query",
                "iterator",
                "must be one that a list returned",
            ));
        }
        let is_first = after.is_none();
        let page = Page {
            limit: limit + 1,
            ascending: ascending != backwards,
            after,
        };
        Ok(Plan {
            page,
            limit,
            backwards,
            is_first,
        })
    }
}

impl Plan {
    /// The response for the items that were read.
    pub(crate) fn respond<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> ListOut<T> {
        let has_more = items.len() > self.limit;
        items.truncate(self.limit);
        if self.backwards {
            items.reverse();
        }
        ListOut {
            iterator: items.last().map(&key),
            prev_iterator: items
                .first()
                .map(&key)
                .filter(|_| !self.is_first)
                .map(|key| format!("-{key}")),
            data: items,
            // Backwards, the page that the caller came from lies ahead.
            done: !has_more,
        }
    }
}

impl<T> ListOut<T> {
    /// The same page with each item shown another way.
    pub(crate) fn map<U>(self, show: impl Fn(T) -> U) -> ListOut<U> {
        self.flat_map(|item| [show(item)])
    }

    /// The same page with each item shown as several, or none.
    pub(crate) fn flat_map<U, I: IntoIterator<Item = U>>(
        self,
        show: impl FnMut(T) -> I,
    ) -> ListOut<U> {
        let Self {
            data,
            iterator,
            prev_iterator,
            done,
        } = self;
        ListOut {
            data: data.into_iter().flat_map(show).collect(),
            iterator,
            prev_iterator,
            done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(iterator: Option<&str>) -> Plan {
        let paging = Paging {
            limit: Some(2),
            iterator: iterator.map(str::to_owned),
            order: None,
        };
        paging.plan::<String>(Order::Ascending).unwrap()
    }

    #[test]
    fn a_page_knows_whether_more_follow() {
        let list = paging(None).respond(vec![1, 2, 3], ToString::to_string);
        assert_eq!(
            (list.data, list.iterator.as_deref(), list.done),
            (vec![1, 2], Some("2"), false)
        );
        assert_eq!(list.prev_iterator, None);
        assert!(paging(None).respond(vec![1, 2], ToString::to_string).done);
    }

    #[test]
    fn a_page_backwards_has_the_lists_order() {
        let plan = paging(Some("-5"));
        assert!(!plan.page.ascending);
        let list = plan.respond(vec![4, 3, 2], ToString::to_string);
        assert_eq!(
            (list.data, list.prev_iterator.as_deref()),
            (vec![3, 4], Some("-3"))
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
