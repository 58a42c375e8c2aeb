"""What the reference computes for all 47 detectors and 158 backbones from synthetic weights and pictures.

Makes crates/effdet-testing/tests/fixtures/{backbones,detectors}.json.gz. The numbers are the reference's in double
precision, printed with how far its own single precision is from them. Made with torch==2.9.0 torchvision==0.24.0 timm==1.0.31 effdet==0.4.1 numpy==2.4.6 on a CPU.

    python tools/golden/make_parity.py
"""
import copy
import gzip
import hashlib
import json
from pathlib import Path

import torch
import timm
from effdet import DetBenchPredict, EfficientDet, get_efficientdet_config
from effdet.config.model_config import efficientdet_model_param_dict

import synthetic

SEED = 29
FIXTURES = Path(__file__).parents[2] / "crates/effdet-testing/tests/fixtures"
# Larger ones take more memory and time than a test should; the shared data covers them.
MAX_PARAMETERS = 35_000_000
WITH_CLASSIFIER = 6_000_000


def rounded(value):
    return float(f"{value:.7g}")


def sample(exact, single):
    flat, other = exact.detach().flatten(), single.detach().double().flatten()
    std = flat.std(unbiased=False).item()
    total = flat.abs().sum().item()
    return {
        "shape": list(exact.shape),
        "std": rounded(std),
        "sum_abs": rounded(total),
        "first": [rounded(v) for v in flat[:6].tolist()],
        "last": [rounded(v) for v in flat[-6:].tolist()],
        "noise": float(f"{((flat - other).abs().max() / (std or 1)).item():.2g}"),
    }


def samples(exact, single):
    return [sample(e, s) for e, s in zip(exact, single)]


def digest(module):
    """One number for all names and shapes, so that their list need not be stored."""
    lines = [f"{n} {list(v.shape)}\n" for n, v in module.state_dict().items() if not n.endswith("num_batches_tracked")]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def write(name, value):
    FIXTURES.mkdir(parents=True, exist_ok=True)
    with open(FIXTURES / name, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=9, filename="") as file:
        file.write(json.dumps(value, separators=(",", ":")).encode())


@torch.no_grad()
def backbones():
    names = [n for m in ("efficientnet", "mobilenetv3", "hardcorenas") for n in timm.list_models(module=m)]
    names += ["resnet50", "cspresnet50", "cspresnext50", "cspdarknet53"]
    out = {}
    for name in names:
        net = timm.create_model(name, features_only=True)
        info = {
            "channels": net.feature_info.channels(),
            "reduction": net.feature_info.reduction(),
            "state_dict": digest(net),
            "features": [],
        }
        parameters = sum(p.numel() for p in net.parameters())
        if parameters <= MAX_PARAMETERS:
            x = synthetic.picture(SEED, "backbone", 64, 64)
            info["statistics"] = synthetic.fill(net, SEED, x)
            info["features"] = samples(copy.deepcopy(net).double()(x.double()), net(x))
            info["channels"] = [t["shape"][1] for t in info["features"]]
        full = timm.create_model(name)
        info["classifier_parameters"] = sum(p.numel() for p in full.parameters())
        info["classifier_state_dict"] = digest(full)
        if parameters <= WITH_CLASSIFIER:
            info["classifier_statistics"] = synthetic.fill(full, SEED, x)
            info["logits"] = sample(copy.deepcopy(full).double()(x.double()), full(x))
        out[name] = info
        print(name, parameters, [(round(f["std"], 3), f["noise"]) for f in info["features"]], flush=True)
    write("backbones.json.gz", {"seed": SEED, "image": "backbone", "image_size": [64, 64], "mean": [0, 0, 0], "std": [1, 1, 1], "backbones": out})


@torch.no_grad()
def detectors():
    out = []
    for name in efficientdet_model_param_dict:
        config = get_efficientdet_config(name)
        # Below these the reference's own anchors and maps disagree in size.
        size = (160, 288) if config.max_level == 8 else (96, 160)
        config.image_size = size
        net = EfficientDet(config, pretrained_backbone=False)
        x = synthetic.picture(SEED, "detector", *size)
        statistics = synthetic.fill(net, SEED, x)
        exact = copy.deepcopy(net).double()
        features = samples(exact.backbone(x.double()), net.backbone(x))
        logits, deltas = (samples(e, s) for e, s in zip(exact(x.double()), net(x)))
        info = {"img_scale": torch.ones(1), "img_size": torch.tensor([[size[1], size[0]]], dtype=torch.float32)}
        detections = DetBenchPredict(net)(x, info)[0].double().tolist()
        mean, std = (list(config.get("mean", (0.485, 0.456, 0.406))), list(config.get("std", (0.229, 0.224, 0.225))))
        out.append({
            "model": name,
            "seed": SEED,
            "image_size": list(size),
            "mean": mean,
            "std": std,
            "state_dict": digest(net),
            "statistics": statistics,
            "images": {
                "detector": {
                    "features": features,
                    "class_logits": logits,
                    "box_deltas": deltas,
                    "detections": [[rounded(v) for v in row] for row in detections],
                }
            },
        })
        print(name, [(round(t["std"], 3), t["noise"]) for t in logits], detections[0][4], detections[-1][4], flush=True)
    write("detectors.json.gz", out)


if __name__ == "__main__":
    detectors()
    backbones()
