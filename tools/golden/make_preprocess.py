"""Makes four folders of crates/effdet-data/tests/fixtures: small synthetic pictures and what Pillow makes of them.

    python tools/golden/make_preprocess.py

Pinned: Pillow 13.0.0, numpy 2.4.6, torch 2.9.0, effdet 0.4.1 (libjpeg-turbo as bundled with Pillow).
Everything is drawn from a seeded generator; no photograph is involved. Fixtures:

    resize/<source>.png                      sources: noise, gradient, detail
    resize/<source>_<filter>_<h>x<w>.png     Pillow's resize (torch's interpolate for tf_bilinear)
    letterbox/<source>_<h>x<w>.png           effdet's ResizePad, fill "mean"
    letterbox/expected.json                  img_scale, and each level normalised (bits of the float32)
    decode/                                  odd coding modes, truncated files and decompression bombs
    decoded/<file>.png                       what Pillow decodes of them
"""

import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from effdet.data.transforms import ResizePad
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2] / "crates" / "effdet-data" / "tests" / "fixtures"
# Others there are made by other scripts.
FOLDERS = ("resize", "letterbox", "decode", "decoded")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIZES = [(16, 16), (31, 7), (29, 45), (40, 9), (25, 17), (1, 1)]


def sources():
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:25, 0:33]
    yield "noise", rng.integers(0, 256, (25, 33, 3), dtype=np.uint8)
    yield "gradient", np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)
    rings = ((np.hypot(x - 16, y - 12) * 1.7).astype(int) % 2 * 255).astype(np.uint8)
    yield "detail", np.stack([rings, 255 - rings, np.where(x % 2, 255, 0).astype(np.uint8)], -1)


def tf_bilinear(array, height, width):
    planes = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        planes, (height, width), mode="bilinear", align_corners=False, antialias=False
    )
    return torch.floor(resized[0].permute(1, 2, 0) + 0.5).numpy().astype(np.uint8)


def make_resize():
    folder = ROOT / "resize"
    for name, array in sources():
        image = Image.fromarray(array)
        image.save(folder / f"{name}.png", optimize=True)
        for height, width in SIZES:
            for key, resample in FILTERS.items():
                image.resize((width, height), resample).save(folder / f"{name}_{key}_{height}x{width}.png", optimize=True)
            resized = tf_bilinear(array, height, width)
            Image.fromarray(resized).save(folder / f"{name}_tf_bilinear_{height}x{width}.png", optimize=True)


def make_letterbox():
    folder = ROOT / "letterbox"
    fill = tuple(round(255 * m) for m in MEAN)
    arrays = dict(sources())
    scales = {}
    for name, size in [("noise", (40, 40)), ("detail", (16, 16)), ("gradient", (48, 20))]:
        image, annotations = ResizePad(size, "bilinear", fill)(Image.fromarray(arrays[name]), {})
        key = f"{name}_{size[0]}x{size[1]}"
        image.save(folder / f"{key}.png", optimize=True)
        scales[key] = annotations["img_scale"]
    levels = torch.arange(256, dtype=torch.uint8).float().view(1, 1, 256).repeat(3, 1, 1)
    mean = torch.tensor([m * 255 for m in MEAN]).view(3, 1, 1)
    std = torch.tensor([s * 255 for s in STD]).view(3, 1, 1)
    normalized = levels.sub(mean).div(std).view(3, 256)
    (folder / "expected.json").write_text(
        json.dumps({"img_scale": scales, "normalized_bits": normalized.view(torch.int32).tolist()}, separators=(",", ":"))
    )


def save(image, name, **options):
    image.save(ROOT / "decode" / name, **options)


def png_chunks(*chunks):
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def make_decode():
    folder = ROOT / "decode"
    rng = np.random.default_rng(11)
    y, x = np.mgrid[0:24, 0:40]
    smooth = np.stack([x * 6, y * 10, 255 - (x + y) * 3], -1).astype(np.uint8)
    image = Image.fromarray(smooth)

    save(image, "rgb.jpg", quality=95, subsampling=0)
    save(image, "rgb_420.jpg", quality=90)
    save(image, "rgb_progressive.jpg", quality=90, progressive=True)
    save(image.convert("L"), "grey.jpg", quality=95)
    save(image.convert("CMYK"), "cmyk_adobe.jpg", quality=95)
    adobe = (folder / "cmyk_adobe.jpg").read_bytes()
    marker = adobe.index(b"\xff\xee\x00\x0eAdobe")
    (folder / "cmyk_plain.jpg").write_bytes(adobe[:marker] + adobe[marker + 16 :])
    save(image, "rgb.bmp")
    save(image, "rgb.tif", compression="tiff_lzw")
    save(image, "lossless.webp", lossless=True)
    save(image.quantize(16), "palette.gif")
    save(image.convert("1"), "bits.png")
    save(image.convert("LA"), "grey_alpha.png")
    alpha = Image.fromarray(rng.integers(0, 256, (24, 40), dtype=np.uint8))
    rgba = image.copy()
    rgba.putalpha(alpha)
    save(rgba, "rgba.png")
    palette = image.quantize(8)
    save(palette, "palette_transparent.png", transparency=3)
    grey16 = (x * 1600 + y * 7).astype(np.uint16)
    save(Image.fromarray(grey16), "grey16.png")
    save(Image.fromarray(smooth[:1, :1]), "one_pixel.png")
    (folder / "png_named.jpg").write_bytes((folder / "rgba.png").read_bytes())

    # A tiny picture whose four corners differ, stored so that the orientation tag makes it upright.
    corners = np.full((16, 24, 3), 128, np.uint8)
    corners[:8, :8], corners[:8, 16:], corners[8:, :8], corners[8:, 16:] = (230, 20, 20), (20, 230, 20), (20, 20, 230), (230, 230, 20)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(Image.fromarray(corners), f"orientation_{orientation}.jpg", exif=exif, quality=95, subsampling=0)
        save(Image.fromarray(corners), f"orientation_{orientation}.png", exif=exif)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(Image.fromarray(corners), "orientation_6.webp", exif=exif, lossless=True)
    # Pillow's reader takes the tag of a TIFF from the directory itself.
    save(Image.fromarray(corners), "orientation_6.tif", tiffinfo={0x0112: 6})

    decoded = ROOT / "decoded"
    decoded.mkdir(exist_ok=True)
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            rgb = ImageOps.exif_transpose(opened).convert("RGB")
        if path.name == "grey16.png":
            # Pillow clips 16-bit grey at 255; ours keeps the high byte, see `decode_bytes`.
            rgb = Image.fromarray((grey16 >> 8).astype(np.uint8)).convert("RGB")
        rgb.save(decoded / f"{path.name}.png", optimize=True)

    # Broken files. The noise makes the data long enough for the cut to hit them.
    noise = Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    for name, options in [("jpg", {"quality": 60}), ("png", {}), ("progressive.jpg", {"quality": 60, "progressive": True})]:
        buffer = io.BytesIO()
        noise.save(buffer, "PNG" if name == "png" else "JPEG", **options)
        data = buffer.getvalue()
        (folder / f"truncated.{name}").write_bytes(data[: len(data) * 6 // 10])
    (folder / "bomb.gif").write_bytes(
        b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
        + b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\x00\x3b"
    )
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        png_chunks((b"IHDR", header), (b"IDAT", zlib.compress(bytes(4096))), (b"IEND", b""))
    )
    no_end = (folder / "rgb.jpg").read_bytes()
    assert no_end.endswith(b"\xff\xd9")
    (folder / "truncated_end_marker.jpg").write_bytes(no_end[:-2])
    (folder / "text.jpg").write_bytes(b"this is a text file, whatever its name says\n")
    (folder / "empty.jpg").write_bytes(b"")


if __name__ == "__main__":
    for name in FOLDERS:
        shutil.rmtree(ROOT / name, ignore_errors=True)
        (ROOT / name).mkdir(parents=True)
    make_resize()
    make_letterbox()
    make_decode()
    total = sum(p.stat().st_size for name in FOLDERS for p in (ROOT / name).iterdir())
    print(f"{total} bytes in {', '.join(FOLDERS)} of {ROOT.relative_to(ROOT.parents[3])}")
