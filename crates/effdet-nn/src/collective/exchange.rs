//! Where workers leave values for each other.

use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::CollectiveError;

/// Meets all workers in rounds: each brings a value, and all leave with those of all.
#[derive(Debug)]
pub(super) struct Exchange {
    round: Mutex<Round>,
    changed: Condvar,
}

#[derive(Debug)]
struct Round {
    /// What each worker has brought.
    brought: Vec<Option<Brought>>,
    /// Workers that have yet to take the values of a round that is complete; 0 while values are brought.
    to_take: usize,
    /// Whether a worker has ended.
    left: bool,
}

#[derive(Clone, Debug)]
struct Brought {
    what: &'static str,
    value: Arc<dyn Any + Send + Sync>,
}

impl Exchange {
    pub(super) fn new(world_size: usize) -> Self {
        let round = Round { brought: vec![None; world_size], to_take: 0, left: false };
        Self { round: Mutex::new(round), changed: Condvar::new() }
    }

    pub(super) fn world_size(&self) -> usize {
        self.lock().brought.len()
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        // Nothing panics while the lock is held.
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while `busy`, and fails when a worker has ended before.
    fn wait<'a>(
        &self,
        mut round: MutexGuard<'a, Round>,
        busy: impl Fn(&Round) -> bool,
    ) -> Result<MutexGuard<'a, Round>, CollectiveError> {
        while busy(&round) {
            if round.left {
                return Err(CollectiveError::Left);
            }
            round = self.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(round)
    }

    pub(super) fn all_gather<T: Send + Sync + 'static>(
        &self,
        rank: usize,
        what: &'static str,
        value: T,
    ) -> Result<Vec<Arc<T>>, CollectiveError> {
        // The round before may still have values that others have to take.
        let mut round = self.wait(self.lock(), |round| round.to_take > 0)?;
        if round.left {
            return Err(CollectiveError::Left);
        }
        round.brought[rank] = Some(Brought { what, value: Arc::new(value) });
        if round.brought.iter().all(Option::is_some) {
            round.to_take = round.brought.len();
            self.changed.notify_all();
        }
        let mut round = self.wait(round, |round| round.to_take == 0)?;
        let all: Vec<Brought> = round.brought.iter().flatten().cloned().collect();
        round.to_take -= 1;
        if round.to_take == 0 {
            round.brought.fill(None);
            self.changed.notify_all();
        }
        drop(round);
        let values = all.into_iter().map(|brought| {
            let same = brought.what == what;
            brought.value.downcast::<T>().ok().filter(|_| same)
        });
        values.collect::<Option<_>>().ok_or_else(|| {
            self.leave();
            CollectiveError::OutOfStep { here: what }
        })
    }

    pub(super) fn leave(&self) {
        self.lock().left = true;
        self.changed.notify_all();
    }
}
