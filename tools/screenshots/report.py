"""Pictures of the demo's report for the docs: chromium draws the page, Pillow cuts and shrinks it.

    effdet demo --out demo && python tools/screenshots/report.py demo docs/images

Needs chromium (Debian: `apt-get install chromium`) and Pillow. Each picture is below 150 kB.
"""

import pathlib
import subprocess
import sys
import tempfile

from PIL import Image

LIMIT = 150_000
WIDTH, HEIGHT = 1240, 6000


def shoot(page: pathlib.Path, to: pathlib.Path) -> None:
    # A browser run as root has no sandbox.
    command = ["chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}"]
    subprocess.run([*command, f"--screenshot={to}", page.resolve().as_uri()], check=True, capture_output=True)


def save(picture: Image.Image, path: pathlib.Path) -> None:
    """As a PNG of as many colours and pixels as fit the limit."""
    for width, colors in [(1000, 256), (1000, 128), (800, 128), (800, 64), (640, 64)]:
        small = picture.resize((width, round(picture.height * width / picture.width)), Image.LANCZOS)
        small.quantize(colors, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < LIMIT:
            print(path, path.stat().st_size, small.size)
            return
    sys.exit(f"{path} is larger than {LIMIT} bytes")


def main() -> None:
    demo, out = map(pathlib.Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shot = pathlib.Path(folder) / "page.png"
        shoot(demo / "report.html", shot)
        page = Image.open(shot).convert("RGB")
    save(page.crop((0, 0, WIDTH, 1100)), out / "demo-report.png")
    scenes = Image.open(demo / "plots" / "scenes.jpg")
    # The first row: labels, before, after.
    save(scenes.crop((0, 0, scenes.width, scenes.height // 6)), out / "demo-scenes.png")


main()
