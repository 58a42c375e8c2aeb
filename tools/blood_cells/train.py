"""Trains tf_efficientdet_lite0 on blood cells with seeds 0, 1 and 2 and writes docs/blood-cells.md.

    python tools/blood_cells/train.py EFFDET BCCD RUNS [--reference "NAME=LOG.jsonl" ...] [--seeds 0 1 2]

EFFDET is the command, BCCD the data set in VOC layout (its published form), RUNS a folder for the runs. A run that was
stopped goes on; one that is complete is not made again. LOG.jsonl is a log of the reference, one JSON object per epoch: of its
own script, with a name such as `seed 0`, or of `same_batches.py`, with one such as `on the batches of seed 2`. Every run is in the
page, whatever came of it, with the state it is in.
"""
import argparse
import csv
import json
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
EPOCHS = 60
# Where `causes.py` begins to write the page.
CAUSES = "<!-- written by tools/blood_cells/causes.py -->"
RECIPE = ["--format", "voc", "--train-split", "trainval", "--val-split", "test", "--model", "tf_efficientdet_lite0", "--scratch",
          "--recipe", "reference", "--image-size", "320", "--set", "train.validate_every=10"]


def epochs(folder):
    path = folder / "metrics.csv"
    if not path.exists():
        return {}
    with open(path, newline="") as file:
        return {int(row["epoch"]): row for row in csv.DictReader(file)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effdet")
    parser.add_argument("bccd")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--reference", nargs="*", default=[], metavar="NAME=LOG")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        folder = args.runs / f"seed-{seed}"
        if EPOCHS not in epochs(folder):
            with open(args.runs / f"seed-{seed}.log", "a") as log:
                command = [args.effdet, "train", "--data", args.bccd, *RECIPE, "--seed", str(seed), "--out", folder, "--resume"]
                subprocess.run(command, stdout=log, stderr=log)

    runs = {f"seed {seed}": epochs(args.runs / f"seed-{seed}") for seed in args.seeds}
    reference = {}
    for given in args.reference:
        name, log = given.split("=", 1)
        lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
        reference[f"the reference, {name}"] = {line["epoch"] + 1: line for line in lines}
    runs |= reference
    shown = range(10, EPOCHS + 1, 10)

    def cell(run, epoch, name):
        value = run.get(epoch, {}).get(name)
        return f"{float(value):.4f}" if value not in (None, "") else ""

    page = ["# Blood cells, from random weights", "",
            "Written by `tools/blood_cells/train.py`: `tf_efficientdet_lite0` at 320 on the 292 pictures of BCCD's trainval, tested on",
            f"its 72 test pictures, by the recipe `reference` ({EPOCHS} epochs, batches of 8). AP and AP50 of the averaged weights;",
            "the settings and the numbers of every epoch are in `docs/blood-cells/`. A row that ends early was stopped there.", ""]
    if any(name.startswith("the reference, seed") for name in reference):
        page += ["The reference's runs are those of one script (effdet 0.4.1, the same settings), which differ by the seed.", ""]
    if any("batches" in name for name in reference):
        page += ["On the batches of a seed, the reference starts from the first weights of our run with that seed and is fed its",
                 "pictures, boxes and order (`tools/blood_cells/same_batches.py`), so that arithmetic is all that differs.", ""]
    for name, label in [("AP", "AP"), ("AP50", "AP50")]:
        page += [f"| {label} after epoch | " + " | ".join(map(str, shown)) + " |", "|---" * (len(shown) + 1) + "|"]
        page += [f"| {run} | " + " | ".join(cell(values, e, name) for e in shown) + " |" for run, values in runs.items()]
        done = [float(runs[f"seed {s}"][EPOCHS][name]) for s in args.seeds if EPOCHS in runs[f"seed {s}"]]
        theirs = [float(run[EPOCHS][name]) for run in reference.values() if EPOCHS in run]
        means = [f"Mean {label} of {len(values)} complete {what}: {sum(values) / len(values):.4f}."
                 for values, what in [(done, "runs here"), (theirs, "of the reference")] if values]
        page += ["", " ".join(means), ""]
    path = ROOT / "docs/blood-cells.md"
    _, begin, rest = path.read_text().partition(CAUSES)
    path.write_text("\n".join(page).rstrip() + "\n" + (f"\n{begin}{rest}" if begin else ""))
    for seed in args.seeds:
        source, target = args.runs / f"seed-{seed}", ROOT / f"docs/blood-cells/seed-{seed}"
        if epochs(source):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "metrics.csv", target)
            # Without where the data lie on this machine.
            lines = (source / "config.toml").read_text().splitlines(keepends=True)
            lines = ['root = "bccd"\n' if line.startswith("root = ") else line for line in lines]
            (target / "config.toml").write_text("".join(lines))
            for plot in ["loss.svg", "metrics.svg", "precision_recall.svg"]:
                if (source / "plots" / plot).exists():
                    shutil.copy(source / "plots" / plot, target)


if __name__ == "__main__":
    main()
