//! Each part of a detector, and all of it.
//!
//! ```sh
//! cargo bench -p effdet-model
//! ```
//!
//! Ids are `effdet-model/PART/CONFIGURATION/DEVICE`.

#![allow(clippy::expect_used, reason = "a bench that cannot be set up has nothing to say")]

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effdet_model::EfficientDetConfig;

fn parts(criterion: &mut Criterion) {
    let device = Device::flex();
    for name in ["tf_efficientdet_lite0", "tf_efficientdet_d0"] {
        let config = EfficientDetConfig::named(name).expect("a known name");
        let model = config.init(&device).expect("a valid configuration");
        let size = config.image_size;
        let pictures = Tensor::<4>::ones([1, 3, size.height, size.width], &device);
        let features = model.backbone.forward(pictures.clone());
        let levels = model.fpn.forward(features.clone());

        let mut bench = |part: &str, run: &dyn Fn()| {
            let mut group = criterion.benchmark_group(format!("effdet-model/{part}"));
            group.sample_size(10);
            group.bench_function(BenchmarkId::new(name, "cpu"), |bencher| bencher.iter(run));
            group.finish();
        };
        bench("backbone", &|| {
            black_box(model.backbone.forward(pictures.clone()));
        });
        bench("fpn", &|| {
            black_box(model.fpn.forward(features.clone()));
        });
        bench("heads", &|| {
            black_box((model.class_net.forward(&levels), model.box_net.forward(&levels)));
        });
        bench("forward", &|| {
            black_box(model.forward(pictures.clone()));
        });
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
