"""Trains the reference from the first weights and on the batches of one of our runs.

    cargo run --release -p effdet-train --example run_data -- RUN/config.toml 20 DATA
    python tools/blood_cells/same_batches.py RUN DATA BCCD LOG.jsonl [--norms contiguous|as-is] [--threads 2] [--weights FILE]

RUN is the folder of a run of `train.py` beside this script, DATA what the example wrote, BCCD the data set. Everything that the
run and the reference's script have in common is the same then: weights, pictures, boxes, order. What is left is arithmetic.
LOG.jsonl gets an object per epoch, with AP and AP50 of the averaged weights after every tenth, as `train.py --reference` reads them.

On the CPU, PyTorch's batch norm in single precision is far less exact on channels-last maps, which the reference's script trains
on, than on contiguous ones. With `--norms contiguous` the batch norms alone see contiguous maps. FILE gets the averaged weights at
the end (.safetensors).

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1, pycocotools 2.0.11.
"""
import argparse
import contextlib
import io
import json
import math
import time
import tomllib
import xml.etree.ElementTree as ET
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from effdet import DetBenchPredict, DetBenchTrain, EfficientDet, get_efficientdet_config
from effdet.data.loader import DetectionFastCollate
from effdet.data.transforms import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, transforms_coco_eval
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors import safe_open
from safetensors.torch import save_file
from timm.utils import ModelEmaV2

LEAST_SCORE, ROOM = 0.001, 100


def normalised(pixels):
    mean, std = (255 * torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def objects_of(root, name, classes):
    """Labels as the reference's script reads them: `[xmin, ymin, xmax, ymax]` as in the file, and the class from 1."""
    for thing in ET.parse(root / f"Annotations/{name}.xml").getroot().findall("object"):
        x1, y1, x2, y2 = (float(thing.find(f"bndbox/{edge}").text) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if x2 > x1 and y2 > y1:
            yield [x1, y1, x2, y2], classes.index(thing.find("name").text) + 1


def batches_of(data, classes, side, size):
    """Pixels, boxes and classes of each batch that the example `run_data` wrote."""
    pixels = np.memmap(data / "pixels.bin", mode="r").reshape(-1, side, side, 3)
    targets = [json.loads(line) for line in open(data / "targets.jsonl")]
    assert len(targets) == len(pixels)
    for first in range(0, len(pixels), size):
        boxes, labels = torch.full((size, ROOM, 4), -1.0), torch.full((size, ROOM), -1.0)
        for picture, objects in enumerate(targets[first:first + size]):
            for place, (*box, name) in enumerate(objects):
                boxes[picture, place], labels[picture, place] = torch.tensor(box), classes.index(name) + 1
        yield torch.from_numpy(np.ascontiguousarray(pixels[first:first + size].transpose(0, 3, 1, 2))), boxes, labels


def norms_of_contiguous_maps():
    plain = torch.nn.functional.batch_norm

    def batch_norm(maps, *rest, **options):
        return plain(maps.contiguous(), *rest, **options).contiguous(memory_format=torch.channels_last)

    torch.nn.functional.batch_norm = batch_norm


def network_of(model, side, classes, weights):
    """The reference's network on channels-last maps, as its script trains it, with our weights by their names."""
    config = get_efficientdet_config(model)
    config.image_size, config.num_classes = (side, side), len(classes)
    network = EfficientDet(config, pretrained_backbone=False)
    shapes = network.state_dict()
    lost = network.load_state_dict({name: value.reshape(shapes[name].shape) for name, value in weights.items()}, strict=False)
    assert not lost.unexpected_keys and all(name.endswith("num_batches_tracked") for name in lost.missing_keys), lost
    return network.to(memory_format=torch.channels_last)


def rate_of(train, per_epoch):
    """What the learning rate is multiplied with before the step of a number, counted from zero."""
    steps, warmup = train["epochs"] * per_epoch, train["schedule"]["warmup"]["length"]

    def rate(step):
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) + train["schedule"]["curve"]["lift"]

    return rate


def steps_per_epoch(bccd, batch_size):
    return len((bccd / "ImageSets/Main/trainval.txt").read_text().split()) // batch_size


class Cells:
    """The test split: pictures as the reference's evaluation transform makes them, labels as its script reads them."""

    def __init__(self, root, classes, side):
        self.root, self.transform = root, transforms_coco_eval(side, interpolation="bilinear", use_prefetcher=True, fill_color="mean")
        self.names = (root / "ImageSets/Main/test.txt").read_text().split()
        images, annotations = [], []
        for index, name in enumerate(self.names):
            label = ET.parse(root / f"Annotations/{name}.xml").getroot()
            images.append({"id": index, "width": int(label.find("size/width").text), "height": int(label.find("size/height").text)})
            for (x1, y1, x2, y2), category in objects_of(root, name, classes):
                annotations.append({
                    "id": len(annotations) + 1, "image_id": index, "category_id": category,
                    "bbox": [x1 - 1, y1 - 1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
                })
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(classes)]
        self.truth = {"info": {}, "images": images, "annotations": annotations, "categories": categories}

    def batches(self, size):
        collate = DetectionFastCollate()
        for start in range(0, len(self.names), size):
            samples = []
            for index in range(start, min(start + size, len(self.names))):
                picture = Image.open(self.root / f"JPEGImages/{self.names[index]}.jpg").convert("RGB")
                samples.append(self.transform(picture, {"img_idx": index, "img_size": picture.size}))
            yield collate(samples)

    def evaluate(self, network):
        bench, found = DetBenchPredict(network).eval(), []
        with torch.inference_mode():
            for pixels, info in self.batches(8):
                detections = bench(normalised(pixels), {"img_scale": info["img_scale"], "img_size": info["img_size"]})
                for index, rows in zip(info["img_idx"].tolist(), detections.tolist()):
                    found += [{"image_id": index, "category_id": int(c), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": s}
                              for x1, y1, x2, y2, s, c in rows if s >= LEAST_SCORE]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = self.truth
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return {"AP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("bccd", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--norms", choices=["contiguous", "as-is"], default="as-is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = tomllib.loads((args.run / "config.toml").read_text())
    train, batch_size, (side, _) = settings["train"], settings["data"]["batch_size"], settings["image_size"]

    with safe_open(args.data / "first.safetensors", "pt") as file:
        classes = json.loads(file.metadata()["effdet.class_names"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    network = network_of(settings["model"], side, classes, weights)
    if args.norms == "contiguous":
        norms_of_contiguous_maps()

    cells = Cells(args.bccd, classes, side)
    per_epoch = steps_per_epoch(args.bccd, batch_size)
    optimizer = torch.optim.AdamW(network.parameters(), lr=train["lr"], weight_decay=train["weight_decay"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_of(train, per_epoch))
    bench, average = DetBenchTrain(network, create_labeler=True), ModelEmaV2(network, decay=train["ema"]["decay"])
    with open(args.log, "w") as log:
        batches = batches_of(args.data, classes, side, batch_size)
        for epoch, its_batches in enumerate(iter(lambda: list(islice(batches, per_epoch)), [])):
            network.train()
            start, losses = time.time(), []
            for pixels, boxes, labels in its_batches:
                loss = bench(normalised(pixels), {"bbox": boxes, "cls": labels})["loss"]
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), train["clip"]["limit"])
                optimizer.step()
                schedule.step()
                average.update(network)
                losses.append(loss.item())
            line = {"epoch": epoch, "loss": float(np.mean(losses)), "sec": time.time() - start}
            if epoch % 10 == 9:
                line |= cells.evaluate(average.module)
            print(json.dumps(line), file=log, flush=True)
    if args.weights:
        described = {"effdet.model": settings["model"], "effdet.class_names": json.dumps(classes)}
        save_file({name: value.contiguous() for name, value in average.module.state_dict().items()}, args.weights, metadata=described)


if __name__ == "__main__":
    main()
