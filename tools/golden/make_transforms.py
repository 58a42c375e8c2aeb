"""Makes crates/effdet-data/tests/fixtures/transforms/{scene.png,effdet.json,effdet_*.png,color_*.png}.

    python tools/golden/make_transforms.py

Pinned: effdet 0.4.1, torch 2.9.0, torchvision 0.24.0, Pillow 13.0.0, numpy 2.4.6.
effdet's own training and evaluation transforms and torchvision's colour adjustments run on a synthetic picture drawn
from a seeded generator; the numbers that they draw are logged, so that another implementation can be given the same.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
from effdet.data.random_erasing import RandomErasing
from effdet.data.transforms import RandomFlip, RandomResizePad, ResizePad
from PIL import Image
from torchvision.transforms import functional as F

ROOT = Path(__file__).resolve().parents[2] / "crates" / "effdet-data" / "tests" / "fixtures" / "transforms"
FILL = (124, 116, 104)
NAMES = {Image.BILINEAR: "bilinear", Image.BICUBIC: "bicubic"}
DRAWS = []


def log_draws():
    """Every function of `random` that effdet calls appends its result to DRAWS."""
    for name in ["random", "uniform", "randint", "choice"]:
        function = getattr(random, name)

        def logged(*args, function=function):
            DRAWS.append(function(*args))
            return DRAWS[-1]

        setattr(random, name, logged)


def scene():
    """57 x 41 pixels of gradient, noise and two bright blocks, and six boxes (ymin, xmin, ymax, xmax)."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[0:41, 0:57]
    array = np.stack([x * 4, y * 6, 255 - x * 2 - y * 2], -1) + rng.integers(-20, 21, (41, 57, 3))
    array[5:20, 8:30] += 60
    array[22:39, 35:52] //= 2
    boxes = [[5, 8, 20, 30], [22, 35, 39, 52], [0, 0, 41, 57], [2.5, 40.25, 10.75, 56.5], [39, 1, 41, 4], [20, 20, 20.5, 21]]
    return np.clip(array, 0, 255).astype(np.uint8), np.array(boxes, dtype=np.float32)


def run(transform, array, boxes):
    DRAWS.clear()
    annotations = {"bbox": boxes.copy(), "cls": np.arange(1, len(boxes) + 1)}
    image, annotations = transform(Image.fromarray(array), annotations)
    return image, {
        "boxes": annotations["bbox"].tolist(),
        "classes": annotations["cls"].tolist(),
        "img_scale": annotations.get("img_scale", 1.0),
        "draws": [NAMES.get(draw, draw) for draw in DRAWS],
    }


def make_effdet(array, boxes):
    cases = []

    def case(name, transform):
        image, expected = run(transform, array, boxes)
        image.save(ROOT / f"effdet_{name}.png", optimize=True)
        cases.append({"name": name, **expected})

    case("resize_pad", ResizePad((48, 64), "bilinear", FILL))
    for seed, scale in enumerate([(0.1, 2.0), (0.1, 2.0), (0.1, 2.0), (1.5, 2.0), (1.5, 2.0), (0.1, 0.3)]):
        random.seed(seed)
        case(f"random_resize_pad_{seed}", RandomResizePad((48, 64), scale, "random", FILL))
    # seeds that draw both flips, none, and one of each
    for seed in [1, 0, 10, 4]:
        random.seed(seed)
        case(f"flip_{seed}", RandomFlip(horizontal=True, vertical=True))
    return cases


def make_erasing():
    cases = []
    erase = RandomErasing(probability=1.0, mode="const", max_count=3, device="cpu")
    for seed in range(4):
        random.seed(seed)
        DRAWS.clear()
        target = {"img_scale": torch.tensor([1 / 0.8]), "img_size": torch.tensor([[57, 41]])}
        batch = torch.ones(1, 3, 48, 64)
        erased = erase(batch, target)[0, 0] == 0
        cases.append({"draws": list(DRAWS), "content": [45, 32], "erased": erased.nonzero()[:, [1, 0]].tolist()})
    return cases


def make_color(array):
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for name, result in {
        "brightness_0.7": F.adjust_brightness(tensor, 0.7),
        "brightness_1.4": F.adjust_brightness(tensor, 1.4),
        "contrast_0.6": F.adjust_contrast(tensor, 0.6),
        "contrast_1.3": F.adjust_contrast(tensor, 1.3),
        "saturation_0.5": F.adjust_saturation(tensor, 0.5),
        "saturation_1.4": F.adjust_saturation(tensor, 1.4),
        "hue_0.2": F.adjust_hue(tensor, 0.2),
        "hue_-0.45": F.adjust_hue(tensor, -0.45),
    }.items():
        Image.fromarray(result.permute(1, 2, 0).numpy()).save(ROOT / f"color_{name}.png", optimize=True)


def main():
    ROOT.mkdir(parents=True, exist_ok=True)
    for old in [*ROOT.glob("effdet_*.png"), *ROOT.glob("color_*.png")]:
        old.unlink()
    array, boxes = scene()
    Image.fromarray(array).save(ROOT / "scene.png", optimize=True)
    log_draws()
    cases = {"source": boxes.tolist(), "cases": make_effdet(array, boxes), "erasing": make_erasing()}
    make_color(array)
    (ROOT / "effdet.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
