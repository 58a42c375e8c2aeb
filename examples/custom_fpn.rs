//! A detector with a feature pyramid graph of one's own: top-down only, over four levels.
//!
//! ```sh
//! cargo run --release -p effdet --example custom_fpn
//! ```
#![allow(clippy::print_stdout, reason = "an example")]

use burn::tensor::Tensor;
use effdet::bifpn::{FpnGraph, FpnNode, FusionMethod};
use effdet::model::EfficientDetConfig;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = |level, inputs: &[usize]| FpnNode {
        level,
        inputs: inputs.to_vec(),
        method: FusionMethod::FastAttention,
    };
    // Inputs 0 to 3 are the maps of levels 3 to 6; nodes are counted on from there.
    let nodes = vec![
        node(6, &[3]),
        node(5, &[2, 4]),
        node(4, &[1, 5]),
        // the outputs, finest first
        node(3, &[0, 6]),
        node(4, &[6]),
        node(5, &[5]),
        node(6, &[4]),
    ];
    let graph = FpnGraph { min_level: 3, max_level: 6, nodes };
    graph.validate()?;

    let config = EfficientDetConfig::named("efficientdet_lite0")?.with_fpn(graph).with_num_classes(4);
    let device = effdet::device("cpu")?;
    let outputs = config.init(&device)?.forward(Tensor::zeros([1, 3, 128, 128], &device));
    for logits in outputs.class_logits {
        println!("{:?}", logits.dims());
    }
    Ok(())
}
