"""Seeded random COCO data sets that visit the corners of an evaluator, and pycocotools' numbers for them.

Used by make_coco_eval.py and compare_pycocotools.py. Pinned: pycocotools 2.0.11, numpy 2.x, Python 3.11.
"""

import contextlib
import copy
import io

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

DEFAULT_AREAS = [["all", 0, 1e10], ["small", 0, 1024], ["medium", 1024, 9216], ["large", 9216, 1e10]]


def random_box(rng, style):
    if style == "grid":  # overlaps that hit thresholds exactly
        x, y = rng.integers(0, 12, 2) * 10
        w, h = rng.integers(1, 9, 2) * 10
    elif style == "edges":  # areas on the borders of small, medium and large
        x, y = rng.integers(0, 200, 2)
        w, h = [(32, 32), (96, 96), (16, 64), (31, 33), (97, 95), (0, 10), (1, 1)][rng.integers(7)]
    else:
        x, y = np.round(rng.uniform(-20, 400, 2), 2)
        w, h = np.round(np.exp(rng.uniform(0.5, 5.5, 2)), 2)
    return [float(v) for v in (x, y, w, h)]


def jitter(rng, box, style):
    x, y, w, h = box
    if style == "grid":
        dx, dy, dw, dh = rng.integers(-2, 3, 4) * 5
        return [x + float(dx), y + float(dy), max(w + float(dw), 0.0), max(h + float(dh), 0.0)]
    spread = rng.choice([0.0, 0.03, 0.1, 0.3])
    dx, dy, dw, dh = rng.normal(0, spread, 4)
    return [round(float(v), 3) for v in (x + dx * w, y + dy * h, w * np.exp(dw), h * np.exp(dh))]


def random_set(seed, size=1.0):
    rng = np.random.default_rng(seed)
    style = ["plain", "grid", "edges"][seed % 3]
    images = int(rng.integers(1, max(2, int(14 * size))))
    image_ids = rng.permutation(rng.choice(100_000, images, replace=False) + (2**40 if seed % 11 == 0 else 0))
    category_ids = rng.permutation(rng.choice(np.arange(1, 91), int(rng.integers(1, 6)), replace=False))
    crowded = rng.choice([0.0, 0.1, 0.4])
    levels = [0, 3, 20][seed % 3 if seed % 2 else int(rng.integers(3))]  # 0: scores without ties
    truth = {
        "images": [{"id": int(i)} for i in image_ids],
        "categories": [{"id": int(c), "name": f"class {c}"} for c in category_ids],
        "annotations": [],
    }
    results = []
    first_id = 0 if seed % 7 == 3 else 1
    for image in truth["images"]:
        if rng.random() < 0.15:
            continue
        objects = int(rng.integers(0, 9))
        many = rng.random() < 0.07 * size
        for _ in range(objects):
            box = random_box(rng, style)
            crowd = bool(rng.random() < crowded)
            if crowd:
                box[2], box[3] = box[2] * 2, box[3] * 2
            area = box[2] * box[3]
            if style != "edges":
                area = round(area * rng.uniform(0.4, 1.0), 3)
            category = int(rng.choice(category_ids))
            truth["annotations"].append({
                "id": len(truth["annotations"]) + first_id, "image_id": image["id"], "category_id": category,
                "bbox": box, "area": area, "iscrowd": int(crowd),
            })
            for _ in range(int(rng.choice([0, 1, 1, 2, 4]) + (crowd * 3))):
                detected = category if rng.random() < 0.9 else int(rng.choice(category_ids))
                results.append((image["id"], detected, jitter(rng, box, style)))
        for _ in range(int(rng.integers(0, 6)) + (130 if many else 0)):
            category = category_ids[0] if many else rng.choice(category_ids)
            results.append((image["id"], int(category), random_box(rng, style)))
    if not results:
        results.append((truth["images"][0]["id"], int(category_ids[0]), [0.0, 0.0, 5.0, 5.0]))
    if seed % 13 == 5 and len(truth["annotations"]) > 2:
        truth["annotations"][-1]["id"] = truth["annotations"][0]["id"]
    rng.shuffle(truth["annotations"])
    detections = []
    for i in rng.permutation(len(results)):
        image, category, box = results[i]
        score = rng.integers(0, levels) / levels if levels else float(np.round(rng.beta(1, 2), 6))
        detections.append({"image_id": image, "category_id": category, "bbox": box, "score": float(score)})
    return truth, detections


def random_params(seed):
    """Most sets use the default; the others vary one thing each."""
    rng = np.random.default_rng(seed + 10**6)
    params = {}
    if seed % 5 == 1:
        params["iou_thresholds"] = sorted(float(t) for t in np.round(rng.uniform(0, 1, 4), 2)) + [0.5]
    if seed % 5 == 2:
        params["max_detections"] = [[1, 3, 300], [2, 5, 100], [1, 10, 500]][int(rng.integers(3))]
    if seed % 5 == 3:
        params["area_ranges"] = [["all", 0, 1e10], ["tiny", 0, 400], ["mid", 400, 5000.5]]
    if seed % 5 == 4 and seed % 2:
        params["use_categories"] = False
    if seed % 50 == 6:
        params["iou_thresholds"] = [round(0.1 + 0.01 * i, 2) for i in range(80)]
    return params


def evaluate(truth, detections, params):
    """pycocotools' 12 numbers (None where its summary does not apply), precision and recall."""
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = copy.deepcopy(truth)
        gt.createIndex()
        dt = gt.loadRes(copy.deepcopy(detections))
        run = COCOeval(gt, dt, "bbox")
        if "iou_thresholds" in params:
            run.params.iouThrs = np.array(params["iou_thresholds"])
        if "max_detections" in params:
            run.params.maxDets = params["max_detections"]
        areas = params.get("area_ranges", DEFAULT_AREAS)
        run.params.areaRng = [[low, high] for _, low, high in areas]
        run.params.areaRngLbl = [name for name, _, _ in areas]
        run.params.useCats = int(params.get("use_categories", True))
        run.evaluate()
        run.accumulate()
        stats = None
        if "area_ranges" not in params:
            run.summarize()
            stats = [float(v) for v in run.stats]
    return stats, run.eval["precision"], run.eval["recall"]
