//! `cargo xtask gradients`: docs/gradients.md.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::DType;
use effdet_testing::fixtures;
use effdet_testing::gradients::{self, GradientsGolden, Mode, ModelGolden, StepDeviation};

/// What a gradient may differ by, relative to its norm.
const TOLERANCES: [(DType, f64); 2] = [(DType::F64, 1e-4), (DType::F32, 1e-3)];

pub fn run(full: Option<PathBuf>) -> Result<()> {
    let golden = fixtures::gradients();
    let mut page = String::from(INTRODUCTION);
    let mut equal = true;
    for (dtype, tolerance) in TOLERANCES {
        let single = dtype == DType::F32;
        page.push_str(if single { SINGLE } else { DOUBLE });
        page.push_str(HEADER);
        for model in &golden.models {
            for mode in [Mode::Training, Mode::Evaluation] {
                let reference = model.modes.get(&mode).context("the fixture lacks a mode")?;
                let deviation = compare(&golden, model, mode, dtype, tolerance, full.as_deref())?;
                equal &= single || deviation.is_equal(tolerance);
                row(&mut page, &model.model, mode, &deviation, single.then_some(reference.single))?;
            }
        }
    }
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/gradients.md"));
    std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    ensure!(equal, "some gradients differ from the reference's: see docs/gradients.md");
    Ok(())
}

fn compare(
    golden: &GradientsGolden,
    expected: &ModelGolden,
    mode: Mode,
    dtype: DType,
    tolerance: f64,
    full: Option<&Path>,
) -> Result<StepDeviation> {
    let config = gradients::config(&expected.model, golden.side)?;
    let model = gradients::model(&config, golden.seed, &expected.statistics, mode, dtype)?;
    let (step, _) = gradients::step(golden.seed, golden.batch, &config, &model, dtype)?;
    let reference = expected.modes.get(&mode).context("the fixture lacks a mode")?;
    match full {
        Some(folder) => {
            let mode = if mode == Mode::Training { "training" } else { "evaluation" };
            let file = folder.join(format!("{}-{mode}.safetensors", expected.model));
            StepDeviation::of_file(&step, reference, &file, tolerance)
        }
        None => StepDeviation::of_descriptions(&step, reference, golden.seed, tolerance),
    }
}

fn row(
    page: &mut String,
    model: &str,
    mode: Mode,
    deviation: &StepDeviation,
    own: Option<f64>,
) -> Result<()> {
    let mode = if mode == Mode::Training { "training" } else { "evaluation" };
    let StepDeviation { loss, gradient: (gradient, name), running: (running, _), compared } = deviation;
    let running = if *running > 0.0 { format!("{running:.1e}") } else { String::new() };
    let own = own.map_or_else(String::new, |own| format!("{own:.1e}"));
    writeln!(
        page,
        "| {model} | {mode} | {loss:.1e} | {gradient:.1e} | {own} | `{name}` | {compared} | {running} |"
    )?;
    Ok(())
}

const INTRODUCTION: &str = "\
# Gradients against the reference

Written by `cargo xtask gradients`. Each detector takes one training step on 4 synthetic pictures of 256 pixels with 18
synthetic objects, from synthetic weights, drop path 0, with its batch norms in training and in evaluation mode. The
reference, `effdet` 0.4.1 on `timm` 1.0.31, computes in double precision (`tools/golden/make_gradients.py`). Compared are
the loss and its two parts, every value of every parameter's gradient, and in training mode the running statistics after
the step. A gradient may be off by the tolerance times its norm plus 1e-6 of the largest norm of the network's gradients
(the bias before a batch norm has a gradient of zero); the table shows the largest difference as a part of that. Losses
and running statistics are relative differences. `cargo test -p effdet-testing --test it gradients` compares norms,
products with a random direction and first values of the same gradients.
";

const DOUBLE: &str = "
## Double precision, tolerance 1e-4

";

const SINGLE: &str = "
## Single precision, tolerance 1e-3

For information. Where a slope jumps, as in ReLU6, leaky ReLU and max pooling, rounding can take the other side. The
fifth column says how far the reference's own gradients in single precision are from those in double precision: about as
far as ours, in the training mode of efficientdet_q0 much further.

";

const HEADER: &str = "\
| detector | batch norm | loss | gradient, of allowed | reference's own | where | gradients | running statistics |
|---|---|---|---|---|---|---|---|
";
