"""How far the reference itself is from its goldens on a card: with TF32, which it takes by default, and in half precision.

For every detector of crates/effdet-testing/tests/fixtures/detectors.json.gz the largest difference at the sampled places, in
standard deviations of the tensor, the largest of the sums, relative, and how many detections are found again by the rules of
`xtask parity --device`. Prints a line of JSON for each network and float type; of all these lines --collect makes
crates/effdet-testing/tests/fixtures/device_noise.json. That one is of an H100 with torch 2.11, timm and effdet==0.4.1.

    python tools/golden/measure_device_noise.py [--device cuda:0] [--floats f32 bf16 f16] [--part 0/4] > LINES
    python tools/golden/measure_device_noise.py --collect LINES...
"""
import argparse
import gzip
import importlib.util
import json
import sys
import types
from pathlib import Path

if importlib.util.find_spec("pycocotools") is None:  # the reference imports its evaluator, which nothing here calls
    for module, value in (("", None), (".coco", "COCO"), (".cocoeval", "COCOeval")):
        stub = sys.modules["pycocotools" + module] = types.ModuleType("pycocotools" + module)
        if value:
            setattr(stub, value, None)

import torch
from effdet import DetBenchPredict, EfficientDet, get_efficientdet_config

import synthetic

FIXTURES = Path(__file__).parents[2] / "crates/effdet-testing/tests/fixtures/detectors.json.gz"
# score, IoU, pixels of an edge: as in xtask
SAME = {"f32": (1e-2, 0.95, 2), "f16": (2e-2, 0.9, 4), "bf16": (1e-1, 0.7, 16)}
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def same(a, b, score, overlap, edge):
    if a[5] != b[5] or abs(a[4] - b[4]) > score:
        return False
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    union = sum((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)) - common
    return common >= overlap * union or max(abs(a[i] - b[i]) for i in range(4)) <= edge


def matched(expected, found, tolerance):
    left, count = list(found), 0
    for one in expected:
        at = next((i for i, other in enumerate(left) if same(one, other, *tolerance)), None)
        if at is not None:
            left.pop(at)
            count += 1
    return count


def collect(files):
    """Writes the fixture, a line for each network: difference, difference of a sum, detections found, all."""
    networks = {}
    for line in (json.loads(line) for file in files for line in file.read_text().splitlines()):
        two = lambda value: float(f"{value:.2g}")
        row = [two(line["sampled"]), two(line["sum"]), line["matched"], line["all"]]
        networks.setdefault(line["model"], {})[line["float"]] = row
    lines = (f"{json.dumps(name)}: {json.dumps(networks[name], sort_keys=True)}" for name in sorted(networks))
    (FIXTURES.parent / "device_noise.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--floats", nargs="+", default=["f32", "bf16", "f16"], choices=TYPES)
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--fixtures", default=FIXTURES, type=Path)
    parser.add_argument("--collect", nargs="+", type=Path, metavar="LINES")
    a = parser.parse_args()
    if a.collect:
        return collect(a.collect)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    part, parts = map(int, a.part.split("/"))
    golden = json.loads(gzip.open(a.fixtures).read())
    for one in (golden["detectors"] if isinstance(golden, dict) else golden)[part::parts]:
        name, seed, size = one["model"], one["seed"], one["image_size"]
        config = get_efficientdet_config(name)
        config.image_size = tuple(size)
        net = EfficientDet(config, pretrained_backbone=False)
        state = {n: torch.from_numpy(synthetic.tensor(seed, n, tuple(v.shape))) for n, v in net.state_dict().items()}
        for norm, (mean, variance) in one["statistics"].items():
            shape = tuple(state[f"{norm}.running_mean"].shape)
            m, v = synthetic.statistics(seed, norm, shape, mean, variance)
            state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = torch.from_numpy(m), torch.from_numpy(v)
        net.load_state_dict(state)
        net.eval()
        for float_type in a.floats:
            on = net.to(a.device, TYPES[float_type])
            bench = DetBenchPredict(on).to(a.device)
            line = {"model": name, "float": float_type, "sampled": 0.0, "sum": 0.0, "matched": 0, "all": 0}
            for picture, expected in one["images"].items():
                x = synthetic.picture(seed, picture, *size).to(a.device, TYPES[float_type])
                features = on.backbone(x)
                logits, deltas = on(x)
                pairs = [*zip(expected["features"], features), *zip(expected["class_logits"], logits),
                         *zip(expected["box_deltas"], deltas)]
                for sample, tensor in pairs:
                    flat = tensor.double().flatten()
                    near = lambda values, ours: max(abs(p - q) for p, q in zip(values, ours)) / (sample["std"] or 1)
                    count = len(sample["first"])
                    line["sampled"] = max(line["sampled"], near(sample["first"], flat[:count].tolist()),
                                          near(sample["last"], flat[-count:].tolist()))
                    off = abs(flat.abs().sum().item() - sample["sum_abs"]) / sample["sum_abs"]
                    line["sum"] = max(line["sum"], off)
                info = {"img_scale": torch.ones(1, device=a.device),
                        "img_size": torch.tensor([[size[1], size[0]]], dtype=torch.float32, device=a.device)}
                found = bench(x, info)[0].double().tolist()
                line["matched"] += matched(expected["detections"], found, SAME[float_type])
                line["all"] += len(expected["detections"])
            print(json.dumps(line), flush=True)
            net.float().load_state_dict(state)


if __name__ == "__main__":
    main()
