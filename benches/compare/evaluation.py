"""COCO evaluation side by side: pycocotools, faster-coco-eval, hotcoco and effdet-metrics.

Makes (once, by seed) a set of the size of val2017: 5,000 pictures, 36,781 boxes, 500,000 detections, 80 classes,
and times each evaluator from the two JSON files to the 12 numbers, reading included, and checks that they agree.

Needs: numpy, pycocotools 2.0.11 and faster-coco-eval 1.8.0 in this Python, and optionally hotcoco 1.3.1, either as
the Python package or as a program (see --hotcoco). From the repository root:

    cargo build --release -p effdet-metrics --example evaluate
    python benches/compare/evaluation.py target/release/examples/evaluate [--runs 3] [--data FOLDER]
        [--hotcoco PROGRAM]   a program that takes the two files and prints "read_seconds evaluate_seconds AP"
        [--skip pycocotools,faster_coco_eval] [--page]

Each evaluator runs in its own process, all of them in turn; the best run of each counts, and the peak of its memory.
`benches/compare/hotcoco` is the program for --hotcoco. --page writes the section of docs/performance.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import machine, write_section

IMAGES, BOXES, DETECTIONS, CLASSES, SEED = 5_000, 36_781, 500_000, 80, 20_17


def make(folder):
    import numpy as np

    rng = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    # Classes as uneven as COCO's, where persons are 30% of the objects.
    weight = 1.0 / np.arange(1, CLASSES + 1) ** 0.7
    weight[0] *= 4
    weight /= weight.sum()
    image_of = np.sort(rng.integers(0, IMAGES, BOXES))
    class_of = rng.choice(CLASSES, BOXES, p=weight)
    size = np.exp(rng.normal(4.0, 1.1, (BOXES, 2))).clip(2, 600)
    corner = rng.uniform(0, 1, (BOXES, 2)) * (640 - size).clip(1)
    boxes = np.round(np.concatenate([corner, size], 1), 2)
    crowd = rng.random(BOXES) < 0.011
    area = np.round(boxes[:, 2] * boxes[:, 3] * rng.uniform(0.4, 0.9, BOXES), 4)
    truth = {
        "images": [{"id": i * 7 + 139, "file_name": f"{i * 7 + 139:012d}.jpg", "width": 640, "height": 640}
                   for i in range(IMAGES)],
        "categories": [{"id": c + 1 + c // 8, "name": f"class {c}"} for c in range(CLASSES)],
        "annotations": [
            {"id": i + 1, "image_id": int(image_of[i]) * 7 + 139, "category_id": int(class_of[i] + 1 + class_of[i] // 8),
             "bbox": boxes[i].tolist(), "area": float(area[i]), "iscrowd": int(crowd[i])}
            for i in range(BOXES)
        ],
    }
    # 100 detections per picture: some around each object, some of the wrong class, the rest anywhere.
    near = rng.integers(0, BOXES, DETECTIONS * 3 // 10)
    spread = rng.choice([0.02, 0.06, 0.15, 0.4], (len(near), 1))
    delta = rng.normal(0, 1, (len(near), 4)) * spread
    found = boxes[near]
    found_boxes = np.concatenate(
        [found[:, :2] + delta[:, :2] * found[:, 2:], found[:, 2:] * np.exp(delta[:, 2:])], 1)
    found_class = np.where(rng.random(len(near)) < 0.8, class_of[near], rng.choice(CLASSES, len(near), p=weight))
    found_score = (rng.beta(3, 2, len(near)) * np.exp(-spread[:, 0] * 3))
    rest = DETECTIONS - len(near)
    rest_size = np.exp(rng.normal(4.0, 1.1, (rest, 2))).clip(2, 600)
    rest_boxes = np.concatenate([rng.uniform(0, 1, (rest, 2)) * (640 - rest_size).clip(1), rest_size], 1)
    image = np.concatenate([image_of[near], rng.integers(0, IMAGES, rest)])
    kind = np.concatenate([found_class, rng.choice(CLASSES, rest, p=weight)])
    score = np.concatenate([found_score, rng.beta(1, 12, rest)]).astype(np.float32).astype(np.float64)
    where = np.concatenate([found_boxes, rest_boxes]).astype(np.float32).astype(np.float64)
    order = np.lexsort((-score, image))
    results = [
        {"image_id": int(image[i]) * 7 + 139, "category_id": int(kind[i] + 1 + kind[i] // 8),
         "bbox": where[i].tolist(), "score": float(score[i])}
        for i in order
    ]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "detections.json").write_text(json.dumps(results))


def python_evaluator(kind, truth, detections):
    """Runs in its own process; prints read seconds, evaluate seconds, AP."""
    if kind == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    elif kind == "faster_coco_eval":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from hotcoco import COCO, COCOeval
    out, sys.stdout = sys.stdout, open(os.devnull, "w")
    start = time.perf_counter()
    gt = COCO(truth)
    dt = gt.load_res(detections) if kind == "hotcoco" else gt.loadRes(detections)
    read = time.perf_counter()
    run = COCOeval(gt, dt, "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    done = time.perf_counter()
    sys.stdout = out
    print(read - start, done - read, float(run.stats[0]))


def measure(name, command):
    """Seconds to read and to evaluate, AP, peak memory in MB; None if it fails."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        print(f"{name}: not run ({' '.join(command[:3])} failed)")
        return None
    if output.startswith("{"):
        report = json.loads(output)
        numbers = report["seconds"]["read"], report["seconds"]["evaluate"], report["AP"]
    else:
        numbers = tuple(float(v) for v in output.splitlines()[-1].split())
    return (*numbers, usage.ru_maxrss / 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "effdet_val2017_size")
    parser.add_argument("--hotcoco")
    parser.add_argument("--skip", default="")
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    truth, detections = (options.data / name for name in ("truth.json", "detections.json"))
    if not detections.exists():
        make(options.data)
    files = [str(truth), str(detections)]
    commands = {
        kind: [sys.executable, __file__, "--as", kind, *files] for kind in ("pycocotools", "faster_coco_eval")
    }
    commands["hotcoco"] = [options.hotcoco, *files] if options.hotcoco else [
        sys.executable, __file__, "--as", "hotcoco", *files]
    commands["effdet-metrics"] = [options.binary, *files]
    before, rows = machine(), {}
    for _ in range(options.runs):
        for kind, command in commands.items():
            if kind in options.skip.split(","):
                continue
            row = measure(kind, command)
            if row and (kind not in rows or row[0] + row[1] < rows[kind][0] + rows[kind][1]):
                rows[kind] = row
    ours = rows["effdet-metrics"]
    size = sum(f.stat().st_size for f in (truth, detections)) / 1e6
    lines = ["| | read, s | evaluate, s | both, s | memory, MB | AP | ours is faster: evaluate | both |", "|---|---|---|---|---|---|---|---|"]
    for kind, (read, evaluate, ap, memory) in rows.items():
        ratios = f"{evaluate / ours[1]:.1f} | {(read + evaluate) / (ours[0] + ours[1]):.1f}"
        lines.append(
            f"| {kind} | {read:.3f} | {evaluate:.3f} | {read + evaluate:.3f} | {memory:.0f} | {ap:.12f} | {ratios} |")
    table = "\n".join(lines)
    print(table)
    if options.page:
        write_section("Data and evaluation: COCO evaluation", f"""
`benches/compare/evaluation.py`: {IMAGES:,} pictures, {BOXES:,} boxes, {DETECTIONS:,} detections, {CLASSES} classes, {size:.0f} MB
of JSON, from the files to the 12 numbers; the best of {options.runs} runs of each. {before}.

{table}
""")
    disagree = [kind for kind, row in rows.items() if abs(row[2] - ours[2]) > 1e-9]
    if disagree:
        sys.exit(f"AP differs: {disagree}")


if len(sys.argv) > 2 and sys.argv[1] == "--as":
    python_evaluator(*sys.argv[2:5])
else:
    main()
