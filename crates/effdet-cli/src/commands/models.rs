//! `effdet models`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use effdet::model::{EfficientDetConfig, ModelSpec, model_specs};
use effdet::nn::count_parameters;
use effdet::weights_url;
use serde::Serialize;

use crate::args::ModelsArgs;

#[derive(Serialize)]
struct Row {
    name: &'static str,
    backbone: &'static str,
    image_size: usize,
    parameters: usize,
    /// Average precision on COCO val2017, percent.
    coco_ap: Option<f64>,
    weights: Option<Weights>,
}

#[derive(Serialize)]
struct Weights {
    file: &'static str,
    url: String,
}

/// Lists the detectors.
pub fn run(args: &ModelsArgs) -> Result<ExitCode> {
    let rows = model_specs().iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut to = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut to, &rows).map_err(io::Error::from)?;
        writeln!(to)?;
    } else {
        write_table(&mut to, &rows)?;
    }
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn row(spec: &ModelSpec) -> Result<Row> {
    let network = EfficientDetConfig::from_spec(spec)?.init(&effdet::device("cpu")?)?;
    let weights = spec.weights.zip(weights_url(spec)).map(|(file, url)| Weights { file, url });
    Ok(Row {
        name: spec.name,
        backbone: spec.backbone,
        image_size: spec.image_size,
        parameters: count_parameters(&network),
        coco_ap: spec.coco_ap,
        weights,
    })
}

fn write_table(to: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(to, "{:22} {:>5} {:>10} {:>8}  weights", "model", "size", "parameters", "COCO AP")?;
    for row in rows {
        let ap = row.coco_ap.map_or("-".to_owned(), |ap| format!("{ap:.1}"));
        let weights = row.weights.as_ref().map_or("none published", |weights| weights.file);
        let parameters = format!("{:.2} M", row.parameters as f64 / 1e6);
        writeln!(to, "{:22} {:>5} {parameters:>10} {ap:>8}  {weights}", row.name, row.image_size)?;
    }
    let address = rows.iter().find_map(|row| Some(row.weights.as_ref()?.url.rsplit_once('/')?.0));
    if let Some(address) = address {
        writeln!(to, "\nWeights are at {address}/; COCO AP is the published one, on val2017.")?;
    }
    Ok(())
}
