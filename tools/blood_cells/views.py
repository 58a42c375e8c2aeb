"""What slices and test-time augmentation bring on blood cells; writes the table of docs/inference.md.

    python tools/blood_cells/views.py EFFDET BCCD WEIGHTS

EFFDET is the command, BCCD the data set in VOC layout, WEIGHTS a tf_efficientdet_lite0 for its three classes.
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/inference.md"
BEGIN, END = "<!-- written by tools/blood_cells/views.py -->", "<!-- end -->"
VIEWS = [
    "", "--tta flip", "--tta scale:0.8,scale:1.2", "--tta flip,scale:0.8,scale:1.2",
    "--slice 400", "--slice 320", "--slice 320 --merge join",
]
NUMBERS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100"]


def main():
    command, bccd, weights = sys.argv[1:]
    rows = ["| | " + " | ".join(NUMBERS) + " |", "|---" * (1 + len(NUMBERS)) + "|"]
    with tempfile.TemporaryDirectory() as folder:
        labels, numbers = Path(folder) / "labels.txt", Path(folder) / "numbers.json"
        labels.write_text("RBC\nWBC\nPlatelets\n")
        val = [command, "val", "--data", bccd, "--format", "voc", "--split", "test", "--weights", weights]
        val += ["--model", "tf_efficientdet_lite0", "--image-size", "320", "--labels", labels, "--json", numbers]
        val += ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
        for view in VIEWS:
            subprocess.run([*val, *view.split()], check=True, capture_output=True)
            found = json.loads(numbers.read_text())
            name = f"`{view}`" if view else "one look"
            rows.append(f"| {name} | " + " | ".join(f"{found[number]:.3f}" for number in NUMBERS) + " |")
            print(rows[-1], flush=True)
    table = "\n".join([BEGIN, "", *rows, "", END])
    PAGE.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: table, PAGE.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
