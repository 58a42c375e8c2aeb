//! The `effdet` command.

mod args;
mod commands;
mod detector;
mod ffmpeg;
mod interrupt;
mod logging;
mod output;
mod overwrite;
mod progress;
mod report;
mod saved;
mod scenes;
mod sources;
mod watch;

use std::io;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use logging::tell;

/// Wrong usage or unusable weights; clap exits with it too.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(feature = "serve")]
    let serves = matches!(cli.command, Command::Serve(_));
    #[cfg(not(feature = "serve"))]
    let serves = false;
    let result = logging::init(cli.quiet, cli.verbose, serves).and_then(|()| match cli.command {
        Command::Completions(args) => commands::completions::run(&args),
        Command::Video(args) => commands::video::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        #[cfg(feature = "serve")]
        Command::Serve(args) => commands::serve::run(&args),
        Command::Demo(args) => commands::demo::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Info(args) => commands::info::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Val(args) => commands::val::run(&args),
        Command::Dataset(args) => commands::dataset::run(&args),
        Command::Weights(command) => commands::weights::run(&command),
    });
    result.unwrap_or_else(|error| {
        // `effdet models | head` is no failure.
        let pipe = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if pipe == Some(io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        tell!("error: {}", output::describe(&error));
        ExitCode::from(UNUSABLE)
    })
}
