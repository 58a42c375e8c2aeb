"""Times the reading of a COCO instances file of train2017's size: pycocotools against effdet-data.

    python benches/compare/parse_coco.py [--runs 3] [--file instances.json] [--keep] [--page]

Needs pycocotools (2.0.11 was used) in the running Python, and cargo. The file is made by a seed: 118,287 pictures,
860,001 boxes with polygons, about 450 MB. Both programs run as whole processes in turn, the file in the page cache; the
best time and the highest peak memory of each are compared. pycocotools runs `COCO(file)` and nothing else.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page import machine, write_section

ROOT = Path(__file__).resolve().parents[2]
PICTURES, BOXES = 118_287, 860_001
# The category ids of COCO: 1 to 90 without these.
GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}


def make(path, pictures=PICTURES, boxes=BOXES, seed=0):
    """Writes the file; text, not `json.dump`, to be done within a minute."""
    draw = random.Random(seed)
    categories = [i for i in range(1, 91) if i not in GAPS]
    ids = draw.sample(range(1, 600_000), pictures)
    sizes = [(640, draw.choice((360, 426, 427, 480, 512))) for _ in ids]
    with open(path, "w") as file:
        file.write('{"info":{"description":"seeded","year":2017},"licenses":[],"images":[')
        for n, (i, (width, height)) in enumerate(zip(ids, sizes)):
            file.write("," if n else "")
            file.write(
                f'{{"license":3,"file_name":"{i:012}.jpg","coco_url":"http://images.cocodataset.org/train2017/{i:012}.jpg",'
                f'"height":{height},"width":{width},"date_captured":"2013-11-14 11:18:45",'
                f'"flickr_url":"http://farm9.staticflickr.com/8186/8119368305_{i:010x}_z.jpg","id":{i}}}'
            )
        file.write('],"annotations":[')
        for n in range(boxes):
            which = draw.randrange(pictures)
            width, height = sizes[which]
            w, h = 2 + draw.random() ** 2 * (width - 3), 2 + draw.random() ** 2 * (height - 3)
            x, y = draw.random() * (width - w), draw.random() * (height - h)
            crowd = n % 86 == 85
            if crowd:
                runs = ",".join(str(draw.randrange(1, 900)) for _ in range(400))
                mask = f'{{"counts":[{runs}],"size":[{height},{width}]}}'
            else:
                corners = min(60, 4 + int(draw.expovariate(1 / 19)))
                points = (f"{x + draw.random() * w:.2f},{y + draw.random() * h:.2f}" for _ in range(corners))
                mask = f'[[{",".join(points)}]]'
            file.write("," if n else "")
            file.write(
                f'{{"segmentation":{mask},"area":{w * h * 0.6:.4f},"iscrowd":{int(crowd)},"image_id":{ids[which]},'
                f'"bbox":[{x:.2f},{y:.2f},{w:.2f},{h:.2f}],"category_id":{draw.choice(categories)},"id":{n + 1}}}'
            )
        file.write('],"categories":[')
        file.write(",".join(f'{{"supercategory":"thing","id":{i},"name":"class {i}"}}' for i in categories))
        file.write("]}")


def run(command):
    """Seconds, and peak memory in MiB, of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read().strip().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{command[0]} failed")
    return seconds, usage.ru_maxrss / 1024, output[-1] if output else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--file", type=Path, help="another instances file")
    parser.add_argument("--keep", action="store_true", help="do not delete the file that was made")
    parser.add_argument("--page", action="store_true", help="write the section of docs/performance.md")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        return make(options.make)

    subprocess.run(["cargo", "build", "--release", "-p", "effdet-data", "--example", "parse_coco"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    ours = target / "release" / "examples" / "parse_coco"

    folder = Path(tempfile.mkdtemp(prefix="parse_coco_"))
    path = options.file or folder / "instances_train2017.json"
    if not options.file:
        # In a process of its own: the memory of this one counts towards that of its children.
        subprocess.run([sys.executable, __file__, "--make", path], check=True)
    with open(path, "rb") as file:
        while file.read(1 << 22):
            pass
    print(f"{path.stat().st_size / 1e6:.0f} MB, {os.cpu_count()} cores")
    theirs = [sys.executable, "-c", "import sys; from pycocotools.coco import COCO; COCO(sys.argv[1])", str(path)]
    best, before = {}, machine()
    for number in range(options.runs):
        for name, command in (("pycocotools", theirs), ("effdet-data", [str(ours), str(path)])):
            seconds, peak, output = run(command)
            fastest, highest = best.get(name, (float("inf"), 0))
            best[name] = min(fastest, seconds), max(highest, peak)
            print(f"run {number + 1}  {name:12}  {seconds:7.2f} s  {peak:7.0f} MiB  {output}")
    (slow, large), (fast, small) = best["pycocotools"], best["effdet-data"]
    print(f"times as fast: {slow / fast:.1f}    share of the memory: 1/{large / small:.1f}")
    if options.page:
        rows = "\n".join(f"| {name} | {seconds:.2f} | {peak:.0f} |" for name, (seconds, peak) in best.items())
        write_section("Data and evaluation: reading a COCO file", f"""
`benches/compare/parse_coco.py`: {BOXES:,} boxes with polygons in {PICTURES:,} pictures, {path.stat().st_size / 1e6:.0f} MB, as whole
processes; the best time of {options.runs} runs of each and the highest peak. {before}.

| | seconds | peak memory, MiB |
|---|---|---|
{rows}

{slow / fast:.1f} times as fast at 1/{large / small:.1f} of the memory.
""")
    if not options.file and not options.keep:
        path.unlink()
        folder.rmdir()


if __name__ == "__main__":
    main()
