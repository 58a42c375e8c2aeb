//! Checkpoints of every form: safetensors, PyTorch's three, HDF5. What opens is read to its end.
#![no_main]

use std::io::Write;
use std::path::PathBuf;

use effdet_weights::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let path = PathBuf::from(format!("/dev/shm/effdet-fuzz-{}", std::process::id()));
    let written = std::fs::File::create(&path).and_then(|mut file| file.write_all(bytes));
    written.expect("shared memory can be written to");
    if let Ok(checkpoint) = Checkpoint::open(&path) {
        for name in checkpoint.names() {
            drop(checkpoint.read_f32(name));
        }
    }
});
