"""Writes the post-processing fixtures of crates/effdet-heads/tests/fixtures.

decode.json: head outputs of a small picture, and what the reference makes of them with hard and soft suppression.
nms.json: boxes, scores and classes, and what torchvision's batched_nms and effdet's batched_soft_nms select.

Pinned: effdet 0.4.1, timm 1.0.31, torch 2.9.0, torchvision 0.24.0, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_postprocess.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from effdet.anchors import Anchors, generate_detections
from effdet.bench import _post_process
from effdet.soft_nms import batched_soft_nms
from torchvision.ops import batched_nms

OUT = Path("crates/effdet-heads/tests/fixtures")
SEED = 20240829


def distinct(rng, count, low, high):
    """Values without ties, because the reference does not say how it orders those."""
    return np.round(rng.permutation(np.linspace(low, high, count)), 4)


def write(name, value):
    path = OUT / name
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")
    print(f"{path}: {path.stat().st_size} bytes")


def floats(tensor):
    return [float(f"{v:.9g}") for v in tensor.flatten().tolist()]


def decode_fixture():
    rng = np.random.default_rng(SEED)
    size, classes, per_cell = (48, 64), 2, 9
    anchors = Anchors(3, 7, 3, [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)], 4.0, size)
    shapes = anchors.feat_sizes[3:]
    cells = sum(h * w for h, w in shapes)
    logits = distinct(rng, cells * per_cell * classes, -7.0, 3.0)
    deltas = np.round(rng.normal(0.0, 0.35, cells * per_cell * 4), 3)

    levels, at_logit, at_delta = [], 0, 0
    for h, w in shapes:
        n = h * w * per_cell
        levels.append((
            torch.tensor(logits[at_logit:at_logit + n * classes], dtype=torch.float32).reshape(1, -1, h, w),
            torch.tensor(deltas[at_delta:at_delta + n * 4], dtype=torch.float32).reshape(1, -1, h, w),
        ))
        at_logit, at_delta = at_logit + n * classes, at_delta + n * 4

    total = cells * per_cell * classes
    cases = []
    for name, candidates, soft, scale, picture in [
        ("hard, input pixels", total, False, None, None),
        ("hard, 300 candidates", 300, False, None, None),
        ("hard, picture 150x190", total, False, 190 / 64, (190, 150)),
        ("hard, scale only", 500, False, 1.7, None),
        ("soft, input pixels", 400, True, None, None),
        ("soft, picture 150x190", 300, True, 190 / 64, (190, 150)),
    ]:
        cls, box, indices, class_ids = _post_process(
            [c for c, _ in levels], [b for _, b in levels], len(levels), classes, candidates)
        detections = generate_detections(
            cls[0], box[0], anchors.boxes, indices[0], class_ids[0],
            None if scale is None else torch.tensor(scale),
            None if picture is None else torch.tensor(picture, dtype=torch.float32),
            max_det_per_image=100, soft_nms=soft)
        detections = detections[detections[:, 5] > 0]
        cases.append({
            "name": name, "max_candidates": candidates, "soft": soft,
            "scale": scale, "picture": None if picture is None else [picture[1], picture[0]],
            "detections": [floats(row) for row in detections],
        })
    write("decode.json", {
        "image_size": list(size), "num_classes": classes,
        "levels": [{"class_logits": floats(c), "box_deltas": floats(b)} for c, b in levels],
        "cases": cases,
    })


def nms_fixture():
    rng = np.random.default_rng(SEED + 1)
    count, classes = 300, 3
    corner = rng.uniform(0, 200, (count, 2))
    side = rng.uniform(15, 90, (count, 2))
    boxes = np.round(np.concatenate([corner, corner + side], axis=1), 2)
    scores = distinct(rng, count, 0.01, 0.99)
    # torchvision sorts stably on the CPU, so equal scores have one answer for hard suppression
    tied = scores.copy()
    tied[rng.integers(0, count, 60)] = 0.5
    labels = rng.integers(1, classes + 1, count)
    b = torch.tensor(boxes, dtype=torch.float32)
    s, t = (torch.tensor(v, dtype=torch.float32) for v in (scores, tied))
    c = torch.tensor(labels)

    hard = [
        {"iou_threshold": threshold, "tied": name == "tied", "class_agnostic": agnostic,
         "kept": batched_nms(b, values, torch.zeros_like(c) if agnostic else c, threshold).tolist()}
        for threshold in (0.3, 0.5, 0.7)
        for name, values in (("distinct", s), ("tied", t))
        for agnostic in (False, True)
    ]
    soft = []
    for gaussian, sigma, threshold in ((True, 0.5, 0.3), (True, 0.2, 0.3), (False, 0.5, 0.3), (False, 0.5, 0.5)):
        kept, rescored = batched_soft_nms(
            b, s, c, method_gaussian=gaussian, sigma=sigma, iou_threshold=threshold, score_threshold=0.001)
        soft.append({"gaussian": gaussian, "sigma": sigma, "iou_threshold": threshold,
                     "kept": kept.tolist(), "scores": floats(rescored)})
    write("nms.json", {
        "boxes": boxes.tolist(), "scores": scores.tolist(), "tied_scores": tied.tolist(),
        "labels": labels.tolist(), "hard": hard, "soft": soft,
    })


if __name__ == "__main__":
    torch.manual_seed(SEED)
    decode_fixture()
    nms_fixture()
