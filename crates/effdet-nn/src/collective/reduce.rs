//! Sums over workers of tensors in the memory of the process.

use burn::tensor::{DType, Element, Tensor, TensorData};

use super::Collective;

/// The sum over the workers, recorded for gradients where `input` is.
pub(super) fn on_host(group: &Collective, input: Tensor<1>) -> Tensor<1> {
    if !input.device().is_autodiff() {
        return plain(group, input);
    }
    // Only tensors of the CPU come here.
    #[cfg(feature = "flex")]
    return super::recorded::sum(group, input);
    #[cfg(not(feature = "flex"))]
    {
        group.leave();
        input
    }
}

/// The sum, in double precision and in the order of ranks, rounded once.
pub(super) fn plain(group: &Collective, input: Tensor<1>) -> Tensor<1> {
    let (device, dtype) = (input.device(), input.dtype());
    let Ok(data) = input.clone().try_into_data() else {
        group.leave();
        return input;
    };
    let sums = match dtype {
        DType::F64 => summed(group, data.iter::<f64>().collect(), |sum| sum),
        _ => summed(group, data.iter::<f32>().collect(), |sum| sum as f32),
    };
    sums.map_or(input, |sums| Tensor::from_data(sums, (&device, dtype)))
}

/// `None` when a worker has ended.
fn summed<T>(group: &Collective, values: Vec<T>, round: impl Fn(f64) -> T) -> Option<TensorData>
where
    T: Element + Copy + Into<f64> + Send + Sync + 'static,
{
    let length = values.len();
    let all = group.all_gather("a sum of tensors", values).ok()?;
    if all.iter().any(|values| values.len() != length) {
        group.leave();
        return None;
    }
    let sum = |i: usize| round(all.iter().map(|values| -> f64 { values[i].into() }).sum::<f64>());
    Some(TensorData::new((0..length).map(sum).collect::<Vec<T>>(), [length]))
}
