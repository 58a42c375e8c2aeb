"""Compares `effdet weights convert` and loading with the Python reference.

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1, Pillow, Python 3.11.
Run from the repository root: python tools/check_weights.py EFFDET [--names NAME...]
    [--trained FILE MODEL CLASSES PICTURE] [--load LOAD_CHECKPOINT] [--page]
EFFDET is the command. Nothing is downloaded: weights are random.

For each released name the reference writes a legacy .pth, the command reads it strictly and writes .safetensors, and the
reference reads that strictly; every tensor must come back bit for bit. With --trained, a state dictionary is converted,
and the detections of both on a picture are compared. With --load, the program of examples/load_checkpoint.rs and PyTorch
load tf_efficientdet_d0 in turn, as processes of their own. --page writes docs/weights.md.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from effdet import DetBenchPredict, create_model_from_config, get_efficientdet_config
from effdet.config.model_config import efficientdet_model_param_dict
from effdet.data.transforms import transforms_coco_eval
from timm.models import load_state_dict


def build(name, classes=90):
    torch.manual_seed(29)
    config = get_efficientdet_config(name)
    config.num_classes = classes
    return create_model_from_config(config, pretrained=False, pretrained_backbone=False).eval()


def detections(model, picture):
    config = model.config
    mean = config.get("mean", None) or (0.485, 0.456, 0.406)
    std = config.get("std", None) or (0.229, 0.224, 0.225)
    transform = transforms_coco_eval(config.image_size, use_prefetcher=True, mean=mean, std=std)
    image, target = transform(Image.open(picture).convert("RGB"), {})
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    x = ((torch.from_numpy(image).float() / 255 - mean) / std)[None]
    info = {"img_scale": torch.tensor([target["img_scale"]]), "img_size": torch.tensor([Image.open(picture).size])}
    with torch.no_grad():
        return DetBenchPredict(model)(x, info)[0].tolist()


LOAD = """
import resource, sys, time
import torch
from effdet import create_model_from_config, get_efficientdet_config
torch.set_num_threads(1)
model = create_model_from_config(get_efficientdet_config(sys.argv[1]), pretrained=False, pretrained_backbone=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
model.load_state_dict(torch.load(sys.argv[2], map_location="cpu"))
seconds = time.perf_counter() - start
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def compare_loading(program, name, folder, runs=5):
    """Seconds and further memory, in sizes of the file, of loading a legacy .pth; medians of ours and of PyTorch's."""
    file = Path(folder) / "load.pth"
    torch.save(build(name).state_dict(), file, _use_new_zipfile_serialization=False)
    size = file.stat().st_size
    ours, theirs = [], []
    for _ in range(runs):
        told = subprocess.run([program, name, str(file)], check=True, capture_output=True, text=True).stdout
        number, unit = re.search(r"loaded in ([\d.]+)(ms|s)", told).groups()
        more = float(re.search(r"([\d.]+) times the file", told).group(1))
        ours.append((float(number) * {"ms": 1e-3, "s": 1}[unit], more))
        told = subprocess.run([sys.executable, "-c", LOAD, name, str(file)], check=True, capture_output=True, text=True)
        seconds, more = map(float, told.stdout.split())
        theirs.append((seconds, more / size))
    return [[statistics.median(column) for column in zip(*rows)] for rows in (ours, theirs)], size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("effdet")
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--trained", nargs=4)
    parser.add_argument("--load")
    parser.add_argument("--page", action="store_true")
    arguments = parser.parse_args()
    page = ["# Weights in and out", "", " ".join(__doc__.split("EFFDET is the command. ")[1].split("With --trained")[0].split()), "",
            "Written by `tools/check_weights.py --page`; the reference is effdet 0.4.1 on PyTorch 2.9.0.", ""]
    table = ["| model | bytes | tensors | back in the reference |", "|---|---|---|---|"]
    torch.set_num_threads(1)
    names = arguments.names or [n for n in efficientdet_model_param_dict if get_efficientdet_config(n).url]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        legacy, saved = Path(folder) / "legacy.pth", Path(folder) / "saved.safetensors"
        for name in names:
            model = build(name)
            torch.save(model.state_dict(), legacy, _use_new_zipfile_serialization=False)
            started = time.perf_counter()
            command = [arguments.effdet, "weights", "convert", str(legacy), str(saved), "--model", name]
            run = subprocess.run(command, capture_output=True, text=True)
            took = time.perf_counter() - started
            if run.returncode:
                failed += 1
                print(name, "refused:", run.stderr.strip())
                continue
            again = load_state_dict(str(saved))
            # Loading writes into the tensors themselves.
            before = {key: value.clone() for key, value in model.state_dict().items()}
            model.load_state_dict(again, strict=True)
            same = before.keys() == again.keys() and all(torch.equal(before[key], again[key]) for key in before)
            failed += not same
            table.append(f"| {name} | {legacy.stat().st_size} | {len(again)} | {'equal' if same else 'DIFFERENT'} |")
            print(f"{name}: {legacy.stat().st_size} bytes, {len(again)} tensors, {'equal' if same else 'DIFFERENT'}, {took:.2f} s")
            sys.stdout.flush()
        if arguments.trained:
            file, name, classes, picture = arguments.trained
            command = [arguments.effdet, "weights", "convert", file, str(saved), "--model", name]
            subprocess.run(command, check=True, capture_output=True)
            model = build(name, int(classes))
            model.load_state_dict(load_state_dict(str(saved)), strict=True)
            # One decoder for both.
            plain = str(Path(folder) / "picture.png")
            Image.open(picture).convert("RGB").save(plain)
            expected = detections(model, plain)
            out = Path(folder) / "found.json"
            command = [arguments.effdet, "predict", plain, "--weights", str(saved), "--score", "0", "--json", str(out)]
            subprocess.run(command, check=True, capture_output=True)
            found = json.loads(out.read_text())["images"][0]["detections"]
            rows = [(*row["bbox"], row["score"], row["class_id"]) for row in found]
            matched, box, score = 0, 0.0, 0.0
            for e in expected:
                near = [r for r in rows if r[5] == int(e[5]) and max(abs(a - b) for a, b in zip(e[:4], r[:4])) < 0.5]
                if near:
                    r = min(near, key=lambda r: abs(r[4] - e[4]))
                    rows.remove(r)
                    matched += 1
                    box = max(box, max(abs(a - b) for a, b in zip(e[:4], r[:4])))
                    score = max(score, abs(e[4] - r[4]))
            line = (f"{name} saved, on {Path(picture).name}: {matched} of {len(expected)} detections matched by class and "
                    f"box, boxes within {box:.2g} pixels, scores within {score:.2g}")
            print(line)
            failed += matched != len(expected)
            page += ["## A saved checkpoint in the reference", "", f"{line}.", ""]
        if arguments.load:
            (ours, theirs), size = compare_loading(arguments.load, "tf_efficientdet_d0", folder)
            print(f"loading: ours {ours}, PyTorch {theirs}")
            page += ["## Loading", "", f"`tf_efficientdet_d0` from a legacy `.pth` of {size} bytes into the network; medians "
                     "of 5 processes each, in turn. Memory is what the peak grows by; 0 where starting had a higher one.", "",
                     "| | milliseconds | memory, sizes of the file |", "|---|---|---|",
                     f"| effdet | {1e3 * ours[0]:.1f} | {ours[1]:.2f} |",
                     f"| PyTorch | {1e3 * theirs[0]:.1f} | {theirs[1]:.2f} |", ""]
    page += ["## Every released name, there and back", "", *table]
    if arguments.page:
        (Path(__file__).parents[1] / "docs/weights.md").write_text("\n".join(page) + "\n")
    print("all equal" if not failed else f"{failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
