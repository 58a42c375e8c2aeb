"""Compares the `evaluate` example of effdet-metrics with pycocotools on seeded random data sets.

Pinned: pycocotools 2.0.11, numpy 2.x, Python 3.11. Run from the repository root:

    cargo build --release -p effdet-metrics --example evaluate
    python tools/golden/compare_pycocotools.py target/release/examples/evaluate [SETS] [FIRST_SEED]

Every number of the 12, and every entry of the precision and recall arrays, must agree to 1e-9.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from coco_sets import evaluate, random_params, random_set

TOLERANCE = 1e-9


def main():
    binary = sys.argv[1]
    sets = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    worst, failed, objects, detected = 0.0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for seed in range(first, first + sets):
            truth, detections = random_set(seed, size=1.0 + seed % 4)
            params = random_params(seed)
            stats, precision, recall = evaluate(truth, detections, params)
            names = ["truth.json", "detections.json", "params.json"]
            for name, value in zip(names, [truth, detections, params | {"quirks": True, "curves": True}]):
                (folder / name).write_text(json.dumps(value))
            command = [binary, *(str(folder / n) for n in names[:2]), "--params", str(folder / names[2])]
            ours = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            pairs = [(precision.flatten(), ours["curves"]["precision"]), (recall.flatten(), ours["curves"]["recall"])]
            if stats is not None:
                pairs.append((np.array(stats), ours["stats"]))
            difference = max(float(np.abs(theirs - np.array(mine)).max()) for theirs, mine in pairs)
            worst, failed = max(worst, difference), failed + (difference > TOLERANCE)
            objects, detected = objects + len(truth["annotations"]), detected + len(detections)
            if difference > TOLERANCE:
                print(f"seed {seed}: differs by {difference:g} ({params})")
    print(f"{sets} sets, {objects} objects, {detected} detections: {failed} differ, largest difference {worst:g}")
    sys.exit(failed > 0)


main()
