//! Builds a backbone alone and prints the feature maps it gives.
//!
//! ```sh
//! cargo run --release -p effdet --example backbone_features -- mobilenetv4_conv_small
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use burn::tensor::Tensor;
use effdet::backbones;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_else(|| "tf_efficientnet_b0".to_owned());
    let config = backbones::create(&name)?.with_in_channels(1);
    for feature in config.feature_info()? {
        println!("{}: {} channels, 1/{} of the picture", feature.index, feature.channels, feature.reduction);
    }
    let device = effdet::device("cpu")?;
    let network = config.init(&device)?;
    for map in network.forward(Tensor::zeros([1, 1, 128, 192], &device)) {
        println!("{:?}", map.dims());
    }
    Ok(())
}
