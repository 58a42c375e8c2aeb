//! The class head and the box head of D0 to D7.
//!
//! ```sh
//! cargo bench -p effdet-heads --bench heads                                        # on the CPU
//! EFFDET_DEVICE=cuda:0 cargo bench -p effdet-heads --bench heads --features cuda   # on a GPU
//! ```
//!
//! `effdet_testing::bench` says what else can be chosen and what the ids mean.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use criterion::{Criterion, criterion_group, criterion_main};
use effdet_heads::{Head, HeadOutput};
use effdet_testing::bench::Bench;

fn heads(criterion: &mut Criterion) {
    let bench = Bench::from_env().expect("a device");
    for model in &bench.models {
        let levels = (3..8).map(|level| {
            let cells = |side: usize| side.div_ceil(1 << level);
            [model.channels, cells(model.image_size.height), cells(model.image_size.width)]
        });
        let inputs = levels.collect();
        let outputs = [(HeadOutput::Classes(model.num_classes), "class"), (HeadOutput::Boxes, "box")];
        for (output, name) in outputs {
            let config = model.head_config(output);
            bench
                .part(
                    criterion,
                    "effdet-heads",
                    &format!("{}-{name}", model.name),
                    &inputs,
                    |device| Ok(config.init(device)?),
                    |head: &Head, levels| head.forward(&levels),
                    |head, levels| head.forward(&levels),
                )
                .expect("the head runs");
        }
    }
}

criterion_group!(benches, heads);
criterion_main!(benches);
