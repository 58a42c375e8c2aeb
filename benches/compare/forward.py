"""The network's forward pass alone: this project's inference form beside PyTorch, ONNX Runtime and OpenVINO.

Needs `cargo build --release -p effdet-cli` and, in the Python that runs it, torch==2.9.0 torchvision==0.24.0
timm==1.0.31 effdet==0.4.1 onnx onnxruntime openvino (those that are missing are left out).

    python benches/compare/forward.py [--models tf_efficientdet_d0 tf_efficientdet_lite0] [--batch 1] [--threads 2]
        [--rounds 5] [--runs 10] [--compile] [--page]

All are timed in turn, round after round, in one run; a figure is the median of all runs of all rounds. Weights are
random: they do not change the time. Peak memory is that of a process of its own for each.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).parents[2]


def reference(model):
    import torch
    from effdet import EfficientDet, get_efficientdet_config

    torch.manual_seed(0)
    config = get_efficientdet_config(model)
    return EfficientDet(config, pretrained_backbone=False).eval(), config.image_size


def torch_runner(model, batch, threads, channels_last, compiled):
    import torch

    torch.set_num_threads(threads)
    net, size = reference(model)
    x = torch.randn(batch, 3, *size)
    if channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    if compiled:
        net = torch.compile(net)

    def run():
        with torch.inference_mode():
            net(x)

    return run


def export(model, batch, path):
    """Writes the network as ONNX. A process of its own, so that the runtimes' memory is not PyTorch's."""
    import torch

    net, size = reference(model)
    with torch.no_grad():
        torch.onnx.export(net, torch.randn(batch, 3, *size), path, opset_version=17, dynamo=False)


def exported(model, batch, folder):
    path = f"{folder}/{model}-{batch}.onnx"
    if not Path(path).exists():
        command = [sys.executable, "-W", "ignore", __file__, "--export", model, str(batch), path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def onnxruntime_runner(model, batch, threads, folder):
    import numpy
    import onnxruntime

    path = exported(model, batch, folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    x = numpy.random.randn(*given.shape).astype("float32")
    return lambda: session.run(None, {given.name: x})


def openvino_runner(model, batch, threads, folder, precision):
    import numpy
    import openvino

    path = exported(model, batch, folder)
    core = openvino.Core()
    hint = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    compiled = core.compile_model(core.read_model(path), "CPU", hint)
    x = numpy.random.randn(*compiled.input().shape).astype("float32")
    request = compiled.create_infer_request()
    return lambda: request.infer([x])


PEERS = {
    "PyTorch": lambda m, b, t, f: torch_runner(m, b, t, False, False),
    "PyTorch, channels-last": lambda m, b, t, f: torch_runner(m, b, t, True, False),
    "PyTorch, compiled": lambda m, b, t, f: torch_runner(m, b, t, True, True),
    "ONNX Runtime": lambda m, b, t, f: onnxruntime_runner(m, b, t, f),
    "OpenVINO f32": lambda m, b, t, f: openvino_runner(m, b, t, f, "f32"),
    "OpenVINO bf16": lambda m, b, t, f: openvino_runner(m, b, t, f, "bf16"),
}


def worker(name, model, batch, threads, folder):
    """Answers each line on standard input with the milliseconds of as many runs."""
    run = PEERS[name](model, batch, threads, folder)
    for _ in range(3):
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"times": times, "peak": peak}), flush=True)


def compare(model, arguments, folder):
    batch, threads = arguments.batch, arguments.threads
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    peers = {}
    for name in PEERS:
        if name == "PyTorch, compiled" and not arguments.compile:
            continue
        command = [sys.executable, "-W", "ignore", __file__, "--worker", name, model, str(batch), str(threads), folder]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   text=True, env=environment)
        line = process.stdout.readline()
        while line and line.strip() != "ready":
            line = process.stdout.readline()
        if line:
            peers[name] = process
        else:
            print(f"{name}: left out", file=sys.stderr)
    times, peaks = {"this project": []}, {}
    for _ in range(arguments.rounds):
        ours = f"{folder}/ours.json"
        command = [arguments.binary, "bench", "--model", model, "--batch", str(batch), "--threads", str(threads),
                   "--runs", str(arguments.runs), "--json", ours]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        report = json.loads(Path(ours).read_text())
        times["this project"].append(report["forward"]["median"])
        peaks["this project"] = report["peak_memory_mb"]
        for name, process in peers.items():
            process.stdin.write(f"{arguments.runs}\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            times.setdefault(name, []).append(statistics.median(answer["times"]))
            peaks[name] = answer["peak"]
    for process in peers.values():
        process.stdin.close()
        process.wait()
    ours = statistics.median(times["this project"])
    rows = []
    for name, values in times.items():
        median = statistics.median(values)
        rows.append(f"| {model} | {name} | {median:.1f} | {min(values):.1f} | {ours / median:.2f} | {peaks[name]:.0f} |")
        print(rows[-1])
    return rows


def main():
    if sys.argv[1:2] == ["--worker"]:
        name, model, batch, threads, folder = sys.argv[2:]
        return worker(name, model, int(batch), int(threads), folder)
    if sys.argv[1:2] == ["--export"]:
        model, batch, path = sys.argv[2:]
        return export(model, int(batch), path)
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=["tf_efficientdet_lite0", "tf_efficientdet_d0"])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="time torch.compile too")
    parser.add_argument("--binary", default=str(ROOT / "target/release/effdet"))
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    arguments = parser.parse_args()
    before = machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            rows += compare(model, arguments, folder)
    if arguments.page:
        head = "| model | | median ms | least ms | ours / theirs | peak memory, MB |\n|---|---|---|---|---|---|\n"
        kind = "" if "AVX-512" in before else ", without AVX-512"
        write_section(f"Forward pass, batch {arguments.batch}, {arguments.threads} threads{kind}", f"""
`benches/compare/forward.py --batch {arguments.batch} --threads {arguments.threads}`: {arguments.rounds} rounds of
{arguments.runs} runs in turn. {before}.

{head}""" + "\n".join(rows))


if __name__ == "__main__":
    main()
