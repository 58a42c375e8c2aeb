"""Where runs here and the reference's could differ: first weights, batches, steps. Writes the end of docs/blood-cells.md.

    cargo run --release -p effdet-train --example run_data -- RUN/config.toml EPOCHS DATA      # for each DATA
    python tools/blood_cells/same_batches.py RUN DATA BCCD LOG.jsonl                           # for each RUN
    python tools/blood_cells/causes.py BCCD WEIGHTS --data DATA ... --scratch RUN LOG.jsonl --steps RUN LOG.jsonl

BCCD is the data set, WEIGHTS a detector trained on it by the reference (a PyTorch file of weights). Each DATA belongs to a run from
random weights with a seed of its own: the first weights of all are compared, and the batches of the first. The RUN of `--scratch`
started from random weights, that of `--steps` from trained ones; LOG.jsonl is the reference on the weights and batches of each.

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1.
"""
import argparse
import csv
import json
import random
from pathlib import Path

import numpy as np
import torch
from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
from effdet.data.loader import DetectionFastCollate
from effdet.data.transforms import transforms_coco_train
from PIL import Image
from safetensors.torch import load_file

from same_batches import batches_of, normalised, objects_of
from same_steps import BEGIN as STATES
from train import CAUSES

PAGE = Path(__file__).parents[2] / "docs/blood-cells.md"
CLASSES, SIDE, BATCH, SEEDS = ["RBC", "WBC", "Platelets"], 320, 8, 4
SCRATCH = "**From random weights.** Both from the first weights of a run and on its batches; mean training losses of its first epochs:"
STEPS = (
    "**From trained weights.** From the reference's trained detector, its classes in another order and so learnt anew, by the recipe over "
    "fewer epochs, both on the same batches; mean training losses:"
)


def network():
    config = get_efficientdet_config("tf_efficientdet_lite0")
    config.image_size, config.num_classes = (SIDE, SIDE), len(CLASSES)
    return EfficientDet(config, pretrained_backbone=False)


def first_weights(files):
    """How far each random tensor's root mean square is from the reference's, in standard errors."""
    theirs = []
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        theirs.append(network().state_dict())
    ours, off, fixed = [load_file(file) for file in files], [], 0
    for name, first in ours[0].items():
        reference = torch.stack([weights[name].float() for weights in theirs])
        values = torch.stack([weights[name].float() for weights in ours])
        if (reference == reference[0]).all():
            assert (values == reference[0]).all(), name
            fixed += 1
            continue
        spread = reference.square().mean().sqrt()
        kurtosis = (reference / spread).pow(4).mean()
        error = spread * ((kurtosis - 1) / (4 * first.numel())).sqrt()
        off.append((values.flatten(1).square().mean(1).sqrt() - spread) / error)
    off = torch.stack(off)
    # the reference's own root mean square is known from its seeds alone
    expected = 1 + 1 / SEEDS
    return (
        f"**First weights.** {fixed} tensors are constants, the same in both. Of the {len(off)} random ones, {len(files)} seeds here and "
        f"{SEEDS} of the reference: root mean squares differ by {off.mean():+.2f} standard errors in the mean, and the mean square "
        f"of these differences is {off.square().mean():.2f}, where the same distribution gives {expected:.2f}."
    )


class Pictures(torch.utils.data.Dataset):
    """Trainval as the reference's script reads it, through the reference's training transform."""

    def __init__(self, root):
        self.root, self.names = root, (root / "ImageSets/Main/trainval.txt").read_text().split()
        self.transform = transforms_coco_train(SIDE, interpolation="random", use_prefetcher=True, fill_color="mean")

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        name = self.names[index]
        boxes, classes = [], []
        for (x1, y1, x2, y2), category in objects_of(self.root, name, CLASSES):
            boxes.append([y1 - 1, x1 - 1, y2 - 1, x2 - 1])
            classes.append(category)
        picture = Image.open(self.root / f"JPEGImages/{name}.jpg").convert("RGB")
        target = {"img_idx": index, "img_size": picture.size, "bbox": np.array(boxes, "f4").reshape(-1, 4), "cls": np.array(classes, "i8")}
        return self.transform(picture, target)


def reference_batches(root, epochs):
    for generator in (torch.manual_seed, np.random.seed, random.seed):
        generator(0)
    loader = torch.utils.data.DataLoader(Pictures(root), BATCH, shuffle=True, drop_last=True, collate_fn=DetectionFastCollate())
    for _ in range(epochs):
        for pixels, target in loader:
            yield pixels, target["bbox"], target["cls"]


def losses(detector, batches):
    labeler, loss = detector.anchor_labeler, detector.loss_fn
    found = []
    with torch.inference_mode():
        for pixels, boxes, classes in batches:
            maps = detector.model(normalised(pixels))
            found.append([part.item() for part in loss(*maps, *labeler.batch_label_anchors(boxes, classes))])
    return np.array(found)


def batches(root, weights, data):
    model = network()
    model.load_state_dict(torch.load(weights, map_location="cpu"))
    detector = DetBenchTrain(model, create_labeler=True).eval()
    ours = losses(detector, batches_of(data, CLASSES, SIDE, BATCH))
    theirs = losses(detector, reference_batches(root, len(ours) * BATCH // (len(Pictures(root)) // BATCH * BATCH)))

    def said(found):
        mean, error = found.mean(0), found.std(0, ddof=1) / len(found) ** 0.5
        return f"{mean[0]:.4f} ± {error[0]:.4f} (classes {mean[1]:.4f}, boxes {mean[2]:.5f})"

    return (
        f"**Batches.** The mean loss of the reference's trained detector, averaged weights, on {len(ours)} batches made here is "
        f"{said(ours)}, on {len(theirs)} made by the reference's transform {said(theirs)}; one standard error."
    )


def steps(run, log):
    """Mean training losses of the epochs in both, and the average precision at the end of them."""
    ours = {int(row["epoch"]): row for row in csv.DictReader(open(run / "metrics.csv"))}
    theirs = {line["epoch"] + 1: line for line in map(json.loads, open(log))}
    numbers, last = list(theirs), max(theirs)
    here = [f"{float(ours[epoch]['train_loss']):.4f}" for epoch in numbers]
    there = [f"{theirs[epoch]['loss']:.4f}" for epoch in numbers]
    ends = [(float(ours[last][name]), theirs[last][name]) for name in ("AP", "AP50")]
    return "\n".join([
        f"| epoch | {' | '.join(map(str, numbers))} |", "|---" * (len(numbers) + 1) + "|",
        f"| here | {' | '.join(here)} |", f"| the reference | {' | '.join(there)} |", "",
        "After the last of them AP {:.4f} here and {:.4f} there, AP50 {:.4f} and {:.4f}.".format(*ends[0], *ends[1]),
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bccd", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", nargs="+", type=Path, required=True)
    for name in ("--scratch", "--steps"):
        parser.add_argument(name, nargs=2, type=Path, required=True, metavar=("RUN", "LOG"))
    args = parser.parse_args()
    parts = [
        "## Where they could differ", first_weights([data / "first.safetensors" for data in args.data]),
        batches(args.bccd, args.weights, args.data[0]), SCRATCH, steps(*args.scratch), STEPS, steps(*args.steps),
    ]
    page, _, old = PAGE.read_text().partition(CAUSES)
    # what `same_steps.py` wrote stays
    _, begin, rest = old.partition(STATES)
    PAGE.write_text("\n\n".join([page.rstrip(), CAUSES, *parts, *([begin + rest.rstrip()] if begin else [])]) + "\n")


if __name__ == "__main__":
    main()
