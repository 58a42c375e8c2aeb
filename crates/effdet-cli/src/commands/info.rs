//! `effdet info`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::{Result, bail};
use effdet::model::{Summary, summarize, summarize_backbone};
use effdet::prelude::ImageSize;
use effdet::{check_image_size, configuration_named};

use crate::args::InfoArgs;

/// Side of a backbone's input where none is given: ImageNet's.
const BACKBONE_SIDE: usize = 224;

/// Shows the summary of a network.
pub fn run(args: &InfoArgs) -> Result<ExitCode> {
    if let Some(size) = args.image_size {
        check_image_size(size)?;
    }
    let summary = summary(args)?;
    let mut to = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut to, &summary).map_err(io::Error::from)?;
        writeln!(to)?;
    } else {
        write_table(&mut to, &summary)?;
    }
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn summary(args: &InfoArgs) -> Result<Summary> {
    let device = effdet::device("cpu")?;
    match (&args.model, &args.backbone) {
        (Some(name), _) => {
            let config = configuration_named(name)?;
            Ok(summarize(&config, args.image_size.unwrap_or(config.image_size), &device)?)
        }
        (None, Some(name)) => {
            let config = effdet::backbones::create(name)?;
            let size = args.image_size.unwrap_or(ImageSize::square(BACKBONE_SIDE));
            Ok(summarize_backbone(&config, size, &device)?)
        }
        (None, None) => bail!("name a network with --model or --backbone"),
    }
}

fn write_table(to: &mut impl Write, summary: &Summary) -> io::Result<()> {
    writeln!(to, "{} at {}", summary.name, summary.image_size)?;
    writeln!(
        to,
        "{:10} {:>12} {:>16}  outputs (channels x height x width)",
        "part", "parameters", "multiply-adds"
    )?;
    for part in &summary.parts {
        let outputs: Vec<String> = part.outputs.iter().map(|[c, h, w]| format!("{c}x{h}x{w}")).collect();
        let (name, parameters, adds) = (&part.name, part.parameters, part.multiply_adds);
        writeln!(to, "{name:10} {parameters:>12} {adds:>16}  {}", outputs.join(" "))?;
    }
    writeln!(to, "{:10} {:>12} {:>16}", "total", summary.parameters, summary.multiply_adds)
}
