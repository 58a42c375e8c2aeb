"""Compares `effdet weights convert` and loading with the Python reference.

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1, Pillow, Python 3.11.
Run from the repository root: python tools/check_weights.py EFFDET [--names NAME...] [--picture FILE]
EFFDET is the command. Nothing is downloaded: weights are random.

For each released name the reference writes a legacy .pth, the command reads it strictly and writes .safetensors, and the
reference reads that strictly; every tensor must come back bit for bit. With --picture, detections of both on it are
compared for the last name.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from effdet import create_model_from_config, get_efficientdet_config
from effdet.config.model_config import efficientdet_model_param_dict
from timm.models import load_state_dict


def build(name):
    torch.manual_seed(29)
    return create_model_from_config(get_efficientdet_config(name), pretrained=False, pretrained_backbone=False).eval()


def detections(model, name, picture):
    from effdet import DetBenchPredict
    from effdet.data.transforms import transforms_coco_eval
    from PIL import Image

    config = get_efficientdet_config(name)
    transform = transforms_coco_eval(config.image_size, interpolation="bilinear")
    image, target = transform(Image.open(picture).convert("RGB"), {})
    mean = torch.tensor(config.get("mean", None) or (0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor(config.get("std", None) or (0.229, 0.224, 0.225)).view(3, 1, 1)
    x = ((torch.from_numpy(image).float() / 255 - mean) / std)[None]
    info = {"img_scale": torch.tensor([target["img_scale"]]), "img_size": torch.tensor([Image.open(picture).size])}
    with torch.no_grad():
        return DetBenchPredict(model)(x, info)[0].tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("effdet")
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--picture")
    arguments = parser.parse_args()
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
            before = model.state_dict()
            model.load_state_dict(again, strict=True)
            same = before.keys() == again.keys() and all(torch.equal(before[key], again[key]) for key in before)
            failed += not same
            print(f"{name}: {legacy.stat().st_size} bytes, {len(again)} tensors, {'equal' if same else 'DIFFERENT'}, {took:.2f} s")
            sys.stdout.flush()
        if arguments.picture:
            reference = build(names[-1])
            reference.load_state_dict(load_state_dict(str(saved)), strict=True)
            expected = detections(reference, names[-1], arguments.picture)
            out = Path(folder) / "found.json"
            command = [arguments.effdet, "predict", arguments.picture, "--weights", str(saved), "--score", "0", "--json", str(out)]
            subprocess.run(command, check=True, capture_output=True)
            found = json.loads(out.read_text())["images"][0]["detections"]
            rows = [(*row["bbox"], row["score"], row["class_id"]) for row in found]
            pairs = list(zip(expected, rows))
            box = max(abs(a - b) for e, r in pairs for a, b in zip(e[:4], r[:4]))
            score = max(abs(e[4] - r[4]) for e, r in pairs)
            classes = sum(int(e[5]) == r[5] for e, r in pairs)
            print(f"{names[-1]} saved, on {Path(arguments.picture).name}: {classes} of {len(expected)} detections in the same "
                  f"order and class, boxes within {box:.2g} pixels, scores within {score:.2g}")
    print("all equal" if not failed else f"{failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
