//! Running out of a device's memory.

use std::any::Any;
use std::fmt::Display;
use std::iter::successors;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use burn::tensor::Device;

/// A batch was too large for its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device has no memory for a batch of {batch}: {}", advice(*.fits))]
pub struct OutOfMemory {
    /// Number of pictures.
    pub batch: usize,
    /// The largest of its halves, quarters, ... that went through; 0 if not even one picture does.
    pub fits: usize,
}

fn advice(fits: usize) -> String {
    match fits {
        0 => "not even one picture of this size fits".to_owned(),
        fits => format!("{fits} fit"),
    }
}

/// Runs `work` for a batch; if the device has no memory left for it, finds out for how much of the batch it has.
///
/// Backends report it as an error at the next reading, or as a panic; other panics go on. `work` is told how many
/// pictures to take and is called again with fewer only after a failure, to find the number that fits.
///
/// # Errors
/// What `work` gives, and [`OutOfMemory`].
pub fn catch_out_of_memory<T, E: Display + From<OutOfMemory>>(
    batch: usize,
    device: &Device,
    mut work: impl FnMut(usize) -> Result<T, E>,
) -> Result<T, E> {
    let mut attempt = |pictures: usize| -> Option<Result<T, E>> {
        match catch_unwind(AssertUnwindSafe(|| work(pictures))) {
            Ok(Err(error)) if is_out_of_memory(&error.to_string()) => None,
            Ok(result) => Some(result),
            Err(panic) if is_out_of_memory(panic_text(panic.as_ref())) => None,
            Err(panic) => resume_unwind(panic),
        }
    };
    if let Some(result) = attempt(batch) {
        return result;
    }
    let halves = successors(Some(batch / 2), |n| Some(n / 2)).take_while(|n| *n > 0);
    let fits = halves.into_iter().find(|pictures| {
        device.memory_cleanup();
        matches!(attempt(*pictures), Some(Ok(_)))
    });
    Err(OutOfMemory { batch, fits: fits.unwrap_or(0) }.into())
}

/// Whether a backend's message says that memory ran out: CubeCL, CUDA, LibTorch, Vulkan.
pub fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    ["out of memory", "out of device memory", "out_of_memory", "outofmemory", "can't allocate"]
        .iter()
        .any(|phrase| message.contains(phrase))
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("the backend failed")
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Error {
        #[error("cannot read back: {0}")]
        Read(String),
        #[error(transparent)]
        Memory(#[from] OutOfMemory),
    }

    /// A device with room for `room` pictures.
    fn run(batch: usize, room: usize, fail: fn(usize) -> Result<usize, Error>) -> Result<usize, Error> {
        catch_out_of_memory(batch, &Device::flex(), |n| if n <= room { Ok(n) } else { fail(n) })
    }

    #[test]
    fn a_batch_that_does_not_fit_is_named_with_the_largest_part_that_does() {
        fn by_error(_: usize) -> Result<usize, Error> {
            Err(Error::Read("out of device memory allocating 1099511627776 bytes".to_owned()))
        }
        fn by_panic(batch: usize) -> Result<usize, Error> {
            panic!("CUDA out of memory. Tried to allocate {batch} GiB")
        }
        for fail in [by_error as fn(usize) -> _, by_panic] {
            assert_eq!(run(32, 40, fail), Ok(32));
            let error = run(32, 9, fail).unwrap_err();
            assert_eq!(error, Error::Memory(OutOfMemory { batch: 32, fits: 8 }));
            assert_eq!(error.to_string(), "the device has no memory for a batch of 32: 8 fit");
            let error = run(1, 0, fail).unwrap_err().to_string();
            assert!(error.ends_with("batch of 1: not even one picture of this size fits"), "{error}");
        }
    }

    #[test]
    fn other_failures_are_left_as_they_are() {
        let error = run(2, 0, |_| Err(Error::Read("lost".to_owned())));
        assert_eq!(error, Err(Error::Read("lost".to_owned())));
        let panic = catch_unwind(|| run(2, 0, |_| panic!("shapes differ"))).unwrap_err();
        assert_eq!(panic_text(panic.as_ref()), "shapes differ");
    }
}
