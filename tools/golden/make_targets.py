"""Writes crates/effdet-heads/tests/fixtures/targets.json: labels that the reference gives to anchors.

Pinned: effdet 0.4.1, timm 1.0.31, torch 2.9.0, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_targets.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from effdet.anchors import AnchorLabeler, Anchors

OUT = Path("crates/effdet-heads/tests/fixtures/targets.json")
ASPECTS = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]
SAMPLED = 40


def scattered(seed, count, height, width, classes):
    """Boxes of all sizes, some beyond the edges."""
    random = np.random.default_rng(seed)
    size = np.exp(random.uniform(np.log(4), np.log(max(height, width)), (count, 2)))
    centre = random.uniform(0, 1, (count, 2)) * [height, width]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return boxes.astype(np.float32), random.integers(0, classes, count)


def cases():
    for seed, (height, width), count, scale in [
        (1, (128, 128), 5, 4.0),
        (2, (96, 160), 12, 4.0),
        (3, (300, 400), 40, 4.0),
        (4, (320, 320), 100, 3.0),
        (5, (512, 512), 100, 4.0),
    ]:
        yield f"scattered {seed}", (height, width), scale, *scattered(seed, count, height, width, 20)
    yield "empty", (128, 128), 4.0, np.zeros((0, 4), np.float32), np.zeros(0, int)
    # copies of one box, boxes on a grid that tie between anchors, and boxes nested in each other
    one = np.array([30.0, 30.0, 70.0, 80.0])
    yield "three times the same box", (128, 128), 4.0, np.stack([one] * 3).astype(np.float32), np.array([4, 1, 2])
    grid = [[y, x, y + 16, x + 16] for y in range(0, 128, 16) for x in range(0, 128, 16)]
    yield "a grid of boxes between cells", (128, 128), 4.0, np.array(grid, np.float32), np.arange(64) % 7
    nested = [[64 - r, 64 - r, 64 + r, 64 + r] for r in (60, 40, 30, 16, 8, 4, 2)]
    yield "nested", (128, 128), 4.0, np.array(nested, np.float32), np.arange(7)
    # no anchor overlaps the first two: both claim anchor 0
    odd = [[400.0, 400.0, 410.0, 410.0], [-900.0, 3.0, -890.0, 9.0], [50.0, 50.0, 50.0, 50.0], [20.0, 20.0, 21.0, 90.0]]
    yield "far away and without area", (128, 128), 4.0, np.array(odd, np.float32), np.array([3, 5, 6, 7])
    exact = Anchors(3, 7, 3, ASPECTS, 4.0, (128, 128)).boxes.numpy()[[100, 1000, 2400]]
    yield "anchors themselves", (128, 128), 4.0, exact, np.array([0, 1, 2])


def main():
    written = []
    for name, size, scale, boxes, classes in cases():
        anchors = Anchors(3, 7, 3, ASPECTS, scale, size)
        labeler = AnchorLabeler(anchors, 20)
        labels, codes, positives = labeler.label_anchors(torch.from_numpy(boxes), torch.from_numpy(classes + 1).float())
        labels = torch.cat([level.reshape(-1) for level in labels]).numpy()
        codes = torch.cat([level.reshape(-1, 4) for level in codes]).numpy()
        # every label, and the codes of some positive anchors
        found = np.flatnonzero((codes != 0).any(1) | (labels >= 0))
        sampled = found[np.unique(np.linspace(0, len(found) - 1, SAMPLED).astype(int))] if len(found) else found
        written.append({
            "name": name,
            "image_size": list(size),
            "anchor_scale": scale,
            "boxes": [[float(v) for v in box] for box in boxes],
            "classes": [int(c) for c in classes],
            "num_positives": int(positives),
            "positive": [[int(i), int(labels[i])] for i in np.flatnonzero(labels >= 0)],
            "codes": [[int(i), [float(v) for v in codes[i]]] for i in sampled],
            "code_sums": [float(f"{v:.9g}") for v in codes.astype(np.float64).sum(0)],
        })
        print(name, len(labels), int(positives))
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in written)
    OUT.write_text(f"[\n{text}\n]\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
