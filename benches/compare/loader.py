"""Training input, the reference's PyTorch loader beside ours: decode, horizontal flip, scale jitter 0.1 to 2.0, batch.

    cargo build --release -p effdet-data --example loader_speed
    python benches/compare/loader.py DIR [--side 512] [--workers 2] [--batch 8] [--epochs 3] [--page]

DIR is a folder of JPEGs. Needs effdet 0.4.1 and torch. Epochs of the two alternate, the first of each is not counted;
the medians of the others count, in pictures per second and in processor time per picture, which is what is left of a
comparison on a busy machine. The loaders stop at the uint8 batch: effdet's
PrefetchLoader, which moves it to the GPU, is left out on both sides.
"""

import argparse
import json
import resource
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
from effdet.data.loader import DetectionFastCollate
from effdet.data.transforms import transforms_coco_train
from page import machine, write_section
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


class Folder(torch.utils.data.Dataset):
    """What effdet's DetectionDatset does with each picture."""

    def __init__(self, root, transform):
        self.paths = sorted(root.glob("*.jpg"))
        self.transform = transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = Image.open(self.paths[index]).convert("RGB")
        boxes = np.tile(np.array([[100, 100, 250, 300]], np.float32), (10, 1))
        target = dict(img_idx=index, img_size=image.size, bbox=boxes, cls=np.ones(10, np.int64))
        return self.transform(image, target)


def effdets(args):
    transform = transforms_coco_train(args.side, interpolation="random", use_prefetcher=True, fill_color="mean")
    loader = torch.utils.data.DataLoader(
        Folder(args.dir, transform),
        batch_size=args.batch,
        shuffle=True,
        num_workers=args.workers,
        collate_fn=DetectionFastCollate(),
        drop_last=True,
    )
    start, pictures = time.perf_counter(), 0
    for images, _ in loader:
        pictures += len(images)
    return pictures / (time.perf_counter() - start)


def ours(args):
    command = [str(args.binary), str(args.dir), *map(str, [args.side, args.workers, args.batch, 1])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["pictures_per_second"][0]


def processor_seconds():
    """Of this process and those that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(loader, args, pictures):
    """Pictures per second, and processor milliseconds per picture, of one epoch."""
    start = processor_seconds()
    rate = loader(args)
    return rate, 1000 * (processor_seconds() - start) / pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--binary", type=Path, action="append", help="loader_speed; may be given for several builds")
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    args = parser.parse_args()
    files = len(list(args.dir.glob("*.jpg")))
    pictures = files // args.batch * args.batch
    binaries = args.binary or [ROOT / "target" / "release" / "examples" / "loader_speed"]
    before, runs = machine(), {}
    for _ in range(args.epochs + 1):
        runs.setdefault("the reference's PyTorch loader", []).append(measure(effdets, args, pictures))
        for binary in binaries:
            args.binary = binary
            name = "effdet-data" if len(binaries) == 1 else f"effdet-data, {binary.name}"
            runs.setdefault(name, []).append(measure(ours, args, pictures))
    medians = {name: [statistics.median(column) for column in zip(*rows[1:])] for name, rows in runs.items()}
    rate, time = medians["the reference's PyTorch loader"]
    lines = ["| | pictures per second | times the reference's | processor time per picture, ms | part of the reference's |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {r:.1f} | {r / rate:.2f} | {t:.2f} | 1/{time / t:.2f} |" for name, (r, t) in medians.items()
    ]
    table = "\n".join(lines)
    print(table)
    if args.page:
        write_section("Data and evaluation: training input", f"""
`benches/compare/loader.py`: decode, horizontal flip, scale jitter 0.1 to 2.0 at {args.side}x{args.side}, batches of {args.batch} as uint8,
{args.workers} workers, {files} JPEGs; medians of {args.epochs} epochs of each, in turn. {before}.

{table}
""")


if __name__ == "__main__":
    main()
