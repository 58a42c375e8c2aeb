//! Threads that compute together.
//!
//! A network is some hundred steps of a few microseconds to a millisecond, so waking threads for each would cost more
//! than the steps. Workers are woken once per forward pass and walk through its steps side by side.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How often a waiting thread looks before it lets others run.
const SPINS: u32 = 4000;

/// A job that every worker that comes in time takes part in.
type Job = *const (dyn Fn(usize) + Sync);

/// A team of threads; the thread that calls [`run`](Self::run) is one of them.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
    /// One job at a time.
    running: Mutex<()>,
}

#[derive(Debug)]
struct Shared {
    /// Counts jobs; workers wait for it to move.
    epoch: AtomicU64,
    state: Mutex<State>,
    wake: Condvar,
    /// For each worker, whether it may still join the job, works on it, or is done.
    seats: Vec<AtomicU8>,
}

#[derive(Debug)]
struct State {
    job: Option<SendJob>,
    stop: bool,
}

#[derive(Clone, Copy, Debug)]
struct SendJob(Job);
// SAFETY: the job is `Sync`, and `run` does not return while a worker is in it.
unsafe impl Send for SendJob {}

const FREE: u8 = 0;
const OPEN: u8 = 1;
const TAKEN: u8 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// A team of `threads` threads, the caller among them. Fewer where the system gives no more.
    pub fn new(threads: usize) -> Self {
        let helpers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            epoch: AtomicU64::new(0),
            state: Mutex::new(State { job: None, stop: false }),
            wake: Condvar::new(),
            seats: (0..helpers).map(|_| AtomicU8::new(FREE)).collect(),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let builder = std::thread::Builder::new().name(format!("effdet-{}", index + 1));
            builder.spawn(move || shared.work(index)).ok()
        };
        let handles = (0..helpers).map_while(spawn).collect();
        Self { shared, handles, running: Mutex::new(()) }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Calls `job` with a number below [`threads`](Self::threads), on the caller's thread and on every other that is
    /// there before the caller's call ends. Returns when all calls have ended. A job must not run another on the same
    /// team: it would wait for itself.
    pub fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        let _one = lock(&self.running);
        let seats = &self.shared.seats[..self.handles.len()];
        if seats.is_empty() {
            return job(0);
        }
        let leave = Leave { seats };
        {
            let mut state = lock(&self.shared.state);
            // SAFETY: only the lifetime is changed; `leave` waits for everyone who has taken a seat, also if `job`
            // panics, and nobody takes one afterwards.
            let job: Job = unsafe { std::mem::transmute::<*const (dyn Fn(usize) + Sync), Job>(job) };
            state.job = Some(SendJob(job));
            seats.iter().for_each(|seat| seat.store(OPEN, Ordering::Release));
            self.shared.epoch.fetch_add(1, Ordering::Release);
        }
        self.shared.wake.notify_all();
        job(0);
        drop(leave);
    }
}

/// Closes the seats that nobody took and waits for the others.
struct Leave<'a> {
    seats: &'a [AtomicU8],
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        for seat in self.seats {
            let _ = seat.compare_exchange(OPEN, FREE, Ordering::AcqRel, Ordering::Acquire);
            let mut wait = Wait::default();
            while seat.load(Ordering::Acquire) != FREE {
                wait.pause();
            }
        }
    }
}

impl Shared {
    fn work(&self, index: usize) {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.epoch.load(Ordering::Acquire) == seen && spins < SPINS {
                std::hint::spin_loop();
                spins += 1;
            }
            let seat = &self.seats[index];
            let job = {
                let mut state = lock(&self.state);
                while self.epoch.load(Ordering::Acquire) == seen && !state.stop {
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.stop {
                    return;
                }
                seen = self.epoch.load(Ordering::Acquire);
                // Under the lock, so that job and seat are of the same call.
                if seat.compare_exchange(OPEN, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    continue;
                }
                state.job
            };
            let free = Free(seat);
            if let Some(SendJob(job)) = job {
                // SAFETY: the seat was open, so `run` of this job has not returned, and it waits for the seat.
                let job = unsafe { &*job };
                // What a panic means is the job's to say; the thread stays.
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(index + 1)));
            }
            drop(free);
        }
    }
}

/// Frees a seat, also on a panic.
struct Free<'a>(&'a AtomicU8);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(FREE, Ordering::Release);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        lock(&self.shared.state).stop = true;
        self.shared.wake.notify_all();
        self.handles.drain(..).for_each(|handle| drop(handle.join()));
    }
}

/// Waiting that is quick when the wait is short and polite when it is not.
#[derive(Default)]
pub(crate) struct Wait(u32);

impl Wait {
    pub(crate) fn pause(&mut self) {
        if self.0 < SPINS {
            self.0 += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_piece_of_work_is_done_once_job_after_job() {
        let workers = Workers::new(3);
        for pieces in [1, 5, 200] {
            for _ in 0..50 {
                let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
                workers.run(&|_| {
                    loop {
                        let piece = next.fetch_add(1, Ordering::Relaxed);
                        if piece >= pieces {
                            break;
                        }
                        sum.fetch_add(piece + 1, Ordering::Relaxed);
                    }
                });
                assert_eq!(sum.into_inner(), pieces * (pieces + 1) / 2);
            }
        }
    }
}
