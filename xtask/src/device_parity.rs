//! `cargo xtask parity --device NAME`: the fixtures on another device, as a table.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use effdet_testing::detections::MatchTolerance;
use effdet_testing::fixtures::{self, DeviceNoise};
use effdet_testing::parity::Bounds;
use effdet_testing::suite::{self, Outcome};

#[derive(clap::Args)]
pub struct Arguments {
    /// Device to compute the fixtures of this repository on: cpu, cuda:0, wgpu, tch; one float type for each process.
    #[arg(long)]
    pub device: Option<String>,
    /// Compare the inference form alone where a network has one, and not the framework's operations too.
    #[arg(long, requires = "device")]
    pub inference_form: bool,
    /// Float type of the device: f32, f16 or bf16.
    #[arg(long, default_value = "f32", requires = "device")]
    pub float: String,
    /// Only networks whose names contain one of these; `detectors` and `backbones` stand for all of them.
    #[arg(long, num_args = 1.., requires = "device")]
    pub only: Vec<String>,
    /// File of the table; by default target/parity-DEVICE-FLOAT.md.
    #[arg(long, requires = "device")]
    pub out: Option<PathBuf>,
}

/// Tensor cores take single precision in ten bits of mantissa.
const TF32: Bounds = Bounds {
    sampled: 3e-2,
    sum: 3e-3,
    detection: MatchTolerance { score: 1e-2, iou: 0.95, edge: 2.0 },
    matched: 95,
    composed: true,
};
const F16: Bounds = Bounds {
    sampled: 6e-2,
    sum: 6e-3,
    detection: MatchTolerance { score: 2e-2, iou: 0.9, edge: 4.0 },
    matched: 90,
    composed: true,
};
const BF16: Bounds = Bounds {
    sampled: 5e-1,
    sum: 5e-2,
    detection: MatchTolerance { score: 1e-1, iou: 0.7, edge: 16.0 },
    matched: 60,
    composed: true,
};

fn bounds(device: &str, float: &str) -> Bounds {
    match float {
        "f16" => F16,
        "bf16" => BF16,
        _ if device.starts_with("cuda") && effdet_nn::native::allows_tf32() => TF32,
        _ => Bounds::SINGLE,
    }
}

pub fn run(arguments: &Arguments, name: &str) -> Result<()> {
    let Arguments { float, only, out, inference_form, .. } = arguments;
    let (float, out) = (float.as_str(), out.clone());
    let device = effdet_nn::device_with_float(name, float)?;
    let bounds = Bounds { composed: !*inference_form, ..bounds(name, float) };
    let path = out.unwrap_or_else(|| format!("target/parity-{}-{float}.md", name.replace(':', "")).into());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    let fused = cfg!(any(feature = "cuda", feature = "wgpu"));
    let fusion = match name.split(':').next() {
        Some("cuda" | "wgpu") if fused => ", kernels fused",
        Some("cuda" | "wgpu") => ", kernels not fused",
        _ => "",
    };
    writeln!(
        file,
        "`{name}` in {float}{fusion}. Allowed: {:.0e} deviations, {:.0e} of a sum; a detection matches with a score \
         within {:.0e} and an IoU of {} or edges within {} pixels, and {} of 100 must.\n",
        bounds.sampled,
        bounds.sum,
        bounds.detection.score,
        bounds.detection.iou,
        bounds.detection.edge,
        bounds.matched,
    )?;
    writeln!(
        file,
        "| network | largest difference | of a sum | detections | the reference's there | |\n|---|---|---|---|---|---|"
    )?;
    let noise = if name.starts_with("cuda") { fixtures::device_noise() } else { BTreeMap::new() };
    let wanted = move |kind: &'static str| {
        move |name: &str| {
            only.is_empty() || only.iter().any(|only| only == kind || name.contains(only.as_str()))
        }
    };
    let detectors = suite::fixture_detectors(&device, &bounds, wanted("detectors"));
    let backbones = suite::fixture_backbones(&device, &bounds, wanted("backbones"));
    let (mut all, mut equal, mut near) = (0, 0, 0);
    // Written as they come, so that a run that is cut short leaves what it found.
    for outcome in detectors.chain(backbones) {
        let own = noise.get(&outcome.name).and_then(|floats| floats.get(float)).copied();
        row(&mut file, &outcome, own)?;
        row(&mut std::io::stdout().lock(), &outcome, own)?;
        all += 1;
        equal += usize::from(outcome.is_equal());
        near += usize::from(!outcome.is_equal() && is_as_near(&outcome, own));
    }
    writeln!(file, "\n{equal} of {all} within what is allowed.")?;
    if near > 0 {
        writeln!(
            file,
            "{near} more are at most {NEAR} times as far off as the reference itself on an H100, and find at most {FEWER} \
             detections of a hundred less than it does."
        )?;
    }
    ensure!(all > 0, "no network has such a name");
    ensure!(equal == all, "{} of {all} networks differ: see {}", all - equal, path.display());
    Ok(())
}

/// How many times as far off as the reference, and how many detections of a hundred less, is called as near. It is shown, and
/// is no pass.
const NEAR: f64 = 2.0;
const FEWER: usize = 5;

/// Whether a network is about as near to the golden as the reference itself on such a device.
fn is_as_near(outcome: &Outcome, own: Option<DeviceNoise>) -> bool {
    let (Ok(deviation), Some(DeviceNoise(sampled, sum, matched, all))) = (&outcome.result, own) else {
        return false;
    };
    let found =
        deviation.detections.is_none_or(|(ours, of)| ours * all + FEWER * of * all / 100 >= matched * of);
    deviation.sampled <= NEAR * sampled && deviation.sum <= NEAR * sum && found
}

fn row(to: &mut impl Write, outcome: &Outcome, own: Option<DeviceNoise>) -> Result<()> {
    let verdict = match () {
        () if outcome.is_equal() => "equal",
        () if is_as_near(outcome, own) => "differs, as the reference does",
        () => "**differs**",
    };
    let own = own.map_or(String::new(), |DeviceNoise(sampled, sum, matched, all)| {
        format!("{sampled:.1e}, {sum:.1e}, {matched} / {all}")
    });
    match &outcome.result {
        Ok(deviation) => {
            let detections =
                deviation.detections.map_or(String::new(), |(matched, all)| format!("{matched} / {all}"));
            let (sampled, sum) = (deviation.sampled, deviation.sum);
            writeln!(
                to,
                "| {} | {sampled:.1e} | {sum:.1e} | {detections} | {own} | {verdict} |",
                outcome.name
            )?;
        }
        Err(error) => writeln!(to, "| {} | {error:#} | | | {own} | {verdict} |", outcome.name)?,
    }
    Ok(())
}
