"""A table of what `cargo bench` measured: pictures, bytes and operations a second, as parts of what the device can do.

    EFFDET_DEVICE=cuda:0 cargo bench -p effdet-model --features cuda     # measures the ceilings too
    python benches/table.py [--folder target/criterion] [--device cuda:0]

Needs nothing but Python. The ceilings are the copy and the matrix product that `cargo bench -p effdet-model` times first
on the same device: a part of them says how far a network is from what the memory and the arithmetic allow.
"""
import argparse
import json
from pathlib import Path


def name_on_disk(part):
    return "".join("_" if c in '?"/\\*<>:|^' else c for c in part)[:64]


def median(folder, identity):
    """Seconds of one call; criterion replaces what file names cannot hold."""
    crate, operation, variant, device = identity.split("/")
    path = folder / name_on_disk(f"{crate}/{operation}") / name_on_disk(variant) / name_on_disk(device) / "new/estimates.json"
    return json.loads(path.read_text())["median"]["point_estimate"] * 1e-9 if path.exists() else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[1] / "target/criterion")
    parser.add_argument("--device", help="only this one")
    a = parser.parse_args()
    lines = (a.folder / "costs.jsonl").read_text().splitlines()
    costs = {cost["id"]: cost for cost in map(json.loads, lines)}  # the last of each
    rates = {}
    for identity, cost in costs.items():
        seconds = median(a.folder, identity)
        if seconds is not None and a.device in (None, identity.rsplit("/", 1)[1]):
            rates[identity] = [cost[key] / seconds for key in ("pictures", "bytes", "operations")] + [seconds]
    ceilings = {}
    for identity, (_, bytes_, operations, _) in rates.items():
        device = identity.rsplit("/", 1)[1]
        if "/ceiling/copy/" in identity:
            ceilings.setdefault(device, {})["bytes"] = bytes_
        if "/ceiling/matrix_product/" in identity:
            ceilings.setdefault(device, {})["operations"] = operations
    print("| id | ms | pictures/s | GB/s | of the copy | GFLOP/s | of the matrix product |")
    print("|---|---|---|---|---|---|---|")
    for identity, (pictures, bytes_, operations, seconds) in sorted(rates.items()):
        ceiling = ceilings.get(identity.rsplit("/", 1)[1], {})
        parts = [f"{value / ceiling[key]:.1%}" if key in ceiling else ""
                 for key, value in (("bytes", bytes_), ("operations", operations))]
        print(f"| {identity} | {seconds * 1e3:.3f} | {pictures:.1f} | {bytes_ / 1e9:.2f} | {parts[0]} "
              f"| {operations / 1e9:.1f} | {parts[1]} |")


if __name__ == "__main__":
    main()
