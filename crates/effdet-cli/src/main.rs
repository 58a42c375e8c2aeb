//! The `effdet` command.
fn main() {}
