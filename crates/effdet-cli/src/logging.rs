//! What goes to standard error: notes, which `--quiet` hides, and the libraries' logs, which `-v` and EFFDET_LOG show.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Tells something that is neither a result nor an error, unless `--quiet` is given.
macro_rules! note {
    ($($text:tt)*) => {
        if !$crate::logging::is_quiet() {
            $crate::logging::to_stderr(format_args!($($text)*));
        }
    };
}
pub(crate) use note;

/// Tells an error.
macro_rules! tell {
    ($($text:tt)*) => {
        $crate::logging::to_stderr(format_args!($($text)*))
    };
}
pub(crate) use tell;

/// Writes a line to standard error. Unlike `eprintln!` it goes on where nobody reads it any more.
pub fn to_stderr(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Begins logging: warnings, more with each `-v`, errors alone with `--quiet`; EFFDET_LOG goes before both. A server, which
/// `serves`, tells of every request, and when it was.
pub fn init(quiet: bool, verbose: u8, serves: bool) -> Result<()> {
    QUIET.store(quiet, Ordering::Relaxed);
    let asked = std::env::var("EFFDET_LOG").ok().filter(|text| !text.trim().is_empty());
    let filter = match asked {
        Some(text) => text.parse::<Targets>().with_context(|| {
            format!("EFFDET_LOG is `{text}`: expected levels such as `debug` or `effdet=debug,effdet_weights=trace`")
        })?,
        None => Targets::new()
            .with_target("effdet", level(quiet, verbose))
            .with_target("effdet_serve", level(quiet, verbose.saturating_add(serves.into()))),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    if serves {
        tracing_subscriber::registry().with(lines).with(filter).init();
    } else {
        tracing_subscriber::registry().with(lines.without_time()).with(filter).init();
    }
    Ok(())
}

/// Whether only results and errors are wanted.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

fn level(quiet: bool, verbose: u8) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}
