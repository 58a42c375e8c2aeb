//! Checkpoints in and out: safetensors and PyTorch files, strict loading with a report one can act on
