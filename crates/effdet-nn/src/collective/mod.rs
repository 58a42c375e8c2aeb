//! Workers that train one model together, each with a copy of it and a part of every batch.
//!
//! A [`Collective`] is what a worker knows of the others. Everything they exchange goes through it: gradients, the
//! statistics of batch norms, what the loss is divided by, and numbers on the host. All workers make the same calls in
//! the same order; sums are taken in the order of ranks, so every worker has the same bits.
//!
//! Layers find the collective of their thread by themselves while it is [entered](Collective::enter), as
//! [`BatchNorm`](crate::BatchNorm) and [`DropPath`](crate::DropPath) do.

mod exchange;
#[cfg(feature = "flex")]
mod recorded;
mod reduce;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use exchange::Exchange;

/// Why workers could not exchange something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// Another worker has ended, by an error or before its time.
    #[error("another worker has ended")]
    Left,
    /// Workers are at different places of their work.
    #[error("workers are out of step: one is at {here}, another elsewhere")]
    OutOfStep {
        /// Where this worker is.
        here: &'static str,
    },
    /// Devices that cannot work together.
    #[error(
        "{devices} devices cannot train together: they must be several times the CPU, or different CUDA cards"
    )]
    Devices {
        /// How many there are.
        devices: usize,
    },
}

/// How tensors get from worker to worker.
#[derive(Clone, Debug)]
enum Transport {
    /// Through the memory of the process.
    Host,
    /// By NCCL between these devices.
    #[cfg(feature = "cuda")]
    Nccl(Arc<[Device]>),
}

/// A worker's place among those that train together.
///
/// # Reference
/// PyTorch's process groups, here among the threads of one process.
#[derive(Clone, Debug)]
pub struct Collective {
    rank: usize,
    exchange: Arc<Exchange>,
    transport: Transport,
}

impl Collective {
    /// One for each of `world_size` workers on the CPU, by rank.
    pub fn on_cpu(world_size: usize) -> Vec<Self> {
        Self::group(world_size, &Transport::Host)
    }

    /// One for each device, by rank: all the CPU, or different CUDA cards, between which tensors go by NCCL.
    ///
    /// # Errors
    /// [`CollectiveError::Devices`] for others, and for a card that is named twice.
    pub fn on_devices(devices: &[Device]) -> Result<Vec<Self>, CollectiveError> {
        let devices: Vec<Device> = devices.iter().map(|device| device.clone().without_autodiff()).collect();
        if devices.iter().all(crate::native::runs_on) {
            return Ok(Self::on_cpu(devices.len()));
        }
        #[cfg(feature = "cuda")]
        {
            let cards = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
            let are_cards = devices.iter().all(|device| cards.contains(device));
            let differ = (1..devices.len()).all(|i| !devices[..i].contains(&devices[i]));
            if are_cards && differ {
                let world_size = devices.len();
                return Ok(Self::group(world_size, &Transport::Nccl(devices.into())));
            }
        }
        Err(CollectiveError::Devices { devices: devices.len() })
    }

    fn group(world_size: usize, transport: &Transport) -> Vec<Self> {
        let exchange = Arc::new(Exchange::new(world_size));
        let worker = |rank| Self { rank, exchange: Arc::clone(&exchange), transport: transport.clone() };
        (0..world_size).map(worker).collect()
    }

    /// Number of this worker, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of workers.
    pub fn world_size(&self) -> usize {
        self.exchange.world_size()
    }

    /// Whether this worker writes the files and speaks for all.
    pub fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// The values of all workers, by rank. `what` names the call.
    ///
    /// # Errors
    /// If another worker has ended or makes another call.
    pub fn all_gather<T: Send + Sync + 'static>(
        &self,
        what: &'static str,
        value: T,
    ) -> Result<Vec<Arc<T>>, CollectiveError> {
        self.exchange.all_gather(self.rank, what, value)
    }

    /// Sums over the workers, taken in the order of ranks.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    pub fn sum<const N: usize>(
        &self,
        what: &'static str,
        values: [f64; N],
    ) -> Result<[f64; N], CollectiveError> {
        let all = self.all_gather(what, values)?;
        Ok(std::array::from_fn(|i| all.iter().map(|values| values[i]).sum()))
    }

    /// Whether it is true on any worker.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    pub fn any(&self, what: &'static str, value: bool) -> Result<bool, CollectiveError> {
        Ok(self.all_gather(what, value)?.iter().any(|value| **value))
    }

    /// The value of the first worker.
    ///
    /// # Errors
    /// As [`all_gather`](Self::all_gather).
    pub fn broadcast<T: Clone + Send + Sync + 'static>(
        &self,
        what: &'static str,
        value: T,
    ) -> Result<T, CollectiveError> {
        Ok(T::clone(&self.all_gather(what, value)?[0]))
    }

    /// The sum over the workers of a tensor that has one shape on all of them. The gradient of the result is summed the
    /// same way. When another worker has ended the tensor stays as it is; the next call on the host says so.
    ///
    /// # Shapes
    /// - `input`, output: `[n]`
    pub fn all_reduce(&self, input: Tensor<1>) -> Tensor<1> {
        match &self.transport {
            Transport::Host => reduce::on_host(self, input),
            #[cfg(feature = "cuda")]
            Transport::Nccl(devices) => {
                use burn::tensor::distributed::{ReduceOperation, all_reduce};
                all_reduce(input, ReduceOperation::Sum, devices.to_vec()).resolve()
            }
        }
    }

    /// Tells the others that this worker has ended: none waits for it any more.
    pub fn leave(&self) {
        self.exchange.leave();
    }

    /// Makes this the collective of the thread until the result is dropped. `seed` decides which paths are dropped:
    /// those of picture `i` of rank `r` are those of picture `i · world_size + r` of one worker.
    pub fn enter(&self, seed: u64) -> Entered {
        let before = CURRENT.replace(Some(self.clone()));
        Entered { before, draws: DRAWS.replace((seed, 0)) }
    }

    /// The collective of the thread.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// For each of `count` pictures of this worker whether something of probability `p` happens to it; each call draws
    /// anew.
    pub(crate) fn draw(&self, count: usize, p: f64) -> TensorData {
        let (seed, calls) = DRAWS.get();
        DRAWS.set((seed, calls + 1));
        let happens = |picture: usize| {
            let place = (picture * self.world_size() + self.rank) as u64;
            let bits = finalise(finalise(seed ^ calls.wrapping_mul(GOLDEN)) ^ place.wrapping_mul(GOLDEN));
            let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
            if uniform < p { 1.0f32 } else { 0.0 }
        };
        TensorData::from((0..count).map(happens).collect::<Vec<_>>().as_slice())
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Collective>> = const { RefCell::new(None) };
    /// Seed, and calls so far.
    static DRAWS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Puts the thread's collective back to what it was when dropped.
#[must_use = "the collective is that of the thread until this is dropped"]
#[derive(Debug)]
pub struct Entered {
    before: Option<Collective>,
    draws: (u64, u64),
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
        DRAWS.set(self.draws);
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's.
fn finalise(z: u64) -> u64 {
    let z = z.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
