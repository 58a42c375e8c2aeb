"""Single steps of ours and of the reference from the very same state in the middle of a run. Writes the end of docs/blood-cells.md.

    cargo run --release -p effdet-train --example run_data -- RUN/config.toml 4 DATA
    python tools/blood_cells/same_steps.py EFFDET RUN BCCD DATA [--at 36 108]

EFFDET is the command, RUN the folder of a run of `train.py` from random weights, BCCD the data set, DATA what the example wrote. Its
first steps are made again, keeping the whole state (weights, statistics, moments of AdamW) after the steps of `--at` and shortly
after. From each state the reference goes on, on the same batches: in double precision with norms of contiguous maps, which is
taken for the truth, and in single precision with such norms and as its script trains, on channels-last maps. How far each is
from the truth after the same steps, relative to what the truth changed, says whose arithmetic is how exact; a factor other than
one would say that a step is too long or too short.

Pinned: torch 2.9.0, timm 1.0.31, effdet 0.4.1.
"""
import argparse
import json
import re
import signal
import struct
import subprocess
import tempfile
import time
import tomllib
from itertools import islice
from pathlib import Path

import torch
from effdet import DetBenchTrain
from safetensors import safe_open

from same_batches import batches_of, network_of, normalised, norms_of_contiguous_maps, rate_of, steps_per_epoch

PAGE = Path(__file__).parents[2] / "docs/blood-cells.md"
BEGIN, END = "<!-- written by tools/blood_cells/same_steps.py -->", "<!-- end -->"
AFTER = [1, 4]
# A bias before a norm, or before a convolution without padding and a norm, has no gradient but rounding.
IDLE = re.compile(r"(conv_pw|conv\.conv|bn3|blocks\.0\.0\.bn2)\.bias$")
PARTS = {
    "backbone": lambda name: name.startswith("backbone.") and not IDLE.search(name),
    "BiFPN": lambda name: name.startswith("fpn.") and not IDLE.search(name),
    "heads": lambda name: "_net." in name and ("predict" in name or not IDLE.search(name)),
}


def state_of(path):
    with safe_open(path, "pt") as file:
        step = json.loads(file.metadata()["effdet.run"])["state"]["step"]
        return step, {name: file.get_tensor(name) for name in file.keys()}


def step_of(data):
    size, = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8:8 + size])["__metadata__"]["effdet.run"])["state"]["step"]


def our_states(effdet, run, folder, wanted):
    """Makes the run's first steps again and copies its checkpoint after each of the wanted ones."""
    settings = (run / "config.toml").read_text()
    (folder / "config.toml").write_text(re.sub(r"^every_steps = \d+", "every_steps = 1", settings, flags=re.M))
    checkpoint, kept, seen = folder / "run/checkpoint.safetensors", {}, None
    command = [effdet, "train", "--config", folder / "config.toml", "--out", folder / "run"]
    with open(folder / "log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as training:
        while len(kept) < len(wanted):
            if training.poll() is not None:
                raise RuntimeError((folder / "log").read_text())
            time.sleep(0.02)
            try:
                written = checkpoint.stat().st_ino
                if written == seen:
                    continue
                data = checkpoint.read_bytes()
            except FileNotFoundError:
                continue
            seen, step = written, step_of(data)
            if step in wanted:
                kept[step] = folder / f"{step}.safetensors"
                kept[step].write_bytes(data)
            elif any(step > missing for missing in wanted - set(kept)):
                raise RuntimeError(f"a checkpoint was missed before step {step}")
        training.send_signal(signal.SIGINT)
    return kept


def reference_steps(settings, classes, state, batches, precision, rate):
    """The reference's parameters after each step of AFTER, from a state of ours."""
    step, tensors = state
    train, (side, _) = settings["train"], settings["image_size"]
    weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")}
    network = network_of(settings["model"], side, classes, weights).to(precision).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=train["weight_decay"])
    for name, parameter in network.named_parameters():
        moments = {
            moment: tensors[f"optimizer/{moment}/{name}"].reshape(parameter.shape).to(parameter) + torch.zeros_like(parameter)
            for moment in ("exp_avg", "exp_avg_sq")
        }
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    bench, found = DetBenchTrain(network, create_labeler=True), {}
    for number, (pixels, boxes, labels) in enumerate(batches, 1):
        optimizer.param_groups[0]["lr"] = train["lr"] * rate(step + number - 1)
        optimizer.zero_grad()
        bench(normalised(pixels).to(precision), {"bbox": boxes, "cls": labels})["loss"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), train["clip"]["limit"])
        optimizer.step()
        if number in AFTER:
            found[number] = {name: value.detach().flatten().to(torch.float64, copy=True) for name, value in network.named_parameters()}
    return found


def distance(part, first, truth, other):
    """`|change - true change| / |true change|` and the factor along the true change, over the parameters of a part."""
    names = [name for name in truth if PARTS[part](name)]
    change, true = (torch.cat([values[name] - first[name] for name in names]) for values in (other, truth))
    return f"{float((change - true).norm() / true.norm()):.4f}", f"{float(change @ true / (true @ true)):.4f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effdet")
    for name in ("run", "bccd", "data"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--at", nargs="+", type=int, default=[36, 108])
    args = parser.parse_args()
    settings = tomllib.loads((args.run / "config.toml").read_text())
    (side, _), batch_size = settings["image_size"], settings["data"]["batch_size"]
    rate = rate_of(settings["train"], steps_per_epoch(args.bccd, batch_size))
    with safe_open(args.data / "first.safetensors", "pt") as file:
        classes = json.loads(file.metadata()["effdet.class_names"])

    def going_on(state, precision):
        batches = islice(batches_of(args.data, classes, side, batch_size), state[0], state[0] + max(AFTER))
        return reference_steps(settings, classes, state, batches, precision, rate)

    with tempfile.TemporaryDirectory() as folder:
        kept = our_states(args.effdet, args.run, Path(folder), {at + after for at in args.at for after in [0, *AFTER]})
        states = {step: state_of(path) for step, path in kept.items()}
    parameters = {
        step: {name.removeprefix("weights/"): value.double() for name, value in tensors.items()}
        for step, (_, tensors) in states.items()
    }
    as_is = {at: going_on(states[at], torch.float32) for at in args.at}
    norms_of_contiguous_maps()
    contiguous = {at: going_on(states[at], torch.float32) for at in args.at}
    truth = {at: going_on(states[at], torch.float64) for at in args.at}

    rows = ["| from step | after | part | ours | | the reference, norms of contiguous maps | | the reference | |",
            "|---|---|---|---|---|---|---|---|---|", "| | | | distance | factor | distance | factor | distance | factor |"]
    for at in args.at:
        for after in AFTER:
            for part in PARTS:
                found = [parameters[at + after], contiguous[at][after], as_is[at][after]]
                cells = [cell for other in found for cell in distance(part, parameters[at], truth[at][after], other)]
                rows.append(f"| {at} | {after} | {part} | " + " | ".join(cells) + " |")
                print(rows[-1], flush=True)
    said = (
        "**Steps from one state.** From the whole state of a run of ours after some of its first steps (weights, statistics, moments), "
        "ours and the reference go on with the same batches. The distance of what the parameters changed from what they change in the "
        "reference's double precision, relative to that, and the factor along it. (Left out: biases whose gradient is rounding alone.)"
    )
    section = "\n".join([BEGIN, "", said, "", *rows, "", END])
    page = PAGE.read_text()
    written = re.sub(f"{BEGIN}.*?{END}", lambda _: section, page, flags=re.S) if BEGIN in page else f"{page.rstrip()}\n\n{section}\n"
    PAGE.write_text(written)


if __name__ == "__main__":
    main()
