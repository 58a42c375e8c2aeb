"""Writes crates/effdet-heads/tests/fixtures/losses.json: losses of the reference and their gradients.

Outputs are sines, so that they need not be stored. The reference computes in single precision whatever it is given; here
its casts are made to keep double. Losses on IoU are torchvision's, of boxes decoded with sizes cut at ln(1000 / 16).

Pinned: effdet 0.4.1, timm 1.0.31, torch 2.9.0, torchvision 0.24.0, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_losses.py
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from effdet.anchors import AnchorLabeler, Anchors, decode_box_outputs
from effdet.loss import loss_fn
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

OUT = Path("crates/effdet-heads/tests/fixtures/losses.json")
ASPECTS = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]
SIZE = (64, 96)
CLASSES = 3
TRUTHS = [
    ([[4.0, 6.0, 40.0, 50.0], [30.0, 40.0, 60.0, 90.0], [10.0, 70.0, 22.0, 80.0]], [0, 2, 1]),
    ([], []),
    ([[0.0, 0.0, 64.0, 96.0]], [1]),
]
DEFAULTS = dict(alpha=0.25, gamma=1.5, delta=0.1, box_loss_weight=50.0, label_smoothing=0.0, legacy_focal=False)
CASES = [
    ("defaults", {}, {}),
    ("label smoothing", {"label_smoothing": 0.1}, {}),
    ("legacy", {"legacy_focal": True}, {}),
    ("other constants", {"alpha": 0.5, "gamma": 2.0, "delta": 1.0, "box_loss_weight": 10.0}, {}),
    ("cross-entropy", {"alpha": 0.5, "gamma": 0.0}, {}),
    ("ignored anchors", {"label_smoothing": 0.02}, {"ignored": 7}),
    ("large logits", {"label_smoothing": 0.1}, {"scale": 60.0}),
    ("iou", {"box_loss_weight": 1.0}, {"box_loss": "iou"}),
    ("giou", {"box_loss_weight": 1.0}, {"box_loss": "giou"}),
    ("diou", {"box_loss_weight": 2.0}, {"box_loss": "diou"}),
    ("ciou", {"box_loss_weight": 1.0}, {"box_loss": "ciou"}),
    ("class weights", {}, {"class_weights": [0.5, 1.0, 2.0]}),
]


def outputs(level, channels, height, width, scale, shift):
    count = len(TRUTHS) * channels * height * width
    i = torch.arange(count, dtype=torch.float64)
    values = scale * torch.sin(0.7 * i + 0.013 * (i % 101) + level) + shift
    return values.reshape(len(TRUTHS), channels, height, width).requires_grad_()


def iou_loss(kind, predicted, target):
    if kind == "giou":
        return generalized_box_iou_loss(predicted, target, reduction="sum")
    if kind == "diou":
        return distance_box_iou_loss(predicted, target, reduction="sum")
    if kind == "ciou":
        return complete_box_iou_loss(predicted, target, reduction="sum")
    low, high = torch.max(predicted[:, :2], target[:, :2]), torch.min(predicted[:, 2:], target[:, 2:])
    common = (high - low).clamp(min=0).prod(1)
    area = lambda b: (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return (1 - common / (area(predicted) + area(target) - common + 1e-7)).sum()


def box_iou_loss(kind, anchors, box_outputs, labels, codes, normalizer):
    predicted = torch.cat([o.permute(0, 2, 3, 1).reshape(len(TRUTHS), -1, 4) for o in box_outputs], 1)
    labels = torch.cat([l.reshape(len(TRUTHS), -1) for l in labels], 1)
    codes = torch.cat([c.reshape(len(TRUTHS), -1, 4) for c in codes], 1).double()
    picture, anchor = (labels >= 0).nonzero(as_tuple=True)
    places = anchors.boxes.double()[anchor]
    predicted = predicted[picture, anchor]
    predicted = torch.cat([predicted[:, :2], predicted[:, 2:].clamp(max=math.log(1000 / 16))], 1)
    decoded = decode_box_outputs(predicted, places, output_xyxy=True)
    return iou_loss(kind, decoded, decode_box_outputs(codes[picture, anchor], places, output_xyxy=True)) / normalizer


def main():
    single = torch.Tensor.float
    anchors = Anchors(3, 7, 3, ASPECTS, 4.0, SIZE)
    labeler = AnchorLabeler(anchors, CLASSES)
    boxes = [torch.tensor(b, dtype=torch.float32).reshape(-1, 4) for b, _ in TRUTHS]
    classes = [torch.tensor(c, dtype=torch.float32) + 1 for _, c in TRUTHS]
    labels, codes, positives = labeler.batch_label_anchors(boxes, classes)
    written = []
    for name, options, extra in CASES:
        options = {**DEFAULTS, **options}
        labels_here = [l.clone() for l in labels]
        if "ignored" in extra:
            for l in labels_here:
                flat = l.reshape(-1)
                flat[:: extra["ignored"]] = torch.where(flat[:: extra["ignored"]] == -1, -2, flat[:: extra["ignored"]])
        sizes = anchors.feat_sizes[3:]
        class_outputs = [outputs(l, 9 * CLASSES, h, w, extra.get("scale", 4.0), -2.0) for l, (h, w) in enumerate(sizes)]
        box_outputs = [outputs(l, 36, h, w, 0.5, 0.0) for l, (h, w) in enumerate(sizes)]
        torch.Tensor.float = torch.Tensor.double
        run = lambda logits, labels: loss_fn(logits, box_outputs, labels, codes, positives, CLASSES, **options)
        total, class_loss, box_loss = run(class_outputs, labels_here)
        torch.Tensor.float = single
        normalizer = positives.sum().double() + 1.0
        if "class_weights" in extra:
            # column by column, each with its own weight, as a problem of one class
            torch.Tensor.float = torch.Tensor.double
            parts = []
            for c, weight in enumerate(extra["class_weights"]):
                column = [o.reshape(len(TRUTHS), 9, CLASSES, *o.shape[2:])[:, :, c] for o in class_outputs]
                own = [torch.where(l == c, 0, -1) for l in labels_here]
                parts.append(weight * loss_fn(column, box_outputs, own, codes, positives, 1, **options)[1])
            torch.Tensor.float = single
            class_loss = sum(parts)
            total = class_loss + options["box_loss_weight"] * box_loss
        if "box_loss" in extra:
            box_loss = box_iou_loss(extra["box_loss"], anchors, box_outputs, labels_here, codes, normalizer)
            total = class_loss + options["box_loss_weight"] * box_loss
        gradients = torch.autograd.grad(total, class_outputs + box_outputs)
        written.append({
            "name": name,
            **options,
            "box_loss": extra.get("box_loss", "huber"),
            "class_weights": extra.get("class_weights"),
            "ignored_step": extra.get("ignored"),
            "scale": extra.get("scale", 4.0),
            "total": total.item(),
            "class": class_loss.item(),
            "boxes": box_loss.item(),
            "gradients": [
                {"norm": g.norm().item(), "projection": (g.flatten() * torch.cos(torch.arange(g.numel(), dtype=torch.float64))).sum().item(),
                 "first": g.flatten()[:4].tolist()}
                for g in gradients
            ],
        })
        print(name, total.item(), class_loss.item(), box_loss.item())
    fixture = {
        "image_size": list(SIZE),
        "num_classes": CLASSES,
        "truths": [[{"box": b, "class": c} for b, c in zip(*truths)] for truths in TRUTHS],
        "num_positives": int(positives.sum()),
    }
    text = json.dumps(fixture, separators=(",", ":"))[:-1] + ',"cases":[\n'
    text += ",\n".join(json.dumps(case, separators=(",", ":")) for case in written) + "\n]}\n"
    OUT.write_text(text)
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
