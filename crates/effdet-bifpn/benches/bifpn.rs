//! The feature network of several configurations.
//!
//! ```sh
//! cargo bench -p effdet-bifpn                                        # on the CPU
//! EFFDET_DEVICE=cuda:0 cargo bench -p effdet-bifpn --features cuda   # on a GPU
//! ```
//!
//! Ids are `effdet-bifpn/forward/CONFIGURATION/DEVICE`. The device is waited for inside the timed region, after enough
//! calls for autotuning to be over.

#![allow(clippy::expect_used, clippy::panic, reason = "a bench that cannot be set up has nothing to say")]

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use effdet_bifpn::{BiFpnConfig, FpnGraph};

/// Name, graph, channels, cells, side of the input, channels of the backbone's maps.
type Configuration = (&'static str, &'static str, usize, usize, usize, [usize; 3]);
const CONFIGURATIONS: [Configuration; 4] = [
    ("d0", "bifpn_fa", 64, 3, 512, [40, 112, 320]),
    ("lite0", "bifpn_sum", 64, 3, 320, [40, 112, 320]),
    ("q0", "qufpn_fa", 64, 3, 512, [40, 112, 320]),
    ("d2", "bifpn_fa", 112, 5, 768, [48, 120, 352]),
];

fn device() -> (String, Device) {
    let name = std::env::var("EFFDET_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let device = match name.split_once(':') {
        #[cfg(feature = "cuda")]
        Some(("cuda", index)) => Device::cuda(index.parse::<usize>().expect("EFFDET_DEVICE=cuda:INDEX")),
        None if name == "cpu" => Device::flex(),
        _ => panic!("EFFDET_DEVICE={name}: this bench was not built for it (feature cuda)"),
    };
    (name, device)
}

fn forward(criterion: &mut Criterion) {
    let (name, device) = device();
    let mut group = criterion.benchmark_group("effdet-bifpn/forward");
    for (configuration, graph, channels, repeats, side, in_channels) in CONFIGURATIONS {
        let graph = FpnGraph::named(graph, 3, 7).expect("a known graph");
        let config = BiFpnConfig { channels, repeats, ..BiFpnConfig::new(graph, in_channels) };
        let network = config.init(&device).expect("a valid configuration");
        let maps: Vec<Tensor<4>> = in_channels
            .iter()
            .zip([8, 16, 32])
            .map(|(&channels, reduction)| {
                Tensor::ones([1, channels, side / reduction, side / reduction], &device)
            })
            .collect();
        let run = || {
            black_box(network.forward(maps.clone()));
            device.sync().expect("the device finishes");
        };
        (0..5).for_each(|_| run());
        group.bench_function(BenchmarkId::new(configuration, &name), |bencher| bencher.iter(run));
    }
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
