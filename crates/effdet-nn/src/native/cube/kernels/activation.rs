use cubecl::prelude::*;

use crate::Activation;

/// Applies an activation.
#[cube]
pub(super) fn activated<N: Size>(x: Vector<f32, N>, #[comptime] activation: Activation) -> Vector<f32, N> {
    let zero = Vector::<f32, N>::new(0.0);
    let one = Vector::<f32, N>::new(1.0);
    if comptime!(activation == Activation::Relu) {
        positive::<N>(x)
    } else if comptime!(activation == Activation::Relu6) {
        clamped::<N>(x, 6.0)
    } else if comptime!(activation == Activation::LeakyRelu) {
        let one_hundredth = Vector::<f32, N>::new(0.01);
        x * (one_hundredth + above::<N>(x, 0.0) * (one - one_hundredth))
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
    clamped::<N>(x + Vector::<f32, N>::new(3.0), 6.0) * Vector::<f32, N>::new(1.0 / 6.0)
}

/// At least zero. NaN stays, as `max` of a device would not have it.
#[cube]
pub(super) fn positive<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let value = x.extract(i);
        result.insert(i, select(value < 0.0, 0.0f32, value));
    }
    result
}

/// Between zero and `high`; NaN stays.
#[cube]
fn clamped<N: Size>(x: Vector<f32, N>, #[comptime] high: f32) -> Vector<f32, N> {
    let mut result = positive::<N>(x);
    #[unroll]
    for i in 0..N::value() {
        let value = result.extract(i);
        result.insert(i, select(value > high, high, value));
    }
    result
}

/// The derivative of an activation; at corners, where there is none, PyTorch's choice.
#[cube]
pub(super) fn slope<N: Size>(x: Vector<f32, N>, #[comptime] activation: Activation) -> Vector<f32, N> {
    let zero = Vector::<f32, N>::new(0.0);
    let one = Vector::<f32, N>::new(1.0);
    if comptime!(activation == Activation::Relu) {
        within::<N>(x, 0.0, f32::MAX)
    } else if comptime!(activation == Activation::Relu6) {
        within::<N>(x, 0.0, 6.0)
    } else if comptime!(activation == Activation::LeakyRelu) {
        let least = Vector::<f32, N>::new(0.01);
        least + within::<N>(x, 0.0, f32::MAX) * (one - least)
    } else if comptime!(activation == Activation::Swish) {
        let gate = one / (one + (zero - x).exp());
        gate * (one + x * (one - gate))
    } else if comptime!(activation == Activation::Sigmoid) {
        let gate = one / (one + (zero - x).exp());
        gate * (one - gate)
    } else if comptime!(activation == Activation::HardSigmoid) {
        within::<N>(x, -3.0, 3.0) * Vector::<f32, N>::new(1.0 / 6.0)
    } else if comptime!(activation == Activation::HardSwish) {
        let inside = x * Vector::<f32, N>::new(1.0 / 3.0) + Vector::<f32, N>::new(0.5);
        within::<N>(x, -3.0, 3.0) * inside + above::<N>(x, 3.0)
    } else if comptime!(activation == Activation::Mish) {
        let e = min(x, Vector::<f32, N>::new(20.0)).exp();
        let two = Vector::<f32, N>::new(2.0);
        let n = e * (e + two);
        let r = one / (n + two);
        // 1 - gate² = 4 (n + 1) / (n + 2)²
        let rest = Vector::<f32, N>::new(4.0) * (n + one) * r * r;
        n * r + x * rest / (one + (zero - x).exp())
    } else {
        one
    }
}

/// One where `x` is above `low` and below `high`, else zero.
#[cube]
fn within<N: Size>(x: Vector<f32, N>, #[comptime] low: f32, #[comptime] high: f32) -> Vector<f32, N> {
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        let value = x.extract(i);
        result.insert(i, select(value > low && value < high, 1.0f32, 0.0f32));
    }
    result
}

/// One where `x` is at least `low`, else zero.
#[cube]
fn above<N: Size>(x: Vector<f32, N>, #[comptime] low: f32) -> Vector<f32, N> {
    let mut result = Vector::<f32, N>::empty();
    #[unroll]
    for i in 0..N::value() {
        result.insert(i, select(x.extract(i) >= low, 1.0f32, 0.0f32));
    }
    result
}
