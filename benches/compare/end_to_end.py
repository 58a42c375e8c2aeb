"""One picture from file to detections, as whole processes: this project's `effdet predict` and the Python reference.

Needs torch==2.9.0 torchvision==0.24.0 timm==1.0.31 effdet==0.4.1 in the Python that runs it, and `cargo build --release`.

    python benches/compare/end_to_end.py CHECKPOINT PICTURE [--model tf_efficientdet_lite0] [--size 320] [--runs 5]

Prints, for each, the median and the spread of wall seconds and the largest resident memory of several runs in turn.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).parents[2]

REFERENCE = """
import json, sys
import torch
from PIL import Image
from effdet import DetBenchPredict, EfficientDet, get_efficientdet_config
from effdet.data.transforms import ResizePad, ImageToNumpy
checkpoint, picture, model, size, mean, std, out = sys.argv[1:]
size, mean, std = int(size), json.loads(mean), json.loads(std)
state = torch.load(checkpoint, map_location="cpu", weights_only=False)
state = state.get("state_dict_ema", state.get("state_dict", state))
config = get_efficientdet_config(model)
config.image_size = (size, size)
weight = state.get("class_net.predict.conv_pw.weight", state.get("class_net.predict.conv.weight"))
config.num_classes = weight.shape[0] // 9
net = EfficientDet(config, pretrained_backbone=False)
net.load_state_dict(state)
bench = DetBenchPredict(net.eval())
image = Image.open(picture).convert("RGB")
original = image.size
fill = tuple(round(255 * m) for m in mean)
image, annotations = ResizePad(size, fill_color=fill)(image, dict(img_scale=1.0))
x = torch.from_numpy(ImageToNumpy()(image, annotations)[0]).float()[None]
mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (mean, std))
with torch.no_grad():
    info = dict(img_scale=torch.tensor([annotations["img_scale"]]).float(), img_size=torch.tensor([original]).float())
    detections = bench((x - mean) / std, info)[0]
json.dump([row for row in detections.tolist() if row[4] >= 0.3], open(out, "w"))
"""


def run(command, environment):
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{command[0]} failed:\n{error.decode()}")
    return seconds, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("picture")
    parser.add_argument("--model", default="tf_efficientdet_lite0")
    parser.add_argument("--size", default="320")
    parser.add_argument("--mean", default="0.485,0.456,0.406")
    parser.add_argument("--std", default="0.229,0.224,0.225")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--binary", default=str(ROOT / "target/release/effdet"))
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    arguments = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours.json"), Path(folder, "theirs.json")
        a = arguments
        commands = {
            "effdet predict": [a.binary, "predict", a.picture, "--weights", a.checkpoint, "--model", a.model, "--image-size", a.size,
                               "--mean", a.mean, "--std", a.std, "--threads", a.threads, "--json", str(ours)],
            "Python reference": [sys.executable, "-W", "ignore", "-c", REFERENCE, a.checkpoint, a.picture, a.model, a.size,
                                 f"[{a.mean}]", f"[{a.std}]", str(theirs)],
        }
        environment = dict(os.environ, OMP_NUM_THREADS=a.threads)
        figures = {name: [] for name in commands}
        for i in range(a.runs + 1):
            for name, command in commands.items():
                figure = run(command, environment)
                if i:  # the first run of each fills the disk's cache
                    figures[name].append(figure)
        medians, rows = {}, []
        for name, values in figures.items():
            seconds, memory = zip(*values)
            medians[name] = statistics.median(seconds)
            rows.append(f"| {name} | {medians[name]:.3f} | {min(seconds):.3f} to {max(seconds):.3f} | {statistics.median(memory):.0f} |")
        counts = [len(json.loads(ours.read_text())["images"][0]["detections"]), len(json.loads(theirs.read_text()))]
        ratio = medians["effdet predict"] / medians["Python reference"]
        table = "\n".join(["| | seconds, median | from, to | peak memory, MB |", "|---|---|---|---|", *rows])
        print(table, f"\nratio of the medians: {ratio:.3f}; detections with score >= 0.3: {counts}")
        if a.page:
            write_section("From a file to detections, as whole processes", f"""
`benches/compare/end_to_end.py`: {a.model} at {a.size} on one picture, {a.threads} threads, {a.runs} runs each. {before}.

{table}

Ratio of the medians {ratio:.3f}. Detections with a score of at least 0.3: {counts[0]} and {counts[1]}.
""")


if __name__ == "__main__":
    main()
