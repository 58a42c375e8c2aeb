"""A training step (forward pass, labels, loss, backward pass) of this project and of the PyTorch reference, in turn.

Needs torch==2.9.0 torchvision==0.24.0 timm==1.0.31 effdet==0.4.1 in the Python that runs it, and

    cargo build --release -p effdet-model --features flex --example training_step
    python benches/compare/train_step.py [--threads 2] [--steps 4] [--rounds 3] [--page]

Each round starts two processes per contestant. One makes a step to warm up and then some that count; the other makes the
first step only, so that the difference is the processor time of a step without that of starting. Prints the median and
the spread of wall seconds per step over all rounds, the processor seconds of both cores per step, and the largest
resident memory.
"""
import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).parents[2]
CASES = [("tf_efficientdet_lite0", 320, 8), ("tf_efficientdet_d0", 512, 4)]

REFERENCE = """
import sys, time
import torch
from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
name, size, batch, steps, layout, threads = sys.argv[1:]
size, batch, steps = int(size), int(batch), int(steps)
torch.set_num_threads(int(threads))
torch.manual_seed(0)
config = get_efficientdet_config(name)
config.image_size = (size, size)
bench = DetBenchTrain(EfficientDet(config, pretrained_backbone=False)).train()
x = torch.randn(batch, 3, size, size)
if layout == "channels-last":
    bench, x = bench.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
start = torch.arange(8.) * size / 10
boxes = torch.stack([start, start, start + (1 + torch.arange(8.)) * size / 20, start + (1 + torch.arange(8.)) * size / 20], 1)
target = dict(bbox=[boxes] * batch, cls=[torch.arange(8.) + 1] * batch)
for _ in range(steps):
    before = time.perf_counter()
    bench.zero_grad()
    loss = bench(x, target)["loss"]
    loss.backward()
    loss.item()
    print(f"{time.perf_counter() - before:.4f}")
"""


def run(command, environment):
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, error = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed:\n{error}")
    seconds = [float(line.split()[0]) for line in output.splitlines()]
    return seconds[1:], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--threads", default="2")
    parser.add_argument("--steps", type=int, default=4, help="that count, per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", default=str(ROOT / "target/release/examples/training_step"))
    parser.add_argument("--model", help="only this one")
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    a = parser.parse_args()
    environment = dict(os.environ, OMP_NUM_THREADS=a.threads, RAYON_NUM_THREADS=a.threads)
    before = machine()
    rows = []
    for name, size, batch in CASES:
        if a.model not in (None, name):
            continue
        reference = [sys.executable, "-W", "ignore", "-c", REFERENCE]
        sizes = [name, str(size), str(batch)]
        commands = {
            "this project": lambda steps: [a.binary, *sizes, steps],
            "PyTorch reference, eager": lambda steps: [*reference, *sizes, steps, "eager", a.threads],
            "PyTorch reference, channels-last": lambda steps: [*reference, *sizes, steps, "channels-last", a.threads],
        }
        seconds, processor = ({key: [] for key in commands} for _ in range(2))
        memory = dict.fromkeys(commands, 0)
        for _ in range(a.rounds):
            for key, command in commands.items():
                _, start, _ = run(command("1"), environment)
                steps, total, peak = run(command(str(a.steps + 1)), environment)
                seconds[key] += steps
                processor[key].append((total - start) / a.steps)
                memory[key] = max(memory[key], peak)
        ours = [statistics.median(values["this project"]) for values in (seconds, processor)]
        for key, values in seconds.items():
            medians = [statistics.median(values), statistics.median(processor[key])]
            rows.append(f"| {name}, {size}, batch {batch} | {key} | {medians[0]:.3f} | {min(values):.3f} to {max(values):.3f} "
                        f"| {medians[1]:.3f} | {memory[key]:.0f} | {ours[0] / medians[0]:.2f} | {ours[1] / medians[1]:.2f} |")
            print(rows[-1], flush=True)
    table = "\n".join(["| | | seconds, median | from, to | processor seconds | peak memory, MB | ours / theirs, wall | processor |",
                       "|---|---|---|---|---|---|---|---|", *rows])
    if a.page:
        write_section("A training step", f"""
`benches/compare/train_step.py`: forward pass, labels, loss and backward pass in single precision, {a.threads} threads,
{a.rounds} rounds of {a.steps} steps after one to warm up. {before}.

{table}
""")


if __name__ == "__main__":
    main()
