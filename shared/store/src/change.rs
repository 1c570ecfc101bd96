//! Changes of rows that others change at the same time: read, decide, write over what was read, and
//! start over when somebody else was faster.

use std::time::Duration;

use crate::{StoreError, Written};

/// How often a change is tried, and how long it lets others go first.
#[derive(Clone, Copy, Debug)]
pub struct Tries {
    most: u32,
    /// The wait after a try that failed, by its number from 0.
    pause: fn(u32) -> Duration,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<Row> {
    /// It is stored like this.
    Stored(Row),
    /// Nothing was to be written. This is what was read: `None`, nothing.
    Left(Option<Row>),
    /// Its new uid is another's.
    Taken,
    /// Others were faster every time.
    Contended,
}

impl Tries {
    /// So many, with a pause after each.
    pub const fn new(most: u32, pause: fn(u32) -> Duration) -> Self {
        Self { most, pause }
    }

    /// So many, one right after the other.
    pub const fn at_once(most: u32) -> Self {
        Self::new(most, |_| Duration::ZERO)
    }

    /// Repeats a step until it returns something; `None` when others were faster every time. An error
    /// ends it.
    pub async fn until<T, E, F>(self, mut step: impl FnMut() -> F) -> Result<Option<T>, E>
    where
        F: Future<Output = Result<Option<T>, E>>,
    {
        for tries in 0..self.most {
            if let Some(done) = step().await? {
                return Ok(Some(done));
            }
            self.pause(tries).await;
        }
        Ok(None)
    }

    async fn pause(self, tries: u32) {
        let pause = (self.pause)(tries);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Rows that are written over the version that was read.
pub(crate) trait Rows<Key: Copy> {
    type Row: Clone;

    /// Strongly consistent.
    fn read(&self, key: Key) -> impl Future<Output = Result<Option<Self::Row>, StoreError>> + Send;

    /// A conflict when what is there is not `before`.
    fn write(
        &self,
        key: Key,
        before: Option<&Self::Row>,
        after: &Self::Row,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;
}

/// Changes one row. `known` is the row when it was read already, or that there is none; `decide`
/// returns what to store instead of what was read, or `None` to leave it.
pub(crate) async fn change<Key: Copy, R: Rows<Key>, E: From<StoreError>, F>(
    tries: Tries,
    rows: &R,
    key: Key,
    mut known: Option<Option<R::Row>>,
    mut decide: impl FnMut(Option<R::Row>) -> F,
) -> Result<Changed<R::Row>, E>
where
    F: Future<Output = Result<Option<R::Row>, E>>,
{
    for number in 0..tries.most {
        let before = match known.take() {
            Some(known) => known,
            None => rows.read(key).await?,
        };
        let Some(after) = decide(before.clone()).await? else {
            return Ok(Changed::Left(before));
        };
        match rows.write(key, before.as_ref(), &after).await? {
            Written::Yes => return Ok(Changed::Stored(after)),
            Written::Taken => return Ok(Changed::Taken),
            Written::Conflict => tries.pause(number).await,
        }
    }
    Ok(Changed::Contended)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;

    const TRIES: Tries = Tries::at_once(3);

    /// A row that somebody else changes before each of the next writes.
    struct Busy {
        row: Cell<u64>,
        others: Cell<u32>,
    }

    impl Rows<()> for Busy {
        type Row = u64;

        fn read(&self, (): ()) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send {
            ready(Ok(Some(self.row.get())))
        }

        fn write(
            &self,
            (): (),
            before: Option<&u64>,
            after: &u64,
        ) -> impl Future<Output = Result<Written, StoreError>> + Send {
            if let Some(left) = self.others.get().checked_sub(1) {
                self.others.set(left);
                self.row.set(self.row.get() + 100);
            }
            let is_same = before == Some(&self.row.get());
            if is_same {
                self.row.set(*after);
            }
            ready(Ok(match is_same {
                true => Written::Yes,
                false => Written::Conflict,
            }))
        }
    }

    async fn increment(others: u32) -> (Changed<u64>, u64) {
        let rows = Busy {
            row: Cell::new(1),
            others: Cell::new(others),
        };
        let decide = |before: Option<u64>| ready(Ok::<_, StoreError>(before.map(|it| it + 1)));
        let changed = change(TRIES, &rows, (), Some(Some(1)), decide).await;
        (changed.unwrap(), rows.row.get())
    }

    #[tokio::test]
    async fn a_change_is_made_to_what_others_left() {
        assert_eq!(increment(0).await, (Changed::Stored(2), 2));
        assert_eq!(increment(2).await, (Changed::Stored(202), 202));
        assert_eq!(increment(3).await, (Changed::Contended, 301));
    }

    #[tokio::test]
    async fn what_needs_no_change_is_not_written() {
        let rows = Busy {
            row: Cell::new(1),
            others: Cell::new(0),
        };
        let decide = |_| ready(Ok::<_, StoreError>(None));
        let changed = change(TRIES, &rows, (), None, decide).await;
        assert_eq!(changed.unwrap(), Changed::Left(Some(1)));
    }
}
