//! `effdet serve`.

use std::process::{ExitCode, exit};
use std::time::Duration;

use anyhow::Result;
use effdet_serve::{ServeConfig, Server, stop_signal};
use tokio::runtime;

use crate::args::ServeArgs;
use crate::detector;
use crate::logging::note;

/// What a shell reports of a command ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Serves until a signal says to stop.
pub fn run(args: &ServeArgs) -> Result<ExitCode> {
    let detector = detector::load(&args.detector, args.score)?;
    let config = config(args);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let model = detector.config().name.clone();
        let server = Server::bind(&args.listen, detector, config).await?;
        let stop = stop_signal()?;
        note!("{model} on http://{}", server.local_addr());
        let served = server.run(async {
            stop.await;
            end_at_the_next_signal();
        });
        let served = served.await;
        note!(
            "{} requests, {} answered, {} left by their clients",
            served.accepted,
            served.answered,
            served.abandoned
        );
        Ok(ExitCode::SUCCESS)
    })
}

/// Whoever asks twice does not want to wait for slow clients.
fn end_at_the_next_signal() {
    if let Ok(signal) = stop_signal() {
        tokio::spawn(async move {
            signal.await;
            exit(INTERRUPTED);
        });
    }
}

fn config(args: &ServeArgs) -> ServeConfig {
    let defaults = ServeConfig::default();
    let max_body = usize::from(args.max_body) << 20;
    let timeout = Duration::from_secs(args.timeout.into());
    ServeConfig {
        batch: args.detector.batch.into(),
        batch_wait: Duration::from_millis(args.batch_wait.into()),
        queue: args.queue.into(),
        max_body,
        max_pixels: args.max_pixels.into(),
        timeout,
        header_timeout: defaults.header_timeout.min(timeout),
        max_connections: args.max_connections.into(),
        body_memory: defaults.body_memory.max(2 * max_body).min(u32::MAX as usize >> 1),
        ..defaults
    }
}
