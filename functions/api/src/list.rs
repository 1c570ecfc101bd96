//! Paged lists: `limit`, `iterator`, `order` in, `data`, `iterator`, `prevIterator`, `done` out.
//!
//! An iterator is the key of the last item that was looked at; with a leading `-` it reads
//! backwards from the first one (a key that begins with `-` or `.` gets a leading `.`). Keys never
//! change, so items that arrive while a caller pages through do not shift later pages.
//!
//! **What a page costs is bounded**: at most [`MAX_ROUNDS`] rounds, each one Query of at most 1 MB
//! per shard, and an answer of at most [`MAX_ANSWER_BYTES`]. A filter that admits little, or large
//! items, may therefore leave a page short although more follows; `done` tells, and the iterator
//! goes on where the page ended. Lists that show how messages stand, or filter attempts by channel,
//! also read one item of a second table for each of at most 250 items of a round.

use posthorn_contract::Refusal;
use posthorn_domain::error::FieldError;
use posthorn_store::{Page, Slice};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

const DEFAULT_LIMIT: usize = 50;

/// The most items of a page, as Svix's.
pub(crate) const MAX_LIMIT: usize = 250;

/// How often a page that filters left short is read on.
pub(crate) const MAX_ROUNDS: usize = 4;

/// Bytes of a page's items as they travel: Lambda answers with at most 6 MB, in which the JSON is a
/// string whose quotes are escaped (AWS Lambda: "Lambda quotas").
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The query parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// Items of the page.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 250)]
    pub(crate) limit: Option<Limit>,
    /// Where to go on: `iterator` or `prevIterator` of another page.
    pub(crate) iterator: Option<String>,
    /// The direction of the list.
    #[param(inline)]
    pub(crate) order: Option<Order>,
}

/// How many items a page has: 1 to [`MAX_LIMIT`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Limit(usize);

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(limit @ 1..=MAX_LIMIT) => Ok(Self(limit)),
            _ => Err(format!("must be a whole number from 1 to {MAX_LIMIT}")),
        }
    }
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
    limit: usize,
    backwards: bool,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListOut<T> {
    data: Vec<T>,
    #[schema(required)]
    iterator: Option<String>,
    prev_iterator: Option<String>,
    done: bool,
}

impl Paging {
    /// The page to read, in an order that the caller may have chosen. `K` is what the iterator holds.
    pub(crate) fn plan<K: TryFrom<String>>(&self, default: Order) -> Result<Plan, FieldError> {
        let limit = self.limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
        let ascending = self.order.unwrap_or(default) == Order::Ascending;
        let (after, backwards) = match self.iterator.as_deref().filter(|text| !text.is_empty()) {
            None => (None, false),
            Some(text) => match (text.strip_prefix('-'), text.strip_prefix('.')) {
                (Some(before), _) => (Some(before.to_owned()), true),
                (_, Some(escaped)) => (Some(escaped.to_owned()), false),
                _ => (Some(text.to_owned()), false),
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
        Ok(Plan {
            page,
            limit,
            backwards,
        })
    }
}

/// An iterator that reads on behind a key.
fn forward(key: String) -> String {
    if key.starts_with(['-', '.']) {
        format!(".{key}")
    } else {
        key
    }
}

/// An iterator that reads backwards from a key.
fn backward(key: String) -> String {
    format!("-{key}")
}

/// How many bytes an item takes in an answer, quotes and backslashes counted twice.
fn weight<T: Serialize>(item: &T) -> usize {
    let text = serde_json::to_string(item).unwrap_or_default();
    text.len()
        + text
            .bytes()
            .filter(|byte| matches!(byte, b'"' | b'\\'))
            .count()
}

impl Plan {
    /// The same with as much looked at in a round as may be, for a list with a filter.
    pub(crate) fn searching(mut self, has_filter: bool) -> Self {
        if has_filter {
            self.page.limit = MAX_LIMIT;
        }
        self
    }

    /// Reads slices until the page is full, the list ends or the bound is reached. `read` gives the
    /// items of one slice that the filters admit, with their keys.
    pub(crate) async fn fill<T: Serialize, F: Future<Output = Result<Slice<T>, Refusal>>>(
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
            if found.items.len() >= self.limit || found.next.is_none() {
                break;
            }
            page.after.clone_from(&found.next);
        }
        Ok(self.respond(found))
    }

    /// The response for what was read.
    pub(crate) fn respond<T: Serialize>(&self, found: Slice<T>) -> ListOut<T> {
        let Slice {
            mut items,
            mut next,
        } = found;
        let fitting = self.fitting(&items);
        if items.len() > fitting {
            items.truncate(fitting);
            next = items.last().map(|(key, _)| key.clone());
        }
        let first = items.first().map(|(key, _)| key.clone());
        let last = items.last().map(|(key, _)| key.clone());
        let done = next.is_none();
        // A page past the end leads back only: who reads until there is no iterator comes to an end,
        // and the last iterator of a page with items finds what arrives later.
        let start = || self.page.after.clone();
        let onward = next.or(last);
        let back = first.or_else(start);
        let mut data: Vec<T> = items.into_iter().map(|(_, item)| item).collect();
        let (iterator, prev_iterator) = if self.backwards {
            data.reverse();
            (back, onward)
        } else {
            (onward, back)
        };
        ListOut {
            data,
            iterator: iterator.map(forward),
            prev_iterator: prev_iterator.map(backward),
            done,
        }
    }

    /// How many items the page may hold: at least one, whatever its size.
    fn fitting<T: Serialize>(&self, items: &[(String, T)]) -> usize {
        let mut bytes = 0;
        let fits = |(_, item): &&(String, T)| {
            bytes += weight(item);
            bytes <= MAX_ANSWER_BYTES
        };
        let count = items.iter().take(self.limit).take_while(fits).count();
        count.max(items.len().min(1))
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
    use posthorn_domain::id::EndpointId;

    use super::*;

    fn plan(iterator: Option<&str>) -> Plan {
        let paging = Paging {
            limit: Some(Limit(2)),
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
        assert_eq!(
            list.prev_iterator.as_deref(),
            Some("-a"),
            "what arrives before it is found"
        );
        let list = plan(Some("b")).respond(slice(&["c"], None));
        assert_eq!((list.iterator.as_deref(), list.done), (Some("c"), true));
        assert_eq!(list.prev_iterator.as_deref(), Some("-c"));
        let list = plan(Some("c")).respond(slice(&[], None));
        assert_eq!(list.iterator, None, "a loop until there is none ends");
        assert_eq!(list.prev_iterator.as_deref(), Some("-c"));
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
    fn a_page_ends_before_its_answer_grows_too_large() {
        let item = |key: &str| (key.to_owned(), "\"".repeat(MAX_ANSWER_BYTES / 6));
        let found = Slice {
            items: vec![item("a"), item("b")],
            next: None,
        };
        let list = plan(None).respond(found);
        assert_eq!((list.data.len(), list.done), (1, false));
        assert_eq!(list.iterator.as_deref(), Some("a"));
    }

    #[test]
    fn keys_that_look_like_iterators_are_told_apart() {
        let paging = |iterator: Option<String>| Paging {
            iterator,
            ..Paging::default()
        };
        for key in ["-a", ".a", "..", "a"] {
            let plan = paging(None).plan::<String>(Order::Ascending).unwrap();
            let list = plan.respond(slice(&[key], Some(key)));
            let onward = paging(list.iterator)
                .plan::<String>(Order::Ascending)
                .unwrap();
            assert_eq!(
                (onward.page.after.as_deref(), onward.backwards),
                (Some(key), false)
            );
            let back = paging(list.prev_iterator)
                .plan::<String>(Order::Ascending)
                .unwrap();
            assert_eq!(
                (back.page.after.as_deref(), back.backwards),
                (Some(key), true)
            );
        }
    }

    #[test]
    fn fuzz_an_iterator_is_refused_or_goes_on_where_it_says() {
        let paging = |iterator: Option<String>| Paging {
            iterator,
            ..Paging::default()
        };
        let check = bolero::check!().with_iterations(50_000);
        check
            .with_type::<(String, bool)>()
            .for_each(|(text, is_id)| {
                let text = if *is_id {
                    format!("ep_{text}")
                } else {
                    text.clone()
                };
                let planned = paging(Some(text.clone())).plan::<EndpointId>(Order::Ascending);
                assert!(
                    planned.is_err() || text.is_empty() || text.contains("ep_"),
                    "{text:?}"
                );
                // Whatever a key holds, the iterators of its page lead back to it.
                let list = paging(None).plan::<String>(Order::Ascending).unwrap();
                let list = list.respond(slice(&[&text], Some(&text)));
                for (iterator, backwards) in [(list.iterator, false), (list.prev_iterator, true)] {
                    let plan = paging(iterator).plan::<String>(Order::Ascending).unwrap();
                    let expected = (!text.is_empty() || backwards).then_some(&*text);
                    assert_eq!(
                        (plan.page.after.as_deref(), plan.backwards),
                        (expected, backwards)
                    );
                }
            });
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
    fn a_limit_is_a_whole_number_within_its_range() {
        for text in ["0", "251", "-1", "1.5", "abc", "", "99999999999999999999"] {
            let error = Limit::try_from(text.to_owned()).unwrap_err();
            assert_eq!(error, "must be a whole number from 1 to 250", "{text}");
        }
        assert_eq!(Limit::try_from("250".to_owned()).unwrap().0, 250);
    }
}
