"""Makes crates/effdet-data/tests/fixtures/transforms/{autoaugment.json,autoaugment_*.png}.

    python tools/golden/make_transforms.py       # first: the picture
    python tools/golden/make_autoaugment.py DIR  # DIR: the folder efficientdet of a copy of google/automl

Pinned: google/automl 6a54c87, tensorflow-cpu 2.15.1, tensorflow-addons 0.23.0, numpy 1.26, Python 3.11.
The operations of google/automl's aug/autoaugment.py on the synthetic picture, with strengths given here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

ROOT = Path(__file__).resolve().parents[2] / "crates" / "effdet-data" / "tests" / "fixtures" / "transforms"
GREY = [128, 128, 128]


def main():
    sys.path.insert(0, sys.argv[1])
    from aug import autoaugment as aug

    array = np.array(Image.open(ROOT / "scene.png"))
    height, width = array.shape[:2]
    boxes = [[5, 8, 20, 30], [22, 35, 39, 52], [2, 40, 10, 56]]
    normal = tf.constant([[y1 / height, x1 / width, y2 / height, x2 / width] for y1, x1, y2, x2 in boxes], tf.float32)
    image = tf.constant(array)
    for name, result in {
        "auto_contrast": aug.autocontrast(image),
        "equalize": aug.equalize(image),
        "posterize_0": aug.posterize(image, 0),
        "posterize_3": aug.posterize(image, 3),
        "solarize_153": aug.solarize(image, 153),
        "solarize_add_66": aug.solarize_add(image, 66),
        "color_0.46": aug.color(image, 0.46),
        "color_1.9": aug.color(image, 1.9),
        "contrast_0.46": aug.contrast(image, 0.46),
        "contrast_1.9": aug.contrast(image, 1.9),
        "brightness_0.46": aug.brightness(image, 0.46),
        "brightness_1.9": aug.brightness(image, 1.9),
        "sharpness_0.46": aug.sharpness(image, 0.46),
        "sharpness_1.54": aug.sharpness(image, 1.54),
    }.items():
        Image.fromarray(result.numpy()).save(ROOT / f"autoaugment_{name}.png", optimize=True)
    cases = []
    for name, (picture, moved) in {
        "rotate_24": aug.rotate_with_bboxes(image, normal, 24.0, GREY),
        "rotate_-9": aug.rotate_with_bboxes(image, normal, -9.0, GREY),
        "translate_x_7": aug.translate_bbox(image, normal, 7.0, GREY, True),
        "translate_y_-5": aug.translate_bbox(image, normal, -5.0, GREY, False),
        "shear_x_0.24": aug.shear_with_bboxes(image, normal, 0.24, GREY, True),
        "shear_y_-0.18": aug.shear_with_bboxes(image, normal, -0.18, GREY, False),
    }.items():
        Image.fromarray(picture.numpy()).save(ROOT / f"autoaugment_{name}.png", optimize=True)
        scaled = moved.numpy() * np.array([height, width, height, width], np.float32)
        cases.append({"name": name, "boxes": scaled.tolist()})
    policies = {name: getattr(aug, f"policy_{name}")() for name in ["v0", "v1", "v2", "v3"]}
    (ROOT / "autoaugment.json").write_text(json.dumps({"source": boxes, "cases": cases, "policies": policies}) + "\n")


if __name__ == "__main__":
    main()
