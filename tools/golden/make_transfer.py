"""Writes crates/effdet-weights/tests/fixtures/transfer.json: what timm makes of first convolutions and of several
checkpoints.

Pinned: torch 2.9.0, timm 1.0.31, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_transfer.py
"""

import json
from pathlib import Path

import torch
from timm.models import adapt_input_conv

from synthetic import uniform

OUT = Path("crates/effdet-weights/tests/fixtures/transfer.json")
SEED = 29


def main():
    kernel = torch.from_numpy(uniform(SEED, "conv_stem.weight", (2, 3, 2, 2)))
    adapted = {str(channels): adapt_input_conv(channels, kernel).flatten().tolist() for channels in (1, 2, 4, 6, 7)}
    several = [torch.from_numpy(uniform(SEED, f"checkpoint {i}", (5,))) for i in range(3)]
    # timm avg_checkpoints.py: a sum in double precision, divided, back to single.
    mean = (sum(value.to(torch.float64) for value in several) / len(several)).to(torch.float32)
    fixture = {
        "kernel": kernel.flatten().tolist(),
        "shape": list(kernel.shape),
        "adapted": adapted,
        "several": [value.tolist() for value in several],
        "mean": mean.tolist(),
    }
    OUT.write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
