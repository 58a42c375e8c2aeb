//! What the criterion benches of the networks share: the device, the counts, and how a part is timed.
//!
//! - `EFFDET_DEVICE`: `cpu` (default), `cuda:0`, `wgpu` or `tch`; the bench is built with the feature of that name
//! - `EFFDET_FLOAT`: `f32` (default), `f16` or `bf16`, once for a process
//! - `EFFDET_MODELS`: configurations, by default `tf_efficientdet_d0`, and `tf_efficientdet_d0` to `d7` off the host
//! - `EFFDET_BATCH`: sizes of a batch, by default 1, and 1, 8 and 32 off the host
//!
//! Ids are `CRATE/OPERATION/MODEL-bBATCH/DEVICE`. The device is waited for inside the timed region, after enough calls for
//! autotuning to be over. Criterion shows pictures and bytes a second. What a picture costs is written beside criterion's
//! results; `benches/table.py` makes a table of both.

use std::env;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput};
use effdet_model::EfficientDetConfig;
use effdet_nn::device::is_on_host;
use effdet_nn::native::DeviceProgram;
use effdet_nn::{Recorded, count_multiply_adds, count_parameters, device_with_float, record_all};
use serde_json::json;

/// Calls before those that count.
const WARM_UP: usize = 5;

/// The device that benches run on.
pub struct Bench {
    /// Its name, with the float type if it is not `f32`.
    pub name: String,
    /// The device.
    pub device: Device,
    /// Configurations to take parts of.
    pub models: Vec<EfficientDetConfig>,
    /// Sizes of a batch.
    pub batches: Vec<usize>,
}

/// Channels, height and width of every map that goes into a part.
pub type Maps = Vec<[usize; 3]>;

impl Bench {
    /// As the environment says.
    ///
    /// # Errors
    /// For a device that is not there and names or numbers that are none.
    pub fn from_env() -> Result<Self> {
        let device_name = env::var("EFFDET_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
        let float = env::var("EFFDET_FLOAT").unwrap_or_else(|_| "f32".to_owned());
        let device = device_with_float(&device_name, &float)?;
        let (models, batches) = if is_on_host(&device) {
            ("tf_efficientdet_d0".to_owned(), "1".to_owned())
        } else {
            let all: Vec<String> = (0..8).map(|i| format!("tf_efficientdet_d{i}")).collect();
            (all.join(","), "1,8,32".to_owned())
        };
        let models = env::var("EFFDET_MODELS").unwrap_or(models);
        let batches = env::var("EFFDET_BATCH").unwrap_or(batches);
        Ok(Self {
            name: if float == "f32" { device_name } else { format!("{device_name}-{float}") },
            device,
            models: models.split(',').map(EfficientDetConfig::named).collect::<Result<_, _>>()?,
            batches: batches
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .with_context(|| format!("EFFDET_BATCH={batches}"))?,
        })
    }

    /// Times the forward pass of a part in evaluation mode, off the host in its inference form too, and forward and
    /// backward pass in training mode. `record` is the forward pass once more, for maps that are recorded.
    ///
    /// # Errors
    /// If the counts cannot be written.
    #[expect(clippy::too_many_arguments, reason = "three functions of the part")]
    pub fn part<M: Module>(
        &self,
        criterion: &mut Criterion,
        crate_name: &str,
        model: &str,
        inputs: &Maps,
        init: impl Fn(&Device) -> Result<M>,
        forward: impl Fn(&M, Vec<Tensor<4>>) -> Vec<Tensor<4>>,
        record: impl Fn(&M, Vec<Recorded>) -> Vec<Recorded>,
    ) -> Result<()> {
        let evaluated = init(&self.device)?.valid();
        let training_device = self.device.clone().autodiff();
        let trained = init(&training_device)?;
        // An empty batch is enough to count, but not every device takes one.
        let host = Device::flex();
        let counted = init(&host)?.valid();
        let (outputs, multiply_adds) = count_multiply_adds(|| forward(&counted, maps(inputs, 0, &host)));
        let of_maps: usize = inputs.iter().map(|shape| shape.iter().product::<usize>()).sum::<usize>()
            + outputs.iter().map(|map| map.dims()[1..].iter().product::<usize>()).sum::<usize>();
        let width = if self.name.contains("f16") { 2 } else { 4 };
        for &batch in &self.batches {
            // A forward pass reads its input and parameters and writes its output, whatever else it keeps to itself; a
            // backward pass does as much twice over.
            let bytes = (count_parameters(&evaluated) + batch * of_maps) as u64 * width;
            let operations = 2 * multiply_adds * batch as u64;
            let variant = format!("{model}-b{batch}");
            let pictures = maps(inputs, batch, &self.device);
            let cost = Cost { pictures: batch as u64, bytes, operations };
            self.time(criterion, &format!("{crate_name}/forward"), &variant, cost, || {
                black_box(forward(&evaluated, pictures.clone()));
            })?;
            if let Some(program) = self.program(inputs, |maps| record(&evaluated, maps)) {
                self.time(criterion, &format!("{crate_name}/inference_form"), &variant, cost, || {
                    black_box(program.forward(pictures.clone()));
                })?;
            }
            let pictures = maps(inputs, batch, &training_device);
            let cost = Cost { bytes: 3 * bytes, operations: 3 * operations, ..cost };
            self.time(criterion, &format!("{crate_name}/forward_backward"), &variant, cost, || {
                let outputs = forward(&trained, pictures.clone());
                let sum = outputs.into_iter().map(Tensor::mean).reduce(|a, b| a + b);
                black_box(sum.map(|sum| sum.backward()));
            })?;
        }
        Ok(())
    }

    fn program(
        &self,
        inputs: &Maps,
        record: impl FnOnce(Vec<Recorded>) -> Vec<Recorded>,
    ) -> Option<DeviceProgram> {
        if !DeviceProgram::runs_on(&self.device) {
            return None;
        }
        let shapes: Vec<_> = inputs.iter().map(|&[c, h, w]| [1, c, h, w]).collect();
        DeviceProgram::compile(&record_all(&shapes, record).ok()?).ok()
    }

    /// What the device itself can do: copying 256 MB, and a product of two matrices of 4096 columns.
    ///
    /// # Errors
    /// If the counts cannot be written.
    pub fn ceilings(&self, criterion: &mut Criterion) -> Result<()> {
        let side = if is_on_host(&self.device) { 1024 } else { 4096 };
        let values = Tensor::<1>::ones([64 << 20], &self.device);
        let cost = Cost { pictures: 1, bytes: 2 * (64 << 20) * 4, operations: 64 << 20 };
        self.time(criterion, "effdet-nn/ceiling", "copy", cost, || {
            black_box(values.clone().add_scalar(1.0));
        })?;
        let matrix = Tensor::<2>::random([side, side], Distribution::Default, &self.device);
        let (edge, bytes) = (side as u64, 3 * 4 * (side * side) as u64);
        let cost = Cost { pictures: 1, bytes, operations: 2 * edge * edge * edge };
        self.time(criterion, "effdet-nn/ceiling", "matrix_product", cost, || {
            black_box(matrix.clone().matmul(matrix.clone()));
        })
    }

    /// Times `run` and keeps what it costs beside the result.
    ///
    /// # Errors
    /// If the counts cannot be written.
    pub fn time(
        &self,
        criterion: &mut Criterion,
        operation: &str,
        variant: &str,
        cost: Cost,
        run: impl Fn(),
    ) -> Result<()> {
        let Cost { pictures, bytes, operations } = cost;
        let run = || {
            run();
            // A device that fails has nothing to say; the bench ends here.
            #[expect(clippy::expect_used, reason = "a bench")]
            self.device.sync().expect("the device finishes");
        };
        let id = format!("{operation}/{variant}/{}", self.name);
        let mut group = criterion.benchmark_group(operation);
        group.sample_size(10).throughput(Throughput::ElementsAndBytes { elements: pictures, bytes });
        group.bench_function(BenchmarkId::new(variant, &self.name), |bencher| {
            (0..WARM_UP).for_each(|_| run());
            bencher.iter(run);
        });
        group.finish();
        let path = criterion_folder().join("costs.jsonl");
        let line = json!({ "id": id, "pictures": pictures, "bytes": bytes, "operations": operations });
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(file, "{line}").with_context(|| path.display().to_string())
    }
}

/// What one call costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Pictures.
    pub pictures: u64,
    /// Bytes that cross between memory and processor at least.
    pub bytes: u64,
    /// Multiplications and additions.
    pub operations: u64,
}

fn maps(shapes: &Maps, batch: usize, device: &Device) -> Vec<Tensor<4>> {
    let map = |&[channels, height, width]: &[usize; 3]| {
        Tensor::random([batch, channels, height, width], Distribution::Normal(0.0, 1.0), device)
    };
    shapes.iter().map(map).collect()
}

/// Where criterion keeps its results.
fn criterion_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")), PathBuf::from);
    target.join("criterion")
}
