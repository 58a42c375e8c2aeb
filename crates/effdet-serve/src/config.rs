//! What a server allows.

use std::time::Duration;

use crate::Error;

/// Settings of a [`Server`](crate::Server).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeConfig {
    /// Most pictures that go through the network together.
    pub batch: usize,
    /// How long a picture waits for others to go through the network with.
    pub batch_wait: Duration,
    /// Most requests that wait for the network; a further one gets 503.
    pub queue: usize,
    /// Most bytes of a request's body; a longer one gets 413.
    pub max_body: usize,
    /// Most pixels of a picture; a larger one gets 413.
    pub max_pixels: u64,
    /// How long a body may take to arrive (408), after that its answer to be found (504), and each part of the answer to
    /// be taken by the client (the connection is closed).
    pub timeout: Duration,
    /// How long the head of a request may take to arrive, and how long a connection may be idle, before it is closed.
    pub header_timeout: Duration,
    /// Most connections; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// Most bytes of all bodies held at once; a request beyond it gets 503.
    pub body_memory: usize,
    /// After the signal to stop, how long a request that is already on its way over an open connection is waited for.
    pub stop_grace: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            batch: 8,
            batch_wait: Duration::from_millis(2),
            queue: 64,
            max_body: 20 << 20,
            max_pixels: 50_000_000,
            timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            max_connections: 1024,
            body_memory: 512 << 20,
            stop_grace: Duration::from_millis(500),
        }
    }
}

/// More than any machine holds, and what a count of permits can be.
const MAX_COUNT: usize = u32::MAX as usize >> 1;

/// Longest time that can be set. Points in time are computed from it, and must not run over.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl ServeConfig {
    /// Checks that every limit lets something through, and that no time is longer than a year.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the setting.
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("batch", self.batch),
            ("queue", self.queue),
            ("max_body", self.max_body),
            ("max_connections", self.max_connections),
            ("body_memory", self.body_memory),
            ("max_pixels", usize::try_from(self.max_pixels).unwrap_or(usize::MAX)),
        ];
        for (name, count) in counts {
            if !(1..=MAX_COUNT).contains(&count) {
                return Err(Error::Setting { name, value: count.to_string(), expected: "1 to 2147483647" });
            }
        }
        let times = [
            ("timeout", self.timeout, false),
            ("header_timeout", self.header_timeout, false),
            ("batch_wait", self.batch_wait, true),
            ("stop_grace", self.stop_grace, true),
        ];
        for (name, time, may_be_zero) in times {
            if time > MAX_TIME || (time.is_zero() && !may_be_zero) {
                let expected = if may_be_zero { "at most a year" } else { "above 0 and at most a year" };
                return Err(Error::Setting { name, value: format!("{time:?}"), expected });
            }
        }
        if self.body_memory < self.max_body {
            let value = self.body_memory.to_string();
            return Err(Error::Setting { name: "body_memory", value, expected: "at least max_body" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_lets_nothing_through_is_refused_by_name() {
        let config = ServeConfig::default();
        assert!(config.validate().is_ok());
        for (config, name) in [
            (ServeConfig { batch: 0, ..config }, "batch"),
            (ServeConfig { queue: 0, ..config }, "queue"),
            (ServeConfig { max_pixels: u64::MAX, ..config }, "max_pixels"),
            (ServeConfig { timeout: Duration::ZERO, ..config }, "timeout"),
            (ServeConfig { timeout: Duration::MAX, ..config }, "timeout"),
            (ServeConfig { header_timeout: Duration::MAX, ..config }, "header_timeout"),
            (ServeConfig { batch_wait: Duration::MAX, ..config }, "batch_wait"),
            (ServeConfig { stop_grace: MAX_TIME + Duration::from_nanos(1), ..config }, "stop_grace"),
            (ServeConfig { body_memory: 1000, ..config }, "body_memory"),
        ] {
            assert!(config.validate().unwrap_err().to_string().starts_with(name));
        }
        let (batch_wait, stop_grace) = (Duration::ZERO, Duration::ZERO);
        assert!(ServeConfig { batch_wait, stop_grace, timeout: MAX_TIME, ..config }.validate().is_ok());
    }
}
