//! `effdet completions`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs};

/// Prints the completion script of a shell.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "effdet", &mut script);
    let mut to = io::stdout().lock();
    to.write_all(&script)?;
    to.flush()?;
    Ok(ExitCode::SUCCESS)
}
