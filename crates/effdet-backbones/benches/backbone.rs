//! The backbones of D0 to D7.
//!
//! ```sh
//! cargo bench -p effdet-backbones                                        # on the CPU
//! EFFDET_DEVICE=cuda:0 cargo bench -p effdet-backbones --features cuda   # on a GPU
//! ```
//!
//! `effdet_testing::bench` says what else can be chosen and what the ids mean.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use criterion::{Criterion, criterion_group, criterion_main};
use effdet_backbones::Backbone;
use effdet_testing::bench::Bench;

fn backbone(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    for model in &bench.models {
        let config = model.backbone_config().expect("a valid configuration");
        let inputs = vec![[model.in_channels, model.image_size.height, model.image_size.width]];
        bench
            .part(
                criterion,
                "effdet-backbones",
                &model.name,
                &inputs,
                |device| Ok(config.init(device)?),
                |backbone: &Backbone, pictures| {
                    pictures.into_iter().flat_map(|p| backbone.forward(p)).collect()
                },
                |backbone, pictures| pictures.into_iter().flat_map(|p| backbone.forward(p)).collect(),
            )
            .expect("the backbone runs");
    }
}

criterion_group!(benches, backbone);
criterion_main!(benches);
