"""This project beside the PyTorch reference on one device, in one run: eager, torch.compile and half precision.

Needs torch, timm and effdet==0.4.1 in the Python that runs it, and of this project the command and a bench program, both
built for the device:

    cargo build --release -p effdet-cli --features cuda
    cargo bench -p effdet-bifpn --features cuda --no-run     # prints the path of the program
    python benches/compare/gpu.py --device cuda:0 --bench target/release/deps/bifpn-... [--quick] [--out FILE]

Timed are the BiFPN alone at the widths of D0, D4 and D7, the forward pass of D0 at batch 1, 8 and 32 and of D4 at batch 8,
and a training step of D0 (forward pass, targets, loss, backward pass) at batch 16 and 32. Each contestant and float type is
a process of its own; a figure is the median of the runs after those that warm up. With --device cpu or tch it runs anywhere,
with small batches when --quick is given, which is how the script itself is tried.

Exits with an error that names what is missing if a case that was begun has no figure of ours, or if the reference cannot be
imported. Where the reference fails at a case, as for lack of memory, its cell is empty and the reason is on standard error.
Cases that --seconds left no time for are named there and below the table.
"""
import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = [("bifpn", "tf_efficientdet_d0", 1), ("bifpn", "tf_efficientdet_d0", 8), ("bifpn", "tf_efficientdet_d4", 8),
         ("bifpn", "tf_efficientdet_d7", 1), ("forward", "tf_efficientdet_d0", 1), ("forward", "tf_efficientdet_d0", 8),
         ("forward", "tf_efficientdet_d0", 32), ("forward", "tf_efficientdet_d4", 8),
         ("train", "tf_efficientdet_d0", 16), ("train", "tf_efficientdet_d0", 32)]
QUICK = [("bifpn", "tf_efficientdet_d0", 1), ("forward", "tf_efficientdet_lite0", 1), ("train", "tf_efficientdet_lite0", 1)]
FLOATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
NO_REFERENCE = 3  # exit status of a worker that cannot import the reference


def without_evaluator():
    """The reference imports its evaluator, which needs a compiled package that nothing here calls."""
    if importlib.util.find_spec("pycocotools") is None:
        for name, value in (("", None), (".coco", "COCO"), (".cocoeval", "COCOeval")):
            module = sys.modules["pycocotools" + name] = types.ModuleType("pycocotools" + name)
            if value:
                setattr(module, value, None)


def reference(task, model, batch, device, float_type, compiled, runs):
    """Milliseconds of every run of the reference."""
    without_evaluator()
    try:
        import torch
        from effdet import DetBenchTrain, EfficientDet, get_efficientdet_config
    except Exception as error:
        print(repr(error), file=sys.stderr)
        sys.exit(NO_REFERENCE)

    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")  # TF32, as ours takes
    torch.backends.cudnn.benchmark = True
    dtype = getattr(torch, FLOATS[float_type])
    config = get_efficientdet_config(model)
    net = EfficientDet(config, pretrained_backbone=False)
    height, width = config.image_size
    x = torch.randn(batch, 3, height, width, device=device)
    if task == "train":
        step = DetBenchTrain(net).to(device).train()
        start = torch.arange(8.0, device=device) * height / 10
        end = start + (1 + torch.arange(8.0, device=device)) * height / 20
        target = {"bbox": [torch.stack([start, start, end, end], 1)] * batch,
                  "cls": [torch.arange(8.0, device=device) + 1] * batch}
        forward = torch.compile(step) if compiled else step
        half = torch.autocast(device.split(":")[0], dtype=dtype, enabled=float_type != "f32")

        def run():
            step.zero_grad()
            with half:
                loss = forward(x, target)["loss"]
            loss.backward()
    else:
        net = net.to(device, dtype).eval()
        x = x.to(dtype)
        if task == "bifpn":
            with torch.inference_mode():
                x = net.backbone(x)
            net = net.fpn
        net = torch.compile(net) if compiled else net

        def run():
            with torch.inference_mode():
                net(list(x) if task == "bifpn" else x)  # the feature network adds to the list it is given

    def finished():
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    times = []
    for i in range(runs + 5):
        start = time.perf_counter()
        run()
        finished()
        if i >= 5:
            times.append((time.perf_counter() - start) * 1e3)
    return times


def ours(task, model, batch, a, float_type, folder):
    """Median milliseconds of this project."""
    environment = dict(os.environ, EFFDET_DEVICE=a.device, EFFDET_FLOAT=float_type)
    if task == "bifpn":
        environment.update(EFFDET_MODELS=model, EFFDET_BATCH=str(batch), CARGO_TARGET_DIR=folder)
        name = a.device if float_type == "f32" else f"{a.device}-{float_type}"
        form = "inference_form" if a.device.startswith(("cuda", "wgpu")) else "forward"
        command = [a.bench, "--bench", "--measurement-time", "2", "--warm-up-time", "1", f"effdet-bifpn/{form}/{model}-b{batch}/"]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        on_disk = name.replace(":", "_")
        path = Path(folder) / f"criterion/effdet-bifpn_{form}" / f"{model}-b{batch}" / on_disk / "new/estimates.json"
        return json.loads(path.read_text())["median"]["point_estimate"] * 1e-6
    path = f"{folder}/ours.json"
    command = [a.binary, "bench", "--model", model, "--batch", str(batch), "--runs", str(a.runs), "--device", a.device,
               "--float", float_type, "--json", path] + (["--train"] if task == "train" else [])
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    report = json.loads(Path(path).read_text())
    return report["train_step" if task == "train" else "network"]["median"]


def theirs(task, model, batch, a, float_type, compiled, faults):
    """Median milliseconds of the reference, or None; that it cannot be imported is added to the faults."""
    device = a.device if a.device.startswith("cuda") else "cpu"
    command = [sys.executable, "-W", "ignore", __file__, "--worker", task, model, str(batch), device, float_type,
               str(int(compiled)), str(a.runs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        print(f"{task} {model} {batch} {float_type}, the reference: {reason}", file=sys.stderr)
        if done.returncode == NO_REFERENCE:
            faults.append(f"the reference cannot be imported: {reason}")
        return None
    return statistics.median(json.loads(done.stdout.splitlines()[-1]))


def main():
    if sys.argv[1:2] == ["--worker"]:
        task, model, batch, device, float_type, compiled, runs = sys.argv[2:]
        print(json.dumps(reference(task, model, int(batch), device, float_type, compiled == "1", int(runs))))
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--binary", default=str(ROOT / "target/release/effdet"))
    parser.add_argument("--bench", help="the program of `cargo bench -p effdet-bifpn`; without it the BiFPN is left out")
    parser.add_argument("--floats", nargs="+", default=["f32", "bf16"], choices=FLOATS)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no case is begun after these")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--quick", action="store_true", help="three small cases")
    parser.add_argument("--out", help="file of the table; by default standard output")
    a = parser.parse_args()
    out = open(a.out, "w") if a.out else sys.stdout
    end = time.monotonic() + a.seconds
    print("| | model | batch | float | ours, ms | eager, ms | compiled, ms | ours / eager | ours / compiled |\n"
          "|---|---|---|---|---|---|---|---|---|", file=out, flush=True)
    load = os.getloadavg()[0]
    cases = [(*case, float_type) for case in (QUICK if a.quick else CASES) if case[0] != "bifpn" or a.bench
             for float_type in a.floats]
    missing, faults, late = [], [], None
    with tempfile.TemporaryDirectory() as folder:
        for task, model, batch, float_type in cases:
            case = f"{task} {model} {batch} {float_type}"
            if time.monotonic() > end:
                late = f"no time left for {case} and what follows"
                break
            try:
                own = ours(task, model, batch, a, float_type, folder)
            except (subprocess.CalledProcessError, OSError, KeyError) as error:
                print(f"{case}: {error}", file=sys.stderr)
                missing.append(case)
                own = None
            eager = theirs(task, model, batch, a, float_type, False, faults)
            compiled = None if a.no_compile else theirs(task, model, batch, a, float_type, True, faults)
            show = lambda value: "" if value is None else f"{value:.3f}"
            ratio = lambda value: f"{own / value:.2f}" if own and value else ""
            print(f"| {task} | {model} | {batch} | {float_type} | {show(own)} | {show(eager)} | {show(compiled)} "
                  f"| {ratio(eager)} | {ratio(compiled)} |", file=out, flush=True)
    print(f"\nMedians of {a.runs} runs on `{a.device}`; load of the machine before: {load:.1f}.", file=out)
    if late:
        print(f"\n{late}", file=out)
        print(late, file=sys.stderr)
    out.flush()
    if missing:
        faults.insert(0, f"no figure of ours for {', '.join(missing)}")
    if faults:
        sys.exit("; ".join(dict.fromkeys(faults)))


if __name__ == "__main__":
    main()
