"""Writes crates/effdet-heads/tests/fixtures/merging.json: boxes of several views of a picture, what weighted box fusion
and SAHI's greedy non-maximum merging make of them, and the slices that SAHI cuts pictures into.

Pinned: ensemble-boxes 1.0.9, sahi 0.12.8, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_merging.py
"""

import json
from pathlib import Path

import numpy as np
from ensemble_boxes import weighted_boxes_fusion
from sahi.postprocess.combine import GreedyNMMPostprocess
from sahi.prediction import ObjectPrediction
from sahi.slicing import get_slice_bboxes

OUT = Path("crates/effdet-heads/tests/fixtures/merging.json")
SEED = 20210325
# Both packages want a size: one divides by it, the other holds boxes inside it.
SIDE = 256


def views(rng, count, objects):
    """Noisy sightings of some objects, each missed by some views and seen twice by some, with distinct scores."""
    centers, sizes = rng.uniform(40, 216, (objects, 2)), rng.uniform(16, 70, (objects, 2))
    labels = rng.integers(1, 3, objects)
    found = [[] for _ in range(count)]
    scores = iter(np.round(rng.permutation(np.linspace(0.05, 0.95, 2 * count * objects)), 5))
    for view in found:
        for center, size, label in zip(centers, sizes, labels):
            for _ in range(rng.integers(0, 3)):
                middle, sides = center + rng.normal(0, 5, 2), size * rng.uniform(0.75, 1.25, 2)
                corners = np.clip(np.concatenate([middle - sides / 2, middle + sides / 2]), 0, SIDE)
                view.append([*np.round(corners, 2).tolist(), float(next(scores)), int(label)])
    return found


def fuse(found, weights, iou, skip, kind):
    boxes, scores, labels = weighted_boxes_fusion(
        [[[x / SIDE for x in box[:4]] for box in view] for view in found],
        [[box[4] for box in view] for view in found],
        [[box[5] for box in view] for view in found],
        weights=weights,
        iou_thr=iou,
        skip_box_thr=skip,
        conf_type={"mean": "avg", "max": "max"}[kind],
    )
    rows = [[*(box * SIDE), score, int(label)] for box, score, label in zip(boxes, scores, labels)]
    return [[round(float(x), 5) for x in row[:5]] + [row[5]] for row in rows]


def merge(found, metric, threshold, agnostic):
    # SAHI holds corners as whole pixels or as they are, depending on its version: whole ones are the same in all.
    boxes = [[round(x) for x in box[:4]] + box[4:] for view in found for box in view]
    predictions = [
        ObjectPrediction(bbox=box[:4], score=box[4], category_id=box[5], full_shape=[SIDE, SIDE]) for box in boxes
    ]
    merger = GreedyNMMPostprocess(match_threshold=threshold, match_metric=metric.upper(), class_agnostic=agnostic)
    rows = [[*map(float, p.bbox.to_xyxy()), float(p.score.value), int(p.category.id)] for p in merger(predictions)]
    return boxes, sorted(rows, key=lambda row: -row[4])


def main():
    rng = np.random.default_rng(SEED)
    fusions, merges, slices = [], [], []
    for weights, iou, skip, kind in [
        (None, 0.55, 0.0, "mean"),
        (None, 0.4, 0.2, "mean"),
        ([2.0, 1.0, 0.5], 0.55, 0.0, "mean"),
        ([2.0, 1.0, 0.5], 0.5, 0.0, "max"),
    ]:
        found = views(rng, 3, 12)
        config = {"iou_threshold": iou, "score_threshold": skip, "score": kind, "weights": weights}
        fusions.append({"config": config, "views": found, "fused": fuse(found, weights, iou, skip, kind)})
    for metric, threshold, agnostic in [("ios", 0.5, False), ("iou", 0.3, False), ("iou", 0.5, True), ("ios", 0.2, True)]:
        boxes, merged = merge(views(rng, 3, 12), metric, threshold, agnostic)
        config = {"metric": metric, "threshold": threshold, "class_agnostic": agnostic}
        merges.append({"config": config, "boxes": boxes, "merged": merged})
    for height, width, tile, overlap in [
        (1080, 1920, (640, 640), 0.2),
        (500, 500, (512, 256), 0.25),
        (1000, 777, (200, 300), 0.0),
        (640, 1216, (640, 640), 0.1),
        (2000, 3000, (320, 320), 0.5),
    ]:
        cut = get_slice_bboxes(height, width, *tile, False, overlap, overlap)
        slices.append({"picture": [height, width], "tile": tile, "overlap": overlap, "slices": cut})
    OUT.write_text(json.dumps({"fusions": fusions, "merges": merges, "slices": slices}, separators=(",", ":")) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
