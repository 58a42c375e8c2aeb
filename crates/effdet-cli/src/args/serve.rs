//! The arguments of `effdet serve`.

use clap::Args;

use super::{DetectorArgs, fraction};

/// Limits of the server; those of a request are told in its refusal.
#[derive(Debug, Args)]
#[command(mut_arg("batch", |batch| batch.default_value("8")))]
pub struct ServeArgs {
    #[command(flatten)]
    pub detector: DetectorArgs,

    /// Least score of a detection, where a request names none.
    #[arg(long, default_value = "0.3", value_parser = fraction)]
    pub score: f32,

    /// Address and port to listen on; 0.0.0.0:8080 is every address of this machine, port 0 one that is free.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// How long a picture waits for others to go through the network with, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    pub batch_wait: u16,

    /// Requests that may wait for the network; further ones get 503.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    pub queue: u16,

    /// Largest body in MiB; a longer one gets 413.
    #[arg(long, value_name = "MIB", default_value = "20", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_body: u16,

    /// Largest picture in pixels; a larger one gets 413.
    #[arg(long, value_name = "N", default_value = "50000000", value_parser = clap::value_parser!(u32).range(1..1 << 31))]
    pub max_pixels: u32,

    /// How long a body may take to arrive, and then its answer to be found, in seconds.
    #[arg(long, value_name = "S", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
    pub timeout: u16,

    /// Open connections; further ones wait until one ends.
    #[arg(long, value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
}
