"""Compares `effdet weights convert` and loading with the Python reference.

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1, Pillow, Python 3.11.
Run from the repository root: python tools/check_weights.py EFFDET [--names NAME...]
    [--trained FILE MODEL CLASSES PICTURE]
EFFDET is the command. Nothing is downloaded: weights are random.

For each released name the reference writes a legacy .pth, the command reads it strictly and writes .safetensors, and the
reference reads that strictly; every tensor must come back bit for bit. With --trained, a state dictionary is converted,
and the detections of both on a picture are compared.
"""

import argparse
import json
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("effdet")
    parser.add_argument("--names", nargs="*")
    parser.add_argument("--trained", nargs=4)
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
            print(f"{name} saved, on {Path(picture).name}: {matched} of {len(expected)} detections matched by class and box, "
                  f"boxes within {box:.2g} pixels, scores within {score:.2g}")
    print("all equal" if not failed else f"{failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
