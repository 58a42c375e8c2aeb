"""Training input, effdet's PyTorch loader beside ours: decode, horizontal flip, scale jitter 0.1 to 2.0, batch.

    cargo build --release -p effdet-data --example loader_speed
    python benches/compare/loader.py DIR [--side 512] [--workers 2] [--batch 8] [--epochs 3] [--page]

DIR is a folder of JPEGs. Needs effdet 0.4.1 and torch. Epochs of the two alternate, the first of each is not counted;
the best of the others counts, in pictures per second: whatever else the machine does makes both slower only. The loaders stop at the uint8 batch: effdet's
PrefetchLoader, which moves it to the GPU, is left out on both sides.
"""

import argparse
import json
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "examples" / "loader_speed")
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    args = parser.parse_args()
    before, theirs, own = machine(), [], []
    for _ in range(args.epochs + 1):
        theirs.append(effdets(args))
        own.append(ours(args))
    print(f"pictures per second, every epoch: effdet {theirs}, ours {own}")
    best, fastest = max(theirs[1:]), max(own[1:])
    print(f"effdet {best:.1f}, ours {fastest:.1f}, ratio {fastest / best:.2f}")
    if args.page:
        count = len(list(args.dir.glob("*.jpg")))
        write_section("Data and evaluation: training input", f"""
`benches/compare/loader.py`: decode, horizontal flip, scale jitter 0.1 to 2.0 at {args.side}x{args.side}, batches of {args.batch} as uint8,
{args.workers} workers, {count} JPEGs; the best of {args.epochs} epochs of each, in turn. {before}.

| | pictures per second |
|---|---|
| effdet's PyTorch loader | {best:.1f} |
| effdet-data | {fastest:.1f} |

{fastest / best:.2f} times as many.
""")


if __name__ == "__main__":
    main()
