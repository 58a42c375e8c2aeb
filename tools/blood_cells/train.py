"""Trains tf_efficientdet_lite0 on blood cells with seeds 0, 1 and 2 and writes docs/blood-cells.md.

    python tools/blood_cells/train.py EFFDET BCCD RUNS SET [--reference "NAME=LOG.jsonl" ...] [--seeds 0 1 2]

EFFDET is the command, BCCD the data set in VOC layout (its published form), RUNS a folder for the runs. A run that was
stopped goes on; one that is complete is not made again. SET names these runs in docs/blood-cells, where their settings, numbers and
charts are kept; runs of another build are another set. LOG.jsonl is a log of the reference, one JSON object per epoch: of its
own script, with a name such as `seed 0`, or of `same_batches.py`, with one such as `on the batches of seed 2`; it is kept in
docs/blood-cells/reference. The page is made of what is in docs/blood-cells, so every run is in it, whatever came of it, with the
state it is in.
"""
import argparse
import csv
import json
import math
import shutil
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, KEPT = ROOT / "docs/blood-cells.md", ROOT / "docs/blood-cells"
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


def keep(run, target):
    """Settings, numbers and charts of a run, without where the data lie on this machine."""
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "metrics.csv", target)
    lines = (run / "config.toml").read_text().splitlines(keepends=True)
    (target / "config.toml").write_text("".join('root = "bccd"\n' if line.startswith("root = ") else line for line in lines))
    for plot in ["loss.svg", "metrics.svg", "precision_recall.svg"]:
        if (run / "plots" / plot).exists():
            shutil.copy(run / "plots" / plot, target)


def keep_reference(name, log):
    lines = [json.loads(line) for line in Path(log).read_text().splitlines()]
    (KEPT / "reference").mkdir(parents=True, exist_ok=True)
    slug = "".join(letter if letter.isalnum() else "-" for letter in name)
    kept = {"name": name, "epochs": [{**line, "epoch": line["epoch"] + 1} for line in lines]}
    (KEPT / f"reference/{slug}.json").write_text(json.dumps(kept, indent=1) + "\n")


def write_page():
    ours = {}
    for file in sorted(KEPT.glob("*/seed-*/metrics.csv")):
        run = file.parent
        ours.setdefault(run.parent.name, {})[run.name.replace("-", " ")] = epochs(run)
    theirs = [json.loads(file.read_text()) for file in sorted((KEPT / "reference").glob("*.json"))]
    # its own script's runs first
    theirs.sort(key=lambda run: not run["name"].startswith("seed"))
    theirs = {run["name"]: {line["epoch"]: line for line in run["epochs"]} for run in theirs}
    rows = {f"{name} set, {seed}": run for name, runs in ours.items() for seed, run in runs.items()}
    rows |= {f"the reference, {name}": run for name, run in theirs.items()}
    shown = range(10, EPOCHS + 1, 10)

    def cell(run, epoch, name):
        value = run.get(epoch, {}).get(name)
        return f"{float(value):.4f}" if value not in (None, "") else ""

    def complete(runs, name):
        return [float(run[EPOCHS][name]) for run in runs if EPOCHS in run]

    def mean(what, runs, name):
        done = complete(runs, name)
        return f"{what} {statistics.mean(done):.4f} ({len(done)} runs)" if done else None

    def difference(runs, others, name):
        a, b = complete(runs, name), complete(others, name)
        if min(len(a), len(b)) < 2:
            return []
        less = statistics.mean(a) - statistics.mean(b)
        error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
        return [f"Ours less the reference's: {less:+.4f}, {abs(less) / error:.1f} of its standard errors, taking every run for a draw."]

    page = ["# Blood cells, from random weights", "",
            "Written by `tools/blood_cells/train.py`: `tf_efficientdet_lite0` at 320 on the 292 pictures of BCCD's trainval, tested on",
            f"its 72 test pictures, by the recipe `reference` ({EPOCHS} epochs, batches of 8). AP and AP50 of the averaged weights;",
            "the settings and the numbers of every epoch are in `docs/blood-cells/`. A row that ends early was stopped there.", "",
            "Each set of our runs is of one build. The same seed does not give the same digits in another one, so that a set is a draw",
            "of its own; every set is in the tables, none is picked.", ""]
    if any(name.startswith("seed") for name in theirs):
        page += ["The reference's runs are those of one script (effdet 0.4.1, the same settings), which differ by the seed.", ""]
    if any("batches" in name for name in theirs):
        page += ["On the batches of a seed, the reference starts from the first weights of our run with that seed and is fed its",
                 "pictures, boxes and order (`tools/blood_cells/same_batches.py`), so that arithmetic is all that differs.", ""]
    for name in ["AP", "AP50"]:
        page += [f"| {name} after epoch | " + " | ".join(map(str, shown)) + " |", "|---" * (len(shown) + 1) + "|"]
        page += [f"| {run} | " + " | ".join(cell(values, e, name) for e in shown) + " |" for run, values in rows.items()]
        every = [run for runs in ours.values() for run in runs.values()]
        means = [mean(f"{label} set", runs.values(), name) for label, runs in ours.items()]
        means += [mean("all sets", every, name)] if len(ours) > 1 else []
        script = [run for label, run in theirs.items() if label.startswith("seed")]
        means += [mean("the reference", script, name)]
        page += ["", f"Mean {name} after epoch {EPOCHS}: " + ", ".join(filter(None, means)) + "."]
        page += [*difference(every, script, name), ""]
    _, begin, rest = PAGE.read_text().partition(CAUSES)
    PAGE.write_text("\n".join(page).rstrip() + "\n" + (f"\n{begin}{rest}" if begin else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effdet")
    parser.add_argument("bccd")
    parser.add_argument("runs", type=Path)
    parser.add_argument("set")
    parser.add_argument("--reference", nargs="*", default=[], metavar="NAME=LOG")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        run = args.runs / f"seed-{seed}"
        if EPOCHS not in epochs(run):
            with open(args.runs / f"seed-{seed}.log", "a") as log:
                command = [args.effdet, "train", "--data", args.bccd, *RECIPE, "--seed", str(seed), "--out", run, "--resume"]
                subprocess.run(command, stdout=log, stderr=log)
        if epochs(run):
            keep(run, KEPT / f"{args.set}/seed-{seed}")
    for given in args.reference:
        keep_reference(*given.split("=", 1))
    write_page()


if __name__ == "__main__":
    main()
