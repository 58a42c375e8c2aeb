//! The feature network at the widths and repeats of D0 to D7.
//!
//! ```sh
//! cargo bench -p effdet-bifpn                                        # on the CPU
//! EFFDET_DEVICE=cuda:0 cargo bench -p effdet-bifpn --features cuda   # on a GPU
//! ```
//!
//! `effdet_testing::bench` says what else can be chosen and what the ids mean.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use criterion::{Criterion, criterion_group, criterion_main};
use effdet_bifpn::FeatureNetwork;
use effdet_testing::bench::Bench;

fn feature_network(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    for model in &bench.models {
        let config = model.fpn_config().expect("a valid configuration");
        let reductions = (0..config.in_channels.len()).map(|i| 8 << i);
        let side =
            |reduction: usize| (model.image_size.height / reduction, model.image_size.width / reduction);
        let inputs = config.in_channels.iter().zip(reductions).map(|(&channels, reduction)| {
            let (height, width) = side(reduction);
            [channels, height, width]
        });
        bench
            .part(
                criterion,
                "effdet-bifpn",
                &model.name,
                &inputs.collect(),
                |device| Ok(config.init(device)?),
                |network: &FeatureNetwork, maps| network.forward(maps),
                |network, maps| network.forward(maps),
            )
            .expect("the network runs");
    }
}

criterion_group!(benches, feature_network);
criterion_main!(benches);
