"""Makes crates/effdet-data/tests/fixtures/transforms/{albumentations.json,albumentations_*.png}.

    python tools/golden/make_transforms.py       # first: the picture
    python tools/golden/make_albumentations.py

Pinned: albumentations 1.0.3, opencv-python-headless 4.8.1.78, numpy 1.23.5, Pillow 13.0.0, Python 3.11.
The steps of IceVision's aug_tfms with the numbers given here instead of drawn.
"""

import json
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
from albumentations.augmentations import functional as F
from albumentations.augmentations.crops.functional import get_random_crop_coords
from albumentations.augmentations.bbox_utils import denormalize_bboxes, filter_bboxes, normalize_bboxes
from PIL import Image

ROOT = Path(__file__).resolve().parents[2] / "crates" / "effdet-data" / "tests" / "fixtures" / "transforms"


def main():
    array = np.array(Image.open(ROOT / "scene.png"))
    # albumentations wants corners as x, y; the box of the whole picture would make every safe crop the whole picture.
    boxes = [(x1, y1, x2, y2, i + 1) for i, (y1, x1, y2, x2) in enumerate([[5, 8, 20, 30], [22, 35, 39, 52], [2.5, 40.25, 10.75, 56.5]])]
    rows, cols = array.shape[:2]
    cases = []

    def case(name, transform, boxes=boxes, **params):
        image = transform.apply(array, **params)
        moved = [transform.apply_to_bbox(b[:4], rows=rows, cols=cols, **params) + b[4:] for b in normalize_bboxes(boxes, rows, cols)]
        kept = denormalize_bboxes(filter_bboxes(moved, *image.shape[:2]), *image.shape[:2])
        Image.fromarray(image).save(ROOT / f"albumentations_{name}.png", optimize=True)
        cases.append({"name": name, "boxes": [list(map(float, b)) for b in kept], "params": {k: float(v) for k, v in params.items()}})

    for i, (angle, scale, dx, dy) in enumerate([(12.0, 1.07, 0.03, -0.05), (-15.0, 0.9, -0.0625, 0.0625), (3.3, 1.0, 0.0, 0.0)]):
        case(f"shift_scale_rotate_{i}", A.ShiftScaleRotate(rotate_limit=15), angle=angle, scale=scale, dx=dx, dy=dy)
    safe = A.RandomSizedBBoxSafeCrop(32, 48)
    for i, draws in enumerate([(0.2, 0.7, 0.4, 0.9), (0.9, 0.95, 0.0, 0.1), (0.0, 0.0, 1.0, 1.0)]):
        numbers = iter(draws)
        A.augmentations.crops.transforms.random.random = lambda: next(numbers)
        params = safe.get_params_dependent_on_targets({"image": array, "bboxes": normalize_bboxes(boxes[:2], rows, cols)})
        case(f"safe_crop_{i}", safe, boxes[:2], **params)
        cases[-1]["params"] = dict(zip(["x1", "y1", "x2", "y2"], draws))
        cases[-1]["region"] = list(get_random_crop_coords(rows, cols, *(params[k] for k in ["crop_height", "crop_width", "h_start", "w_start"])))
    case("longest_max_size", A.LongestMaxSize(64))
    case("smallest_max_size", A.SmallestMaxSize(64))
    pad = A.PadIfNeeded(64, 64, border_mode=cv2.BORDER_CONSTANT, value=[124, 116, 104])
    case("pad_if_needed", pad, pad_top=11, pad_bottom=12, pad_left=3, pad_right=4)
    for name, image in {
        "rgb_shift": F.shift_rgb(array, 9.3, -4.8, 0.4),
        "brightness_contrast": F.brightness_contrast_adjust(array, 1.17, -0.13, True),
        "blur": F.blur(array, 3),
    }.items():
        Image.fromarray(image).save(ROOT / f"albumentations_{name}.png", optimize=True)
    (ROOT / "albumentations.json").write_text(json.dumps({"boxes": boxes, "cases": cases}) + "\n")


if __name__ == "__main__":
    main()
