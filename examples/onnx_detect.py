"""Detections of a picture from a file that `effdet export --nms` wrote: python onnx_detect.py MODEL.onnx PICTURE

Needs onnxruntime, numpy and pillow.
"""
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
about = session.get_modelmeta().custom_metadata_map
read = lambda key: json.loads(about[f"effdet.{key}"])
(height, width), names = read("image_size"), read("class_names")
picture = Image.open(sys.argv[2]).convert("RGB")
scale = min(height / picture.height, width / picture.width)
small = picture.resize((int(picture.width * scale), int(picture.height * scale)), Image.BILINEAR)
canvas = Image.new("RGB", (width, height), tuple(read("fill_color")))
canvas.paste(small)
images = (np.float32(canvas) / 255 - np.float32(read("mean"))) / np.float32(read("std"))
count, boxes, scores, classes = session.run(None, {"images": images.transpose(2, 0, 1)[None]})
for box, score, label in zip(boxes[0][: count[0]] / scale, scores[0], classes[0]):
    print(f"{score:.4f}", *(f"{edge:.1f}" for edge in box), label, names[label - 1])
