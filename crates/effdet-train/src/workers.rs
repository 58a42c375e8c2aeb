//! Several workers in one process.

use std::panic::resume_unwind;
use std::thread;

use effdet_nn::{Collective, CollectiveError};

use crate::Error;

/// Room for the recursion of deep networks; new threads have less than the first one.
const STACK: usize = 16 << 20;

/// Runs `work` for every worker at once, each on a thread of its own with its own one of `parts`; the results by rank.
///
/// What the workers compute together, such as gradients and the statistics of batch norms, goes through the
/// [`Collective`]. A worker that fails ends the others.
///
/// # Errors
/// The first error of a worker that is not merely the end of another one.
///
/// # Panics
/// If a worker does.
pub fn run_workers<P: Send, T: Send>(
    group: Vec<Collective>,
    parts: Vec<P>,
    work: impl Fn(&Collective, P) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let work = &work;
    let results: Vec<Result<T, Error>> = thread::scope(|scope| {
        let start = |(member, part): (Collective, P)| {
            let member = Leaving(member);
            let name = format!("worker-{}", member.0.rank());
            let builder = thread::Builder::new().name(name).stack_size(STACK);
            // A thread that does not start drops its member, too.
            builder.spawn_scoped(scope, move || work(&member.0, part))
        };
        let started: Vec<_> = group.into_iter().zip(parts).map(start).collect();
        let join = |worker: std::io::Result<thread::ScopedJoinHandle<'_, _>>| match worker {
            Ok(worker) => worker.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(error) => Err(Error::Thread(error)),
        };
        started.into_iter().map(join).collect()
    });
    let mut done = Vec::with_capacity(results.len());
    let mut failure = None;
    for result in results {
        match (result, &failure) {
            (Ok(value), _) => done.push(value),
            (Err(error), None | Some(Error::Workers(CollectiveError::Left))) => failure = Some(error),
            (Err(_), Some(_)) => {}
        }
    }
    failure.map_or(Ok(done), Err)
}

/// A member of whose end the others learn, whichever way it comes: they would wait for ever.
struct Leaving(Collective);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave();
    }
}
