"""Synthetic weights: every tensor is a pure function of a seed, its name and its shape.

The same definition stands in crates/effdet-testing/src/synthetic.rs, so that no weights need to be stored with what the
reference computes from them. numpy only.
"""
import hashlib

import numpy as np


def uniform(seed, name, shape):
    """float32 in [-1, 1) on a grid of 2**-22: SplitMix64 in counter mode, keyed by the SHA-256 of "seed:name"."""
    count = int(np.prod(shape)) if len(shape) else 1
    key = np.uint64(int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little"))
    with np.errstate(over="ignore"):
        z = key + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(41)).astype(np.float64) * 2.0**-22 - 1.0).astype(np.float32).reshape(shape)


def tensor(seed, name, shape):
    """The weight of this name and shape; see the Rust definition for why the ranges are what they are."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    u = uniform(seed, name, shape)
    if name.endswith("edge_weights"):
        return (np.float32(0.6) + np.float32(0.8) * u).astype(np.float32)
    if len(shape) <= 1:
        if name.endswith("weight") or name.endswith("running_var"):
            return (np.float32(1.0) + np.float32(0.25) * u).astype(np.float32)
        if "class_net.predict" in name:
            return (np.float32(-4.0) + u).astype(np.float32)
        return (np.float32(0.1) * u).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    gain = 0.1 if ".se." in name else 2.0
    if "predict" in name and ("conv_pw" in name or "predict.conv.weight" in name):
        gain = 0.5 if name.startswith("class_net") else 0.1
    return (u * np.float32(np.sqrt(3.0 * gain / fan_in))).astype(np.float32)


def statistics(seed, name, shape, mean, variance):
    """Running statistics of the batch norm `name`, scattered around one mean and variance for all channels."""
    m = np.float32(mean) + np.float32(np.sqrt(np.float32(variance))) * (np.float32(0.1) * uniform(seed, f"{name}.running_mean", shape))
    v = np.float32(variance) * (np.float32(1.0) + np.float32(0.25) * uniform(seed, f"{name}.running_var", shape))
    return m.astype(np.float32), v.astype(np.float32)


def fill(module, seed, x):
    """Loads synthetic weights into a torch module and calibrates its batch norms on `x`, so that activations stay in
    range. Returns the mean and variance of each batch norm that was reached, to three digits."""
    import torch

    state = {name: torch.from_numpy(tensor(seed, name, tuple(value.shape))) for name, value in module.state_dict().items()}
    module.load_state_dict(state, strict=True)
    module.eval()
    moments, hooks = {}, []

    def calibrate(name):
        def hook(norm, args):
            if name not in moments:
                mean, variance = float(f"{args[0].mean().item():.3g}"), float(f"{args[0].var().item():.3g}")
                moments[name] = [mean, variance or 1.0]
                m, v = statistics(seed, name, tuple(norm.running_mean.shape), *moments[name])
                norm.running_mean.copy_(torch.from_numpy(m))
                norm.running_var.copy_(torch.from_numpy(v))
        return hook

    for name, norm in module.named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            hooks.append(norm.register_forward_pre_hook(calibrate(name)))
    module(x)
    for hook in hooks:
        hook.remove()
    return moments


def picture(seed, name, height, width):
    """A picture of noise, already normalised, [1, 3, height, width]."""
    import torch

    return torch.from_numpy(uniform(seed, name, (1, 3, height, width)) * np.float32(1.5))
