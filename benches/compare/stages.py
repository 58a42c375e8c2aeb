"""Each stage of a detection, and what each step of the forward pass's way brought, by `effdet bench`.

    cargo build --release -p effdet-cli
    python benches/compare/stages.py [--models NAME...] [--runs 30] [--page]

Weights are random, which is the hard case for the selection of candidates: every logit is near every other, while on trained
weights almost all are far below the best 5000.
"""
import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["preprocess", "forward", "postprocess", "total"]


# What was done, one after the other, as it can still be switched off.
STEPS = [
    ("the framework's operations", ["--composed"], {}),
    ("the inference form (norms folded, one recorded program, kernels of our own), scalar", [], {"EFFDET_ISA": "portable"}),
    ("with AVX2", [], {"EFFDET_ISA": "avx2"}),
    ("with AVX-512", [], {"EFFDET_ISA": "avx512"}),
]


def bench(binary, model, threads, runs, options=(), environment=None):
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [binary, "bench", "--model", model, "--threads", threads, "--runs", runs, "--json", file.name, *options]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **(environment or {})})
        return json.loads(Path(file.name).read_text())


def steps(a):
    has_avx512 = "avx512f" in Path("/proc/cpuinfo").read_text()
    rows = ["| step | " + " | ".join(f"{model}, {t} threads" for model in a.models for t in a.threads) + " |"]
    rows.append("|---" * (1 + len(a.models) * len(a.threads)) + "|")
    for name, options, environment in STEPS:
        if "AVX-512" in name and not has_avx512:
            continue
        cells = []
        for model in a.models:
            for threads in a.threads:
                found = bench(a.binary, model, threads, "10", options, environment)["forward"]
                cells.append(f"{found['median']:.1f} ({found['min']:.1f})")
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
        print(rows[-1], flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientdet_lite0", "tf_efficientdet_d0"])
    parser.add_argument("--threads", nargs="+", default=["1", "2"])
    parser.add_argument("--runs", default="30")
    parser.add_argument("--binary", default=str(ROOT / "target/release/effdet"))
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    a = parser.parse_args()
    before = machine()
    rows = ["| model | threads | " + " | ".join(STAGES) + " | peak memory, MB |", "|---" * (len(STAGES) + 3) + "|"]
    for model in a.models:
        for threads in a.threads:
            found = bench(a.binary, model, threads, a.runs)
            cells = [f"{found[stage]['median']:.2f} ({found[stage]['min']:.2f})" for stage in STAGES]
            rows.append(f"| {model} | {threads} | " + " | ".join(cells) + f" | {found['peak_memory_mb']:.0f} |")
            print(rows[-1], flush=True)
    if a.page:
        write_section("Stages of a detection", "\n".join([
            f"`benches/compare/stages.py`: milliseconds, median and least of {a.runs} runs, batch 1, random weights. The post-processing of",
            "tf_efficientdet_d0 selects 5000 of 4,419,360 logits and suppresses overlaps among them; the other one of 1,728,540.",
            f"{before}.", "", *rows, "",
            "The forward pass step by step, milliseconds, median and least of 10 runs:", "", *steps(a),
        ]))


if __name__ == "__main__":
    main()
