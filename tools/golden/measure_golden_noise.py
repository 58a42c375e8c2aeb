"""How far a folder of single-precision goldens is from what the reference computes in double precision.

Single precision rounds every operation, in an order that depends on the machine; a golden made with it is only as
good as that. Writes crates/effdet-testing/tests/fixtures/golden_noise.json: for each detector the largest difference at
the sampled places, in standard deviations of the tensor, and of the sums, relative.
Made with torch==2.9.0 timm==1.0.31 effdet==0.4.1 numpy==2.4.6 pillow==13.

    python tools/golden/measure_golden_noise.py SHARED/golden
"""
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from effdet import EfficientDet, get_efficientdet_config
from PIL import Image

import synthetic

FIXTURES = Path(__file__).parents[2] / "crates/effdet-testing/tests/fixtures"


def main(folder):
    shapes = json.loads(gzip.open(folder / "state-dict-shapes.json.gz").read())
    out = {}
    for path in sorted((folder / "detections").glob("*.json")):
        golden = json.loads(path.read_text())
        name = golden["model"]
        config = get_efficientdet_config(name)
        config.image_size = tuple(golden["image_size"])
        net = EfficientDet(config, pretrained_backbone=False)
        running = np.load(folder / "running-stats" / f"{name}.npz")
        state = {
            n: running[n].astype(np.float32).reshape(s) if n in running.files else synthetic.tensor(golden["seed"], n, tuple(s))
            for n, s in shapes[name].items()
        }
        net.load_state_dict({n: torch.from_numpy(v) for n, v in state.items()})
        net.eval().double()
        sampled = total = 0.0
        for picture, expected in golden["images"].items():
            pixels = np.asarray(Image.open(folder / "images" / picture).convert("RGB")).astype(np.float32) / np.float32(255)
            pixels = (pixels - np.array(golden["mean"], np.float32)) / np.array(golden["std"], np.float32)
            x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].copy()).double()
            with torch.no_grad():
                features = net.backbone(x)
                logits, deltas = net(x)
            pairs = [*zip(expected["features"], features), *zip(expected["class_logits"], logits), *zip(expected["box_deltas"], deltas)]
            for sample, exact in pairs:
                flat = exact.flatten()
                ends = flat[:8].tolist() + flat[-8:].tolist()
                sampled = max(sampled, max(abs(a - b) for a, b in zip(sample["first"] + sample["last"], ends)) / sample["std"])
                total = max(total, abs(flat.abs().sum().item() - sample["sum_abs"]) / sample["sum_abs"])
        out[name] = [float(f"{sampled:.3g}"), float(f"{total:.3g}")]
        print(name, out[name], flush=True)
    (FIXTURES / "golden_noise.json").write_text(json.dumps(out, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
