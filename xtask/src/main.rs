//! Tasks of this repository: `cargo xtask --help`.

mod parity;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Tasks of this repository")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare every network with the reference and write docs/parity.md.
    Parity {
        /// Folder of shared reference data; by default `EFFDET_SHARED`, else `shared` beside the repository.
        #[arg(long)]
        shared: Option<PathBuf>,
        /// Folder of the blood cell test pictures as Pillow decodes them (`tools/golden/decode_with_pillow.py`).
        #[arg(long)]
        png: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().task {
        Task::Parity { shared, png } => parity::run(shared, png),
    }
}
