#![allow(clippy::unwrap_used, reason = "tests")]

use std::thread;

use burn::tensor::{DType, Distribution, Tolerance};

use super::*;
use crate::{Activation, BatchNormConfig, DropPath};

/// Runs `work` on as many workers, each on a thread of its own; the results by rank.
fn on_workers<T: Send>(world_size: usize, work: impl Fn(Collective) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let workers: Vec<_> = Collective::on_cpu(world_size)
            .into_iter()
            .map(|group| scope.spawn(move || work(group)))
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    })
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn all_workers_get_the_same_sums_round_after_round() {
    let sums = on_workers(3, |group| {
        let own = |round: u32| [f64::from(round) + group.rank() as f64];
        (0..200).map(|round| group.sum("a test", own(round)).unwrap()[0]).sum::<f64>()
    });
    let expected: f64 = (0..200u32).map(|round| 3.0 * f64::from(round) + 3.0).sum();
    assert_eq!(sums, [expected; 3]);
    let first = on_workers(3, |group| group.broadcast("a test", group.rank() + 5).unwrap());
    assert_eq!(first, [5; 3]);
    assert_eq!(on_workers(2, |group| group.any("a test", group.rank() == 1).unwrap()), [true; 2]);
}

#[test]
fn a_worker_that_ends_is_not_waited_for() {
    let results = on_workers(3, |group| {
        if group.rank() == 1 {
            group.leave();
            return None;
        }
        Some(group.sum("a test", [1.0]).and_then(|_| group.sum("a test", [1.0])))
    });
    assert_eq!(results, [Some(Err(CollectiveError::Left)), None, Some(Err(CollectiveError::Left))]);
}

#[test]
fn workers_that_make_different_calls_are_told() {
    let results = on_workers(2, |group| {
        if group.is_first() { group.sum("one call", [1.0]).err() } else { group.any("another", true).err() }
    });
    let out_of_step = |here| Some(CollectiveError::OutOfStep { here });
    assert_eq!(results, [out_of_step("one call"), out_of_step("another")]);
}

#[test]
fn the_gradient_of_a_sum_is_summed_too() {
    let gradients = on_workers(2, |group| {
        let device = Device::flex().autodiff();
        let rank = group.rank() as f32;
        let input = Tensor::<1>::from_floats([1.0 + rank, 2.0], &device).require_grad();
        let sum = group.all_reduce(input.clone());
        let factor = Tensor::from_floats([10.0 + rank, 20.0], &device);
        let grads = (sum.clone().square() * factor).sum().backward();
        (values(sum), values(input.grad(&grads).unwrap()))
    });
    // Σ over workers of (a + b)² · factor
    assert_eq!(gradients, vec![(vec![3.0, 4.0], vec![2.0 * 3.0 * 21.0, 2.0 * 4.0 * 40.0]); 2]);
}

/// Output, gradients of input, weight and bias, and running statistics of a batch norm over `batches`, one on each
/// worker.
fn normalised(batches: &[Tensor<4>], device: &Device) -> Vec<[Vec<f64>; 6]> {
    on_workers(batches.len(), |group| {
        let _entered = group.enter(0);
        let mut norm = BatchNormConfig::new(3).with_activation(Activation::Swish).init(device);
        let data = batches[group.rank()].clone().into_data();
        let dtype = data.dtype();
        let input = Tensor::<4>::from_data(data, (device, dtype)).require_grad();
        let cast = |vector: Tensor<1>| Tensor::from_data(vector.into_data(), (device, dtype)).require_grad();
        (norm.weight, norm.bias) = (norm.weight.map(cast), norm.bias.map(cast));
        norm.running_mean.set(norm.running_mean.value().cast(dtype));
        norm.running_var.set(norm.running_var.value().cast(dtype));
        let output = norm.forward(input.clone());
        let grads = (output.clone().square() * input.clone().detach().sin()).sum().backward();
        [
            values(output),
            values(input.grad(&grads).unwrap()),
            values(norm.weight.val().grad(&grads).unwrap()),
            values(norm.bias.val().grad(&grads).unwrap()),
            values(norm.running_mean.value()),
            values(norm.running_var.value()),
        ]
    })
}

/// Statistics over workers with batches of different sizes are those of the one batch, and so are all gradients, with
/// the kernels, with the composition of plain operations, and where operations are recomputed.
#[test]
fn a_batch_norm_over_workers_is_that_of_the_whole_batch() {
    let device = Device::flex();
    device.seed(5);
    // Far from zero, where squares less a squared mean would have no digits left.
    let whole = Tensor::<4>::random([5, 3, 7, 3], Distribution::Normal(300.0, 2.0), &device);
    let recording = device.clone().autodiff();
    for (dtype, device, tolerance) in [
        (DType::F32, recording.clone(), 2e-5),
        (DType::F32, recording.clone().gradient_checkpointing(), 5e-4),
        (DType::F64, recording, 1e-12),
    ] {
        let whole = whole.clone().cast(dtype);
        let one = normalised(std::slice::from_ref(&whole), &device).remove(0);
        let parts = [whole.clone().narrow(0, 0, 2), whole.narrow(0, 2, 3)];
        let [a, b]: [_; 2] = normalised(&parts, &device).try_into().unwrap();
        for (i, expected) in one.iter().enumerate() {
            let found: Vec<f64> = match i {
                // maps of pictures
                0 | 1 => a[i].iter().chain(&b[i]).copied().collect(),
                // gradients of parameters, which are summed in the end
                2 | 3 => a[i].iter().zip(&b[i]).map(|(a, b)| a + b).collect(),
                // statistics, the same everywhere
                _ => {
                    assert_eq!(a[i], b[i]);
                    a[i].clone()
                }
            };
            let scale = expected.iter().fold(0.0f64, |max, value| max.max(value.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= tolerance * scale,
                    "{dtype:?}, {i}: {found} for {expected}"
                );
            }
        }
    }
}

#[test]
fn one_worker_normalises_as_without_a_collective() {
    let device = Device::flex().autodiff();
    device.seed(6);
    let input = Tensor::<4>::random([2, 3, 4, 4], Distribution::Normal(1.0, 2.0), &device);
    let norm = BatchNormConfig::new(3).init(&device);
    let alone = norm.forward(input.clone()).into_data();
    let entered = Collective::on_cpu(1).remove(0).enter(0);
    let other = BatchNormConfig::new(3).init(&device);
    let output = other.forward(input.clone()).into_data();
    drop(entered);
    alone.assert_approx_eq::<f32>(&output, Tolerance::strict());
    let (expected, found) = (norm.running_var.value(), other.running_var.value());
    expected.into_data().assert_approx_eq::<f32>(&found.into_data(), Tolerance::strict());
    assert!(Collective::current().is_none());
}

#[test]
fn a_picture_drops_the_same_paths_whichever_worker_has_it() {
    let dropped = |world_size: usize, pictures: usize| {
        on_workers(world_size, |group| {
            let _entered = group.enter(7);
            let device = Device::flex().autodiff();
            let layer = DropPath::new(0.5, &device);
            let draw = |_| values(layer.forward(Tensor::ones([pictures, 1, 1, 1], &device)));
            (0..3).map(draw).collect::<Vec<_>>()
        })
    };
    let one = dropped(1, 64).remove(0);
    let two = dropped(2, 32);
    for (call, expected) in one.iter().enumerate() {
        let both = two[0][call].iter().zip(&two[1][call]).flat_map(|(a, b)| [*a, *b]);
        assert_eq!(&both.collect::<Vec<_>>(), expected);
        let kept = expected.iter().filter(|value| **value > 0.0).count();
        assert!((16..48).contains(&kept), "{kept} of 64 kept");
    }
    assert_ne!(one[0], one[1]);
}

#[test]
fn the_cpu_may_be_named_several_times() {
    assert_eq!(Collective::on_devices(&[Device::flex(), Device::flex()]).unwrap().len(), 2);
}
