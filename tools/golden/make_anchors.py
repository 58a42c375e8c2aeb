"""Writes crates/effdet-heads/tests/fixtures/anchors.json: anchors of the reference for several image sizes.

Pinned: effdet 0.4.1, timm 1.0.31, torch 2.9.0, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_anchors.py
"""

import json
from pathlib import Path

import numpy as np
from effdet.anchors import Anchors

OUT = Path("crates/effdet-heads/tests/fixtures/anchors.json")
DEFAULT_ASPECTS = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]
ROOT_ASPECTS = [(float(np.sqrt(r)), float(1.0 / np.sqrt(r))) for r in (1.0, 2.0, 0.5)]

CASES = [
    ("square 512", (512, 512), 7, DEFAULT_ASPECTS, 4.0),
    ("lite0, square 320", (320, 320), 7, DEFAULT_ASPECTS, 3.0),
    ("oblong 96x160", (96, 160), 7, DEFAULT_ASPECTS, 4.0),
    ("indivisible 300x400", (300, 400), 7, DEFAULT_ASPECTS, 4.0),
    ("odd 333x517, square-root aspects", (333, 517), 7, ROOT_ASPECTS, 4.0),
    ("d7x, levels 3 to 8, 160x288", (160, 288), 8, DEFAULT_ASPECTS, 4.0),
    ("one scale per level, 128x192", (128, 192), 7, DEFAULT_ASPECTS, [2.0, 3.0, 4.0, 4.5, 5.0]),
]


def main():
    cases = []
    for name, size, max_level, aspects, scale in CASES:
        anchors = Anchors(3, max_level, 3, aspects, scale, size)
        boxes = anchors.boxes.numpy()
        feature_sizes = [list(s) for s in anchors.feat_sizes[3:]]
        rows = np.unique(np.linspace(0, len(boxes) - 1, 61).astype(int))
        cases.append({
            "name": name,
            "image_size": list(size),
            "config": {
                "min_level": 3, "max_level": max_level, "num_scales": 3,
                "aspect_ratios": aspects, "anchor_scale": scale,
            },
            "feature_sizes": feature_sizes,
            "count": len(boxes),
            "column_sums": boxes.astype(np.float64).sum(axis=0).tolist(),
            "rows": [[int(i), [float(v) for v in boxes[i]]] for i in rows],
        })
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text(f"[\n{text}\n]\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
