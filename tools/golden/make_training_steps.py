"""Ten optimiser steps of the reference, in double precision.

Makes crates/effdet-testing/tests/fixtures/training_steps.json.gz: for SGD and AdamW the loss and its parts before each
step, and after the last the norm, the product with a direction, and the first value of every parameter and running
statistic. Weights, pictures and objects are synthetic (synthetic.py, make_gradients.py); every step sees the same batch,
batch norms are in training mode, drop path is 0, the norm of all gradients is limited to 10 as in effdet's train.py, and the learning rate is constant.
(Without the limit, or with the two values per channel that level 7 of 128 pixels leaves to its norms, rounding grows a
hundredfold at every step.) Weight decay
applies to every parameter with more than one axis whose name does not end in `.bias`, as timm groups them.
Made with torch==2.9.0 torchvision==0.24.0 timm==1.0.31 effdet==0.4.1 numpy==2.4.6 on a CPU.

    python tools/golden/make_training_steps.py
"""
import gzip
import json
from pathlib import Path

import torch
from effdet.anchors import AnchorLabeler, Anchors
from effdet.loss import DetectionLoss

from make_gradients import build, describe, in_double, objects

MODEL = "tf_efficientdet_lite0"
SEED = 37
SIDE = 256
BATCH = 2
STEPS = 10
CLIP = 10.0
# PyTorch's meanings: dampening 0, no Nesterov; decoupled decay in AdamW
OPTIMIZERS = {
    "sgd": {"lr": 5e-4, "momentum": 0.9, "weight_decay": 4e-5},
    "adamw": {"lr": 1e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 1e-2},
}
FIXTURE = Path(__file__).parents[2] / "crates/effdet-testing/tests/fixtures/training_steps.json.gz"


def groups(net, weight_decay):
    decayed = {n: p for n, p in net.named_parameters() if p.ndim > 1 and not n.endswith(".bias")}
    others = [p for n, p in net.named_parameters() if n not in decayed]
    return [{"params": others, "weight_decay": 0.0}, {"params": list(decayed.values()), "weight_decay": weight_decay}]


def run(kind, options):
    config, net, x, moments = build(MODEL, SEED, SIDE, BATCH)
    labeler = AnchorLabeler(Anchors.from_config(config), config.num_classes)
    boxes, classes = objects(SEED, BATCH, SIDE, config.num_classes)
    labels, codes, positives = labeler.batch_label_anchors(boxes, [c.float() + 1 for c in classes])
    criterion = DetectionLoss(config)
    net = net.double().train()
    rest = {k: v for k, v in options.items() if k != "weight_decay"}
    make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[kind]
    optimizer = make(groups(net, options["weight_decay"]), **rest)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        parts = in_double(lambda: criterion(*net(x.double()), labels, codes, positives))
        parts[0].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        losses.append([part.item() for part in parts])
    print(kind, [round(l[0], 4) for l in losses], flush=True)
    tensors = {**dict(net.named_parameters()), **{n: b for n, b in net.named_buffers() if b.is_floating_point()}}
    final = {n: describe(SEED, n, t.detach()) for n, t in tensors.items()}
    return moments, {"optimizer": kind, **options, "losses": losses, "final": final}


def main():
    torch.set_num_threads(1)
    runs = [run(kind, options) for kind, options in OPTIMIZERS.items()]
    value = {
        "model": MODEL, "seed": SEED, "side": SIDE, "batch": BATCH, "statistics": runs[0][0],
        "runs": [described for _, described in runs],
    }
    with open(FIXTURE, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=9, filename="") as file:
        file.write(json.dumps(value, separators=(",", ":")).encode())
    print(FIXTURE, FIXTURE.stat().st_size)


if __name__ == "__main__":
    main()
