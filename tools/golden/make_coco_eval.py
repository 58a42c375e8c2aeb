"""Writes crates/effdet-metrics/tests/fixtures/coco.json.gz: random COCO data sets and pycocotools' results.

The sets come from coco_sets.py. Of each, the 12 numbers are stored in full, and of the precision and recall arrays
the sum, a sum weighted by position, and the shape. Pinned: pycocotools 2.0.11, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_coco_eval.py
"""

import gzip
import json
from pathlib import Path

import numpy as np
from coco_sets import evaluate, random_params, random_set

OUT = Path("crates/effdet-metrics/tests/fixtures/coco.json.gz")
SETS = 32


def digest(array):
    flat = array.flatten()
    weights = (np.arange(flat.size) * 37 % 1009) / 1009
    return {"shape": list(array.shape), "sum": float(flat.sum()), "weighted": float((flat * weights).sum())}


def main():
    sets = []
    for seed in range(SETS):
        truth, detections = random_set(seed, size=1.0 if seed % 8 else 2.0)
        params = random_params(seed)
        stats, precision, recall = evaluate(truth, detections, params)
        sets.append({
            "seed": seed, "truth": truth, "detections": detections, "params": params, "stats": stats,
            "precision": digest(precision), "recall": digest(recall),
        })
    OUT.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(sets, separators=(",", ":")).encode()
    OUT.write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{OUT}: {OUT.stat().st_size} bytes, {sum(len(s['detections']) for s in sets)} detections")


main()
