"""Writes crates/effdet-metrics/tests/fixtures/openimages/: seeded CSV files and what effdet's evaluators make of them.

Pinned: effdet 0.4.1 and numpy 1.26, Python 3.11; its evaluators use names that numpy 2 has removed. Only
effdet.evaluation is imported, which needs numpy alone:

    python -m venv oi && oi/bin/pip install "numpy<2" && oi/bin/pip install --no-deps effdet==0.4.1
    oi/bin/python tools/golden/make_openimages.py        (from the repository root)

effdet knows no label hierarchy. For the expanded cases this script labels each box with all ancestors of its label
first, by the rule of the OpenImages Challenge, and hands effdet the result.
"""

import importlib.util
import json
import math
import sys
import types
from pathlib import Path

import numpy as np

# effdet/__init__.py imports torch; a bare package of the same path leaves that out.
package = types.ModuleType("effdet")
package.__path__ = list(importlib.util.find_spec("effdet").submodule_search_locations)
sys.modules["effdet"] = package
from effdet.evaluation.detection_evaluator import (  # noqa: E402
    OpenImagesChallengeEvaluator,
    OpenImagesDetectionEvaluator,
)

OUT = Path("crates/effdet-metrics/tests/fixtures/openimages")
SEED = 20190
TREE = {  # child: parents
    "/m/animal": [], "/m/bird": ["/m/animal"], "/m/duck": ["/m/bird"], "/m/dog": ["/m/animal"],
    "/m/food": [], "/m/meat": ["/m/food", "/m/animal"], "/m/car": [],
}
LABELS = sorted(TREE)


def ancestors(label):
    above = set()
    for parent in TREE[label]:
        above |= {parent} | ancestors(parent)
    return above


def node(label):
    children = [node(child) for child in LABELS if label in TREE[child]]
    return {"LabelName": label} | ({"Subcategory": children} if children else {})


def random_box(rng):
    size = np.exp(rng.uniform(-3.0, -0.6, 2))
    corner = rng.uniform(0, 1, 2) * (1 - size)
    return np.array([*corner, *(corner + size)])


def jitter(rng, box):
    size = np.tile(box[2:] - box[:2], 2)
    return box + rng.normal(0, 1, 4) * size * rng.choice([0.02, 0.08, 0.2])


def make(rng):
    boxes, found, labels = [], [], []
    scores = iter(rng.permutation(np.round(np.linspace(0.001, 0.999, 4000), 6)))  # no ties
    for i in range(60):
        image = f"{i * 2654435761 % 2**64:016x}"
        present = set()
        for _ in range(int(rng.integers(1, 8))):
            label, box, group = LABELS[rng.integers(len(LABELS))], random_box(rng), rng.random() < 0.25
            present.add(label)
            boxes.append((image, label, box, int(group)))
            for _ in range(int(rng.choice([0, 1, 1, 2]) + 2 * group)):
                guess = label if rng.random() < 0.85 else LABELS[rng.integers(len(LABELS))]
                inside = jitter(rng, box)
                if group:
                    size = (box[2:] - box[:2]) * rng.uniform(0.2, 0.7, 2)
                    corner = box[:2] + (box[2:] - box[:2] - size) * rng.uniform(0, 1.2, 2)
                    inside = np.array([*corner, *(corner + size)])
                found.append((image, guess, next(scores), inside))
                for above in ancestors(guess):
                    found.append((image, above, next(scores), inside))
        for _ in range(int(rng.integers(0, 5))):
            found.append((image, LABELS[rng.integers(len(LABELS))], next(scores), random_box(rng)))
        if rng.random() < 0.2:  # a box without area
            found.append((image, "/m/car", next(scores), np.array([0.5, 0.5, 0.5, 0.7])))
        for label in LABELS:
            if label in present or rng.random() < 0.3:
                labels.append((image, label, int(label in present)))
    order = rng.permutation(len(found))
    return boxes, [found[i] for i in order], labels


def run(evaluator, boxes, found, labels, expand):
    index = {label: i + 1 for i, label in enumerate(LABELS)}
    if expand:
        boxes = [(i, above, b, g) for i, label, b, g in boxes for above in (label, *sorted(ancestors(label)))]
        extra = []
        for image, label, present in labels:
            below = [other for other in LABELS if label in ancestors(other)]
            extra += [(image, other, present) for other in (ancestors(label) if present else below)]
        labels = labels + extra
    yxyx = [1, 0, 3, 2]
    for image in dict.fromkeys(row[0] for row in boxes):
        own = [row for row in boxes if row[0] == image]
        evaluator.add_single_ground_truth_image_info(image, {
            "bbox": np.array([row[2][yxyx] for row in own]),
            "cls": np.array([index[row[1]] for row in own]),
            "group_of": np.array([bool(row[3]) for row in own]),
            "img_cls": np.unique([index[row[1]] for row in labels if row[0] == image]),
        })
        own = [row for row in found if row[0] == image]
        evaluator.add_single_detected_image_info(image, {
            "bbox": np.array([row[3][yxyx] for row in own]).reshape(-1, 4),
            "score": np.array([row[2] for row in own]),
            "cls": np.array([index[row[1]] for row in own], dtype=int),
        })
    metrics = evaluator.evaluate()
    values = {key.rsplit("/", 1)[-1]: v for key, v in metrics.items() if "PerformanceByCategory" in key}
    mean = next(v for key, v in metrics.items() if "mAP" in key)
    clean = lambda v: None if math.isnan(v) else float(v)  # noqa: E731
    # Names have slashes in them; the last part is unique here.
    return {"mAP": clean(mean), "per_class": {f"/m/{key}": clean(v) for key, v in values.items()}}


def main():
    rng = np.random.default_rng(SEED)
    boxes, found, labels = make(rng)
    # What is written is what is evaluated: six decimals.
    boxes = [(i, label, np.round(b, 6), g) for i, label, b, g in boxes]
    found = [(i, label, float(s), np.round(b, 6)) for i, label, s, b in found]
    OUT.mkdir(parents=True, exist_ok=True)
    line = lambda *fields: ",".join(str(f) for f in fields)  # noqa: E731
    files = {
        "boxes.csv": ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"]
        + [line(i, "xclick", label, 1, b[0], b[2], b[1], b[3], 0, 0, g) for i, label, b, g in boxes],
        "detections.csv": ["ImageID,LabelName,Score,XMin,XMax,YMin,YMax"]
        + [line(i, label, s, b[0], b[2], b[1], b[3]) for i, label, s, b in found],
        "labels.csv": ["ImageID,Source,LabelName,Confidence"]
        + [line(i, "verification", label, present) for i, label, present in labels],
        "hierarchy.json": [json.dumps({
            "LabelName": "/m/entity",
            "Subcategory": [node(label) for label in LABELS if not TREE[label]],
        })],
    }
    for name, lines in files.items():
        (OUT / name).write_text("\n".join(lines) + "\n")
    categories = [{"id": i + 1, "name": label} for i, label in enumerate(LABELS)]
    expected = []
    for iou in (0.5, 0.7):
        for expand in (False, True):
            for weight, challenge in ((0.0, False), (1.0, False), (1.0, True), (0.4, True)):
                kind = OpenImagesChallengeEvaluator if challenge else OpenImagesDetectionEvaluator
                evaluator = kind(categories, matching_iou_threshold=iou, group_of_weight=weight)
                result = run(evaluator, boxes, found, labels, expand)
                expected.append({
                    "iou": iou, "expand": expand, "group_of_weight": weight, "verified": challenge, **result})
    (OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(len(boxes), "boxes,", len(found), "detections,", [round(e["mAP"], 4) for e in expected])


main()
