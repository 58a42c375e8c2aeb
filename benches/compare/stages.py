"""Each stage of a detection, and where the time of the forward pass goes, by `effdet bench`.

    cargo build --release -p effdet-cli
    python benches/compare/stages.py [--models NAME...] [--runs 30] [--page]

Weights are random, which is the hard case for the selection of candidates: every logit is near every other, while on trained
weights almost all are far below the best 5000.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["preprocess", "forward", "postprocess", "total"]


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
            with tempfile.NamedTemporaryFile(suffix=".json") as file:
                command = [a.binary, "bench", "--model", model, "--threads", threads, "--runs", a.runs, "--json", file.name]
                subprocess.run(command, check=True, capture_output=True)
                found = json.loads(Path(file.name).read_text())
            cells = [f"{found[stage]['median']:.2f} ({found[stage]['min']:.2f})" for stage in STAGES]
            rows.append(f"| {model} | {threads} | " + " | ".join(cells) + f" | {found['peak_memory_mb']:.0f} |")
            print(rows[-1], flush=True)
    if a.page:
        write_section("Stages of a detection", "\n".join([
            f"`benches/compare/stages.py`: milliseconds, median and least of {a.runs} runs, batch 1, random weights. The post-processing of",
            "tf_efficientdet_d0 selects 5000 of 4,419,360 logits and suppresses overlaps among them; the other one of 1,728,540.",
            f"{before}.", "", *rows,
        ]))


if __name__ == "__main__":
    main()
