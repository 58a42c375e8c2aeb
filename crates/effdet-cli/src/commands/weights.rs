//! `effdet weights`.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use effdet::prelude::*;
use effdet::weights::{
    Checkpoint, CheckpointMetadata, CheckpointOptions, DType, WeightsEntry, WeightsKind, WeightsStore,
    average_checkpoints, convert_checkpoint, registry,
};
use serde::Serialize;

use crate::args::{FloatType, WeightsCommand};
use crate::logging::{note, tell};
use crate::output::{describe, show};
use crate::overwrite;
use crate::progress::Transfers;

/// Exit status of a file that is absent or not as it should be.
const AMISS: u8 = 1;

/// Runs one of the commands.
pub fn run(command: &WeightsCommand) -> Result<ExitCode> {
    match command {
        WeightsCommand::List { backbones, json } => list(*backbones, *json),
        WeightsCommand::Download { names, all, backbones, dir } => {
            let of = |wanted: bool, kind, default: bool| {
                let fits = move |entry: &&WeightsEntry| entry.kind() == kind && (entry.default || !default);
                registry().iter().filter(fits).take(if wanted { usize::MAX } else { 0 })
            };
            let mut entries = named(names)?;
            entries.extend(of(*all, WeightsKind::Detector, false));
            entries.extend(of(*backbones, WeightsKind::Backbone, true));
            download(&entries, &store(dir.as_ref())?)
        }
        WeightsCommand::Path { name, dir } => path(name, &store(dir.as_ref())?),
        WeightsCommand::Verify { names, dir } => verify(names, &store(dir.as_ref())?),
        WeightsCommand::Convert { input, output, dtype, ema, model } => {
            convert(input, output, *dtype, *ema, model.as_deref())
        }
        WeightsCommand::Average { inputs, out, ema } => average(inputs, out, *ema),
        WeightsCommand::Inspect { file, tensors } => inspect(file, *tensors),
        WeightsCommand::Rm { names, dir } => remove(names, &store(dir.as_ref())?),
    }
}

fn store(folder: Option<&PathBuf>) -> Result<WeightsStore> {
    // Given a folder, no cache is needed, and there may be none.
    Ok(match folder {
        Some(folder) => WeightsStore::in_folder(folder),
        None => WeightsStore::from_env()?,
    })
}

fn named(names: &[String]) -> Result<Vec<&'static WeightsEntry>> {
    names.iter().map(|name| WeightsEntry::named(name).map_err(Into::into)).collect()
}

#[derive(Serialize)]
struct Listed {
    kind: WeightsKind,
    #[serde(flatten)]
    entry: &'static WeightsEntry,
    path: Option<PathBuf>,
}

fn list(backbones: bool, json: bool) -> Result<ExitCode> {
    let store = WeightsStore::from_env()?;
    let shown = registry().iter().filter(|entry| backbones || entry.kind() == WeightsKind::Detector);
    let rows = shown
        .map(|entry| Ok(Listed { kind: entry.kind(), entry, path: store.locate(entry)? }))
        .collect::<Result<Vec<_>>>()?;
    let mut to = BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer_pretty(&mut to, &rows).map_err(io::Error::from)?;
        writeln!(to)?;
    } else {
        writeln!(to, "{:48} {:13} {:>5} here  trained on", "weights", "licence", "AP")?;
        for Listed { entry, path, .. } in rows {
            let ap = entry.published_ap.map_or("-".to_owned(), |ap| format!("{ap:.1}"));
            let here = if path.is_some() { "yes" } else { "-" };
            let (name, licence, data) = (&entry.name, &entry.licence, &entry.trained_on);
            writeln!(to, "{name:48} {licence:13} {ap:>5} {here:4}  {data}")?;
        }
    }
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Fetches all there is to fetch, and fails at the end if something failed.
fn download(entries: &[&WeightsEntry], store: &WeightsStore) -> Result<ExitCode> {
    let mut failed = 0;
    for entry in entries {
        let mut shown = Transfers::new(&entry.name);
        match store.fetch(entry, &mut |event| shown.show(&event)) {
            Ok(path) => show(format_args!("{}\n", path.display()))?,
            Err(error) => {
                failed += 1;
                tell!("error: {}: {}", entry.name, describe(&error.into()));
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(AMISS) })
}

fn path(name: &str, store: &WeightsStore) -> Result<ExitCode> {
    let entry = WeightsEntry::named(name)?;
    let Some(path) = store.locate(entry)? else {
        tell!("error: {} is not on this machine: effdet weights download {name}", entry.name);
        return Ok(ExitCode::from(AMISS));
    };
    writeln!(io::stdout(), "{}", path.display())?;
    Ok(ExitCode::SUCCESS)
}

fn verify(names: &[String], store: &WeightsStore) -> Result<ExitCode> {
    let entries = if names.is_empty() { registry().iter().collect() } else { named(names)? };
    let (mut good, mut bad) = (0, 0);
    for entry in entries {
        match store.verify(entry) {
            Ok(Some(verified)) => {
                good += 1;
                let (path, sha256, compared) = (verified.path.display(), verified.sha256, verified.compared);
                show(format_args!("{sha256}  {path} ({compared} digits known)\n"))?;
            }
            Ok(None) if names.is_empty() => {}
            Ok(None) => {
                bad += 1;
                tell!("error: {} is not on this machine", entry.name);
            }
            Err(error) => {
                bad += 1;
                tell!("error: {}: {}", entry.name, describe(&error.into()));
            }
        }
    }
    show(format_args!("{good} right, {bad} wrong or absent\n"))?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(AMISS) })
}

fn remove(names: &[String], store: &WeightsStore) -> Result<ExitCode> {
    for entry in named(names)? {
        for path in store.remove(entry)? {
            show(format_args!("deleted {}\n", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens a checkpoint; with `ema` its averaged weights, which must be there, else its current ones.
fn open(path: &Path, ema: bool) -> Result<Checkpoint> {
    let checkpoint = Checkpoint::open_with(path, &CheckpointOptions { use_ema: ema })?;
    if ema && !checkpoint.section().is_some_and(|section| section.ends_with("_ema")) {
        bail!("{} has no averaged weights: leave out --ema", path.display());
    }
    Ok(checkpoint)
}

fn convert(
    input: &Path,
    output: &Path,
    dtype: Option<FloatType>,
    ema: bool,
    model: Option<&str>,
) -> Result<ExitCode> {
    overwrite::refuse(&[("the result", Some(output))], [(Some(input), "the checkpoint that is read")])?;
    let checkpoint = open(input, ema)?;
    let dtype = dtype.map(|dtype| match dtype {
        FloatType::F16 => DType::F16,
        FloatType::Bf16 => DType::BF16,
        FloatType::F32 => DType::F32,
    });
    let stored = CheckpointMetadata::from_checkpoint(&checkpoint)?;
    // The name of a released file says what its content does not.
    let file = input.file_name().and_then(|name| name.to_str());
    let released = registry().iter().find(|entry| file.is_some() && entry.release_file() == file);
    let released =
        released.filter(|entry| entry.kind() == WeightsKind::Detector).map(|entry| entry.name.as_str());
    // What the file says of itself does not hold for another model.
    let is_stored = stored.config.is_some() && model.is_none_or(|name| stored.model.as_deref() == Some(name));
    let model = model.or(stored.model.as_deref()).or(released);
    let options = DetectorOptions { model: model.map(str::to_owned), ..DetectorOptions::default() };

    match output.extension().and_then(|extension| extension.to_str()) {
        Some("safetensors") => {
            let metadata = match model {
                None => {
                    note!("warning: the result does not say which model it is for; --model NAME would");
                    stored
                }
                // What is not a detector, such as a backbone, has no more to say.
                Some(_) if is_stored => stored,
                Some(name) => described(&checkpoint, &options)
                    .with_context(|| format!("{} as `{name}`", input.display()))?,
            };
            convert_checkpoint(&checkpoint, output, &metadata.to_map(), dtype)?;
        }
        Some("bpk") => {
            if dtype.is_some_and(|dtype| dtype != DType::F32) {
                bail!("Burn's format is written in f32: leave out --dtype");
            }
            detector(&checkpoint, &options)?.save_burn(output)?;
        }
        _ => bail!("{}: expected a name that ends in .safetensors or .bpk", output.display()),
    }
    writeln!(io::stdout(), "{}", output.display())?;
    Ok(ExitCode::SUCCESS)
}

fn detector(checkpoint: &Checkpoint, options: &DetectorOptions) -> Result<Detector> {
    Ok(Detector::from_opened(checkpoint, options, &effdet::device("cpu")?)?)
}

/// The metadata of the detector in a checkpoint, which also shows that it fits.
fn described(checkpoint: &Checkpoint, options: &DetectorOptions) -> Result<CheckpointMetadata> {
    let stored = CheckpointMetadata::from_checkpoint(checkpoint)?;
    Ok(CheckpointMetadata { training: stored.training, ..detector(checkpoint, options)?.metadata() })
}

fn average(inputs: &[PathBuf], out: &Path, ema: bool) -> Result<ExitCode> {
    let read = inputs.iter().map(|input| (Some(input.as_path()), "one of the checkpoints"));
    overwrite::refuse(&[("--out", Some(out))], read)?;
    let checkpoints = inputs.iter().map(|input| open(input, ema)).collect::<Result<Vec<_>>>()?;
    average_checkpoints(&checkpoints, out, &Default::default())?;
    writeln!(io::stdout(), "{}", out.display())?;
    Ok(ExitCode::SUCCESS)
}

fn inspect(file: &Path, tensors: bool) -> Result<ExitCode> {
    let checkpoint = Checkpoint::open(file)?;
    let mut to = BufWriter::new(io::stdout().lock());
    let elements = |name: &str| checkpoint.get(name).map_or(0, |info| info.shape.iter().product::<usize>());
    let total: usize = checkpoint.names().map(elements).sum();
    writeln!(
        to,
        "{}: {:?}, {} tensors, {total} values",
        file.display(),
        checkpoint.format(),
        checkpoint.len()
    )?;
    if let Some(section) = checkpoint.section() {
        writeln!(to, "section: {section}")?;
    }
    for (key, value) in checkpoint.metadata() {
        let cut: String = value.chars().take(160).collect();
        let dots = if cut.len() < value.len() { "..." } else { "" };
        writeln!(to, "{key}: {cut}{dots}")?;
    }
    let candidates = effdet::identify(&checkpoint, &effdet::device("cpu")?)?;
    let fitting: Vec<_> =
        candidates.iter().filter(|found| found.fit == 1.0).map(|found| found.model).collect();
    match (fitting.as_slice(), candidates.first()) {
        ([], Some(best)) => {
            writeln!(to, "fits no published model; nearest is {} ({:.0} %)", best.model, 100.0 * best.fit)?;
        }
        _ => writeln!(to, "fits {}", fitting.join(", "))?,
    }
    if tensors {
        for name in checkpoint.names() {
            if let Some(info) = checkpoint.get(name) {
                writeln!(to, "{name} {} {:?}", info.dtype, info.shape)?;
            }
        }
    }
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}
