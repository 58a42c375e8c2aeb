"""Loss, gradients and updated running statistics of the reference for six detectors, in double precision.

Makes crates/effdet-testing/tests/fixtures/gradients.json.gz: for every parameter the norm of its gradient, its product
with a direction that is a function of seed and name, and its first value; for batch norms in training and in evaluation
mode. With --full FOLDER, also writes whole gradients and statistics there (half a gigabyte), for
`cargo xtask gradients --full FOLDER`. Weights, pictures and objects are synthetic (synthetic.py).
Made with torch==2.9.0 torchvision==0.24.0 timm==1.0.31 effdet==0.4.1 numpy==2.4.6 safetensors on a CPU.

    python tools/golden/make_gradients.py [--full FOLDER] [NAME ...]
"""
import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import torch
from effdet import EfficientDet, get_efficientdet_config
from effdet.anchors import AnchorLabeler, Anchors
from effdet.loss import DetectionLoss

import synthetic

SEED = 31
SIDE = 256
BATCH = 4
MODELS = [
    "tf_efficientdet_d0", "efficientdet_d0", "tf_efficientdet_lite0", "efficientdet_q0", "cspdarkdet53m", "efficientdetv2_dt",
]
FIXTURE = Path(__file__).parents[2] / "crates/effdet-testing/tests/fixtures/gradients.json.gz"


def rounded(value, digits=8):
    return float(f"{value:.{digits}g}")


def pictures(seed, batch, side):
    return torch.cat([synthetic.picture(seed, f"picture {i}", side, side) for i in range(batch)])


def objects(seed, batch, side, classes):
    """Boxes (yxyx) and classes of every picture, picture i having 3 i objects: the first has none."""
    boxes, labels = [], []
    for i in range(batch):
        u = synthetic.uniform(seed, f"objects {i}", (3 * i, 5))
        half, side32 = np.float32(0.5), np.float32(side)
        centre = (u[:, :2] * half + half) * side32
        size = (np.float32(0.05) + (u[:, 2:4] * half + half) * np.float32(0.45)) * side32
        low, high = centre - size * half, centre + size * half
        boxes.append(torch.from_numpy(np.concatenate([low, high], 1)))
        labels.append(torch.from_numpy(((u[:, 4] * half + half) * np.float32(classes)).astype(np.int64)))
    return boxes, labels


def build(name, seed, side, batch):
    config = get_efficientdet_config(name)
    config.image_size = (side, side)
    config.backbone_args = {**config.backbone_args, "drop_path_rate": 0.0}
    net = EfficientDet(config, pretrained_backbone=False)
    x = pictures(seed, batch, side)
    with torch.no_grad():
        moments = synthetic.fill(net, seed, x)
    return config, net, x, moments


def in_double(f):
    """Calls f with the loss's casts to single precision made to keep double."""
    single = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    try:
        return f()
    finally:
        torch.Tensor.float = single


def direction(seed, name, shape):
    return torch.from_numpy(synthetic.uniform(seed, f"direction {name}", tuple(shape)).astype(np.float64))


def describe(seed, name, tensor):
    product = (tensor * direction(seed, name, tensor.shape)).sum().item()
    return [rounded(tensor.norm().item()), rounded(product), rounded(tensor.flatten()[0].item())]


def own_single(net, state, x, labels, codes, positives, criterion, exact):
    """How far the reference's own single precision is from these gradients, in units of 1e-3 of a gradient's norm plus
    1e-6 of the largest."""
    net = net.float()
    net.load_state_dict(state)
    net.zero_grad()
    criterion(*net(x), labels, codes, positives)[0].backward()
    largest = max(g.norm().item() for g in exact.values())
    off = 0.0
    for name, parameter in net.named_parameters():
        norm = exact[name].norm().item()
        off = max(off, (parameter.grad.double() - exact[name]).norm().item() / (1e-3 * norm + 1e-6 * largest))
    return rounded(off, 3)


def one(name, full):
    config, net, x, moments = build(name, SEED, SIDE, BATCH)
    labeler = AnchorLabeler(Anchors.from_config(config), config.num_classes)
    boxes, classes = objects(SEED, BATCH, SIDE, config.num_classes)
    labels, codes, positives = labeler.batch_label_anchors(boxes, [c.float() + 1 for c in classes])
    criterion = DetectionLoss(config)
    state = {k: v.double() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    out = {"model": name, "statistics": moments, "num_positives": int(positives.sum()), "modes": {}}
    for mode in ("training", "evaluation"):
        net = net.double()
        net.load_state_dict(state)
        net.train(mode == "training")
        net.zero_grad()
        total, class_loss, box_loss = in_double(lambda: criterion(*net(x.double()), labels, codes, positives))
        total.backward()
        gradients = {n: p.grad.clone() for n, p in net.named_parameters()}
        described = {
            "total": total.item(), "class": class_loss.item(), "boxes": box_loss.item(),
            "gradients": {n: describe(SEED, n, g) for n, g in gradients.items()},
        }
        tensors = dict(gradients)
        if mode == "training":
            running = {n: b.clone() for n, b in net.named_buffers() if b.is_floating_point()}
            described["running"] = {n: describe(SEED, n, b) for n, b in running.items()}
            tensors.update(running)
        described["single"] = own_single(net, state, x, labels, codes, positives, criterion, gradients)
        out["modes"][mode] = described
        if full:
            from safetensors.torch import save_file
            save_file({n: t.detach().float().contiguous() for n, t in tensors.items()}, full / f"{name}-{mode}.safetensors")
        print(name, mode, total.item(), max(g.norm().item() for g in gradients.values()), described["single"], flush=True)
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", type=Path)
    parser.add_argument("names", nargs="*", default=MODELS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = [one(name, arguments.full) for name in arguments.names]
    if arguments.names != MODELS:
        return
    value = {"seed": SEED, "side": SIDE, "batch": BATCH, "models": models}
    with open(FIXTURE, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=9, filename="") as file:
        file.write(json.dumps(value, separators=(",", ":")).encode())
    print(FIXTURE, FIXTURE.stat().st_size)


if __name__ == "__main__":
    main()
