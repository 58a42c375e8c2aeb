//! `cargo xtask parity`: docs/parity.md, or target/parity.md where a part of it is missing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use effdet::{Detector, DetectorOptions};
use effdet_testing::blood_cells::{self, Criterion, JPEG, PNG};
use effdet_testing::parity::Bounds;
use effdet_testing::suite::{self, Outcome};
use effdet_testing::{fixtures, shared};

pub fn run(folder: Option<PathBuf>, png: Option<PathBuf>) -> Result<()> {
    let device = Device::flex();
    let mut page = String::from(INTRODUCTION);
    let mut equal = true;
    let folder = folder.or_else(|| shared::shared_or_skip("parity"));
    let mut missing = Vec::new();
    if folder.is_none() {
        missing.push("the shared reference data (--shared)");
    }
    if png.is_none() {
        missing.push("the blood cells from PNG files (--png)");
    }

    let detectors: Vec<Outcome> = suite::fixture_detectors(&device, &Bounds::SINGLE, |_| true).collect();
    let backbones: Vec<Outcome> = suite::fixture_backbones(&device, &Bounds::SINGLE, |_| true).collect();
    equal &= detectors.iter().chain(&backbones).all(Outcome::is_equal);
    page.push_str(FIXTURES);
    summary(&mut page, "detectors", &detectors)?;
    summary(&mut page, "backbones", &backbones)?;

    if let Some(folder) = folder {
        let detectors = suite::shared_detectors(&folder, &device)?;
        let backbones = suite::shared_backbones(&folder, &device)?;
        equal &= detectors.iter().chain(&backbones).all(Outcome::is_equal);
        page.push_str(SHARED);
        summary(&mut page, "detectors", &detectors)?;
        summary(&mut page, "backbones", &backbones)?;
        page.push_str(BLOOD_CELLS);
        equal &= blood_cells(&mut page, &folder, &folder.join("data/bccd/JPEGImages"), "jpg", &JPEG)?;
        if let Some(png) = png {
            equal &= blood_cells(&mut page, &folder, &png, "png", &PNG)?;
        }
        page.push_str("\n### Detectors\n\n");
        detector_table(&mut page, &detectors)?;
        page.push_str("\n### Backbones\n\n");
        backbone_table(&mut page, &backbones)?;
    }

    // The committed page is not replaced by a shorter one.
    let name = if missing.is_empty() { "docs/parity.md" } else { "target/parity.md" };
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, page).with_context(|| format!("writing {}", path.display()))?;
    ensure!(equal, "some networks differ from the reference: see {name}");
    ensure!(missing.is_empty(), "{name} lacks {}: docs/parity.md stays as it was", missing.join(" and "));
    Ok(())
}

const INTRODUCTION: &str = "\
# Parity with the reference

Written by `cargo xtask parity`. Every network is built with synthetic weights (functions of a seed, a name and a shape),
which the reference, `effdet` 0.4.1 on `timm` 1.0.31, is given too. Compared are, at sampled places of every feature map,
class logit and box code map, the difference in standard deviations of the map; the relative difference of the sum of
absolute values of every map; and, for detectors, the detections: class equal, score within 1e-3, and IoU at least 0.99
or every edge within half a pixel. A network is equal if the differences are at most 1e-3 and 1e-4, plus what the
reference's own number is away from double precision, and at least 98 of 100 detections are matched. Names and shapes of
all tensors are equal in every case. Networks that have an inference form on the CPU are compared in both forms, and the
larger difference is shown; detections are those of the inference form.
";

const FIXTURES: &str = "
## Fixtures of this repository

Weights of seed 29, pictures of noise; the reference's numbers are in double precision (`tools/golden/make_parity.py`).
Backbones above 35 million parameters are left to the next section. Run by `cargo test --workspace`.

";

const SHARED: &str = "
## Shared reference data

Weights of seed 11, photographs; the reference's numbers are in single precision. How far they are from double precision
themselves is measured by `tools/golden/measure_golden_noise.py` and shown where it is more than a tenth of the bound.

";

const BLOOD_CELLS: &str = "
### A trained detector on photographs

`tf_efficientdet_lite0`, trained by the reference on blood cells, on 72 test pictures. The default JPEG decoder is up to 5
levels from libjpeg-turbo, which the reference's pictures went through; the feature `libjpeg-turbo` has none of this
difference. From JPEG files the scores may differ by 0.05 and the IoU must be 0.9; from PNG files 0.01, and 0.98 or half a
pixel.

";

/// Whether 98 of 100 detections of the reference are found.
fn blood_cells(
    page: &mut String,
    shared: &Path,
    pictures: &Path,
    extension: &str,
    criterion: &Criterion,
) -> Result<bool> {
    let options = DetectorOptions {
        model: Some(blood_cells::MODEL.into()),
        mean: Some(blood_cells::MEAN),
        std: Some(blood_cells::STD),
        ..DetectorOptions::default()
    };
    let detector =
        Detector::from_checkpoint(shared.join(blood_cells::CHECKPOINT), &options, &Device::flex())?;
    let found = blood_cells::picture_names(shared)?
        .iter()
        .map(|name| detector.detect_file(pictures.join(format!("{name}.{extension}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let (matched, all) = blood_cells::count_found(shared, &found, criterion)?;
    let percentage = 100.0 * matched as f64 / all as f64;
    writeln!(
        page,
        "- {}: {matched} of {all} detections with a score of at least {} found, {percentage:.2} %",
        criterion.pictures, criterion.score
    )?;
    Ok(percentage >= 98.0)
}

fn summary(page: &mut String, what: &str, outcomes: &[Outcome]) -> Result<()> {
    let equal = outcomes.iter().filter(|outcome| outcome.is_equal()).count();
    let deviations = || outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    let most = |of: fn(&effdet_testing::parity::Deviation) -> f64| deviations().map(of).fold(0.0, f64::max);
    let within = deviations().filter(|d| d.sampled <= 1e-3 && d.sum <= 1e-4).count();
    write!(
        page,
        "- {what}: {equal} of {} equal ({within} within 1e-3 and 1e-4 outright); largest difference {:.1e} deviations, of a sum {:.1e}",
        outcomes.len(),
        most(|deviation| deviation.sampled),
        most(|deviation| deviation.sum),
    )?;
    let (matched, all) = deviations()
        .filter_map(|deviation| deviation.detections)
        .fold((0, 0), |(a, b), (m, n)| (a + m, b + n));
    write!(
        page,
        "; {} in the inference form too",
        deviations().filter(|deviation| deviation.native).count()
    )?;
    if all > 0 {
        write!(page, "; {matched} of {all} detections matched")?;
    }
    page.push('\n');
    Ok(())
}

fn detector_table(page: &mut String, outcomes: &[Outcome]) -> Result<()> {
    let errors = fixtures::golden_errors();
    page.push_str("| detector | largest difference | of a sum | reference's own | detections |\n|---|---|---|---|---|\n");
    for Outcome { name, result } in outcomes {
        match result {
            Ok(deviation) => {
                let own = errors.get(name).copied().unwrap_or_default();
                let own = if own.sampled > 1e-4 || own.sum > 1e-5 {
                    format!("{:.1e}, {:.1e}", own.sampled, own.sum)
                } else {
                    String::new()
                };
                let (matched, all) = deviation.detections.unwrap_or_default();
                writeln!(
                    page,
                    "| {name} | {:.1e} | {:.1e} | {own} | {matched} / {all} |",
                    deviation.sampled, deviation.sum
                )?;
            }
            Err(error) => writeln!(page, "| {name} | {error:#} | | | |")?,
        }
    }
    Ok(())
}

fn backbone_table(page: &mut String, outcomes: &[Outcome]) -> Result<()> {
    page.push_str("| backbone | largest difference | of a sum |\n|---|---|---|\n");
    for Outcome { name, result } in outcomes {
        match result {
            Ok(deviation) => {
                writeln!(page, "| {name} | {:.1e} | {:.1e} |", deviation.sampled, deviation.sum)?
            }
            Err(error) => writeln!(page, "| {name} | {error:#} | |")?,
        }
    }
    Ok(())
}
