"""Decodes pictures with Pillow and writes them as PNG, so that a test can start from the reference's pixels.

    python tools/golden/decode_with_pillow.py OUT PICTURE...

Pinned: Pillow 13.0.0 (its bundled libjpeg-turbo is what matters). `crates/effdet-cli/tests/it/bccd.rs` reads the folder
from EFFDET_BCCD_PNG.
"""

import sys
from pathlib import Path

from PIL import Image


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    out, *pictures = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        with Image.open(picture) as image:
            image.convert("RGB").save(out / f"{picture.stem}.png", compress_level=1)


main()
