use cubecl::prelude::*;

use crate::Activation;

/// Applies an activation.
#[cube]
pub(super) fn activated<N: Size>(x: Vector<f32, N>, #[comptime] activation: Activation) -> Vector<f32, N> {
    let zero = Vector::<f32, N>::new(0.0);
    let one = Vector::<f32, N>::new(1.0);
    let six = Vector::<f32, N>::new(6.0);
    if comptime!(activation == Activation::Relu) {
        max(x, zero)
    } else if comptime!(activation == Activation::Relu6) {
        min(max(x, zero), six)
    } else if comptime!(activation == Activation::LeakyRelu) {
        max(x, x * Vector::<f32, N>::new(0.01))
    } else if comptime!(activation == Activation::Swish) {
        x / (one + (zero - x).exp())
    } else if comptime!(activation == Activation::Sigmoid) {
        one / (one + (zero - x).exp())
    } else if comptime!(activation == Activation::HardSigmoid) {
        hard_gate::<N>(x)
    } else if comptime!(activation == Activation::HardSwish) {
        x * hard_gate::<N>(x)
    } else if comptime!(activation == Activation::Mish) {
        // tanh(ln(1 + e)) = n / (n + 2) with n = e² + 2e; above 20 it is 1, and e² would leave its range
        let e = min(x, Vector::<f32, N>::new(20.0)).exp();
        let two = Vector::<f32, N>::new(2.0);
        let n = e * (e + two);
        x * n / (n + two)
    } else {
        x
    }
}

#[cube]
fn hard_gate<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let shifted = max(x + Vector::<f32, N>::new(3.0), Vector::<f32, N>::new(0.0));
    min(shifted, Vector::<f32, N>::new(6.0)) * Vector::<f32, N>::new(1.0 / 6.0)
}
