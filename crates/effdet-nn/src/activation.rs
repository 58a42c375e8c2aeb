//! Element-wise activations.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use burn::tensor::{Tensor, activation};

/// An activation function, by the name timm and effdet give it.
///
/// # Reference
/// timm `layers/create_act.py`, of which these are the functions that the supported networks use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where positive, else `0.01 x`
    LeakyRelu,
    /// `x · sigmoid(x)`, also called SiLU
    Swish,
    /// `x · relu6(x + 3) / 6`
    HardSwish,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `x · Φ(x)`, exact
    Gelu,
    /// `x · tanh(ln(1 + eˣ))`
    Mish,
}

/// Names of the activations, the first of each being the one printed.
const NAMES: [(Activation, &[&str]); 10] = [
    (Activation::Identity, &["identity", "none"]),
    (Activation::Relu, &["relu"]),
    (Activation::Relu6, &["relu6"]),
    (Activation::LeakyRelu, &["leaky_relu"]),
    (Activation::Swish, &["swish", "silu"]),
    (Activation::HardSwish, &["hard_swish", "hardswish"]),
    (Activation::HardSigmoid, &["hard_sigmoid", "hardsigmoid"]),
    (Activation::Sigmoid, &["sigmoid"]),
    (Activation::Gelu, &["gelu"]),
    (Activation::Mish, &["mish"]),
];

impl Activation {
    /// Applies the function to every element.
    ///
    /// # Shapes
    /// - `input`, output: any, the same
    pub fn forward<const D: usize>(self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Activation::Identity => input,
            Activation::Relu => activation::relu(input),
            Activation::Relu6 => input.clamp(0.0, 6.0),
            Activation::LeakyRelu => activation::leaky_relu(input, 0.01),
            Activation::Swish => activation::silu(input),
            Activation::HardSwish => {
                let gate = Activation::HardSigmoid.forward(input.clone());
                input * gate
            }
            Activation::HardSigmoid => input.add_scalar(3.0).clamp(0.0, 6.0).div_scalar(6.0),
            Activation::Sigmoid => activation::sigmoid(input),
            Activation::Gelu => activation::gelu(input),
            Activation::Mish => {
                // tanh(ln(1 + e)) = n / (n + 2) with n = e² + 2e, exact also where ln(1 + e) has lost all digits.
                let e = input.clone().clamp_max(20.0).exp();
                let n = e.clone() * (e + 2.0);
                input * (n.clone() / (n + 2.0))
            }
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, names) = NAMES[*self as usize];
        f.write_str(names[0])
    }
}

/// The text names no known activation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown activation `{0}`: known are identity, relu, relu6, leaky_relu, swish, hard_swish, hard_sigmoid, sigmoid, gelu, mish"
)]
pub struct UnknownActivation(pub String);

impl FromStr for Activation {
    type Err = UnknownActivation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        NAMES
            .iter()
            .find(|(_, names)| names.contains(&name))
            .map(|(activation, _)| *activation)
            .ok_or_else(|| UnknownActivation(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    #[test]
    fn every_name_reads_back() {
        for (activation, names) in NAMES {
            for name in names {
                assert_eq!(name.parse(), Ok(activation));
            }
            assert_eq!(activation.to_string().parse(), Ok(activation));
        }
        assert!("swoosh".parse::<Activation>().unwrap_err().to_string().contains("swoosh"));
    }

    #[test]
    fn values_equal_pytorch() {
        // torch.nn.functional of [-4, -1, 0, 0.5, 2, 7]
        let cases: [(Activation, [f32; 6]); 9] = [
            (Activation::Relu, [0.0, 0.0, 0.0, 0.5, 2.0, 7.0]),
            (Activation::Relu6, [0.0, 0.0, 0.0, 0.5, 2.0, 6.0]),
            (Activation::LeakyRelu, [-0.04, -0.01, 0.0, 0.5, 2.0, 7.0]),
            (Activation::Swish, [-0.071_945, -0.268_941, 0.0, 0.311_230, 1.761_594, 6.993_622]),
            (Activation::HardSwish, [0.0, -0.333_333, 0.0, 0.291_667, 1.666_667, 7.0]),
            (Activation::HardSigmoid, [0.0, 0.333_333, 0.5, 0.583_333, 0.833_333, 1.0]),
            (Activation::Sigmoid, [0.017_986, 0.268_941, 0.5, 0.622_459, 0.880_797, 0.999_089]),
            (Activation::Gelu, [-0.000_127, -0.158_655, 0.0, 0.345_731, 1.9545, 7.0]),
            (Activation::Mish, [-0.072_592, -0.303_401, 0.0, 0.375_245, 1.943_959, 6.999_988]),
        ];
        let device = Device::flex();
        for (activation, expected) in cases {
            let input = Tensor::<1>::from_floats([-4.0, -1.0, 0.0, 0.5, 2.0, 7.0], &device);
            let expected = Tensor::<1>::from_floats(expected, &device).into_data();
            activation
                .forward(input)
                .into_data()
                .assert_approx_eq::<f32>(&expected, Tolerance::rel_abs(1e-5, 2e-6));
        }
    }
}
