"""Makes crates/effdet-data/tests/fixtures/formats: a tiny data set in each label format, with every kind of dirt.

    python tools/golden/make_formats.py

Pinned: Pillow 13.0.0. The pictures are flat colours; nothing is random.

    coco/         two instances files: train with dirt, val clean (gaps in the category ids, a crowd, a negative)
    coco_zero/    a category with id 0, and two files that use the same picture ids
    voc/          swapped and fractional corners, parts, an entity, flag lists, pictures and labels without each other
    voc_devkit/   VOC2007 and VOC2012 side by side
    pets/         lists with gaps, a breed with `_` in it, unlabelled, unlisted and missing pictures
    via/          version 1 (regions as a map) and a version 2 project, all shapes
    open_images/  two splits, class descriptions, hierarchy, decimal commas, group-of
    yolo/         data.yaml with a map of names, polygons, a negative, labels without picture
    yolo_bare/    images, labels and classes.txt alone
    csv/          a table with a header, and one without
"""

import json
import shutil
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2] / "crates" / "effdet-data" / "tests" / "fixtures" / "formats"


def picture(path, size=(40, 30), form=None):
    path = ROOT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (size[0] * 5 % 256, size[1] * 7 % 256, 90)).save(path, form)


def text(path, content):
    path = ROOT / path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="\n")


def coco():
    for name in ("a.png", "b.jpg", "size.png"):
        picture(f"coco/train/{name}")
    picture("coco/train/is_png.jpg", form="PNG")
    (ROOT / "coco/train/broken.png").write_bytes((ROOT / "coco/train/a.png").read_bytes()[:20])
    size = {"width": 40, "height": 30}
    images = [
        {"id": 1, "file_name": "a.png", **size},
        {"id": 2, "file_name": "b.jpg", **size},
        {"id": 3, "file_name": "absent.png", **size},
        {"id": 4, "file_name": "is_png.jpg", **size},
        {"id": 1, "file_name": "a.png", **size},
        {"id": "5", "file_name": "size.png", "width": 30, "height": 40},
        {"id": 6, "file_name": "broken.png", **size},
    ]

    def box(number, image, category, bbox, **more):
        area = bbox[2] * bbox[3] if len(bbox) == 4 else 0
        return {"id": number, "image_id": image, "category_id": category, "bbox": bbox, "area": area, "iscrowd": 0,
                "segmentation": [[1, 2, 3.5, 4, 5, 6]], **more}

    annotations = [
        box(10, 1, 1, [2, 3, 10, 12]),
        box(11, 1, 1, [35, 25, 10, 12]),
        box(12, 1, 1, [50, 5, 10, 12]),
        box(13, 1, 1, [5, 5, 0, 12]),
        box(14, 1, 7, [20, 20, -10, -8]),
        box(15, 1, 1, [float("nan"), 5, float("inf"), 12]),
        box(10, 2, 1, [5, 5, 6, 7]),
        box(16, 2, 8, [5, 5, 6, 7]),
        box(17, 99, 1, [5, 5, 6, 7]),
        box(18, "2", 7, [20, 5, 6, 7]),
        {"id": 19, "image_id": 2, "category_id": 1},
        box(20, 2, 7, [20.1, 5, 6, 7]),
        box(21, 2, 1, [1, 2, 3]),
        box(22, 5, 1, [1, 2, 3, 4], ignore=1),
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 7, "name": "polar bear"}, {"id": 7, "name": "lynx"}]
    content = {"info": {"note": "a \"brace\" } and a \\ in a string"}, "annotations": annotations,
               "images": images, "categories": categories}
    text("coco/annotations/instances_train.json", json.dumps(content, indent=1))

    for name in ("c.png", "d.png"):
        picture(f"coco/val/{name}")
    images = [{"id": 101, "file_name": "c.png", **size}, {"id": 102, "file_name": "d.png", **size}]
    crowd = {"counts": [5, 10, 1185], "size": [30, 40]}
    annotations = [box(1, 101, 7, [1.5, 2.25, 10, 12]), box(2, 101, 1, [0, 0, 40, 30], iscrowd=1, segmentation=crowd)]
    categories = [{"id": 1, "name": "cat"}, {"id": 7, "name": "polar bear"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    text("coco/annotations/instances_val.json", json.dumps(content, separators=(",", ":")))

    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    for split, category in (("train", 0), ("val", 1)):
        picture(f"coco_zero/{split}/{split}.png")
        images = [{"id": 1, "file_name": f"{split}.png", **size}]
        content = {"images": images, "annotations": [box(1, 1, category, [1, 2, 3, 4])], "categories": categories}
        text(f"coco_zero/{split}/_annotations.coco.json", json.dumps(content))


def xml(filename, objects, size=(40, 30)):
    lines = ["<annotation>", f"\t<filename>{filename}</filename>"]
    if size:
        lines.append(f"\t<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    for name, corners, more in objects:
        tags = "".join(f"<{t}>{v}</{t}>" for t, v in zip(("xmin", "ymin", "xmax", "ymax"), corners))
        lines.append(f"\t<object><name>{name}</name>{more}<bndbox>{tags}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])


def voc():
    for name in ("001.png", "002.jpg", "003.png", "005.png"):
        picture(f"voc/JPEGImages/{name}")
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    text("voc/Annotations/001.xml", xml("001.png", [
        ("cat", (3, 4, 12, 15), "<difficult>1</difficult><truncated>1</truncated>" + part),
        ("salt &amp; pepper", (1, 1, 40, 30), "<occluded>1</occluded>"),
        ("cat", (20.5, 10.25, 30.75, 20), ""),
    ]))
    text("voc/Annotations/002.xml", xml("somewhere\\else\\002.jpg", [
        ("cat", (30, 20, 10, 5), ""),
        ("cat", (7, 7, 7, 9), ""),
        ("cat", (0, 5, 20, 31), ""),
        ("cat", ("x", 5, 20, 21), ""),
    ], size=None))
    text("voc/Annotations/003.xml", xml("", []))
    text("voc/Annotations/004.xml", xml("004.png", [("cat", (3, 4, 12, 15), "")]))
    text("voc/Annotations/._001.xml", "no XML: a file that macOS leaves behind")
    text("voc/ImageSets/Main/train.txt", "001\n002\n")
    text("voc/ImageSets/Main/val.txt", "003\n006\n")
    text("voc/ImageSets/Main/cat_train.txt", "001  1\n002 -1\n")

    for year, stem, name in (("VOC2007", "000001", "dog"), ("VOC2012", "2008_000001", "cat")):
        picture(f"voc_devkit/{year}/JPEGImages/{stem}.png")
        text(f"voc_devkit/{year}/Annotations/{stem}.xml", xml(f"{stem}.png", [(name, (3, 4, 12, 15), "")]))
        text(f"voc_devkit/{year}/ImageSets/Main/trainval.txt", f"{stem}\n")


def pets():
    for name in ("Bengal_1", "Bengal_2", "american_bulldog_10", "american_bulldog_11", "Bengal_30", "Bengal_99"):
        picture(f"pets/images/{name}.jpg")
    picture("pets/images/american_bulldog_12.jpg", form="GIF")
    for name, species in (("Bengal_1", "cat"), ("american_bulldog_10", "dog"), ("american_bulldog_12", "dog")):
        text(f"pets/annotations/xmls/{name}.xml", xml(f"{name}.jpg", [(species, (3, 4, 12, 15), "")]))
    picture("pets/annotations/trimaps/Bengal_1.png")
    text("pets/annotations/._trimaps", "a file that macOS leaves behind")
    trainval = ["Bengal_1 6 1 2", "Bengal_2 6 1 2", "american_bulldog_10 2 2 1", "american_bulldog_12 2 2 1",
                "american_bulldog_13 2 2 1"]
    test = ["Bengal_30 6 1 2", "american_bulldog_11 2 2 1"]
    comment = ["#Image CLASS-ID SPECIES BREED ID"]
    for name, lines in (("list", comment + trainval + test), ("trainval", trainval), ("test", test)):
        text(f"pets/annotations/{name}.txt", "\n".join(lines) + "\n")


def via():
    for name in ("a.png", "b.png"):
        picture(f"via/{name}")
    rect = {"name": "rect", "x": 2, "y": 3, "width": 10, "height": 12}
    polygon = {"name": "polygon", "all_points_x": [5, 20, 12], "all_points_y": [6, 4, 25]}
    regions = {"0": {"shape_attributes": rect, "region_attributes": {"label": "cat"}},
               "1": {"shape_attributes": polygon, "region_attributes": {"label": "dog"}}}
    first = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {}}}
    text("via/v1.json", json.dumps(first))
    shapes = [
        ({"name": "circle", "cx": 10, "cy": 12, "r": 4}, {"cat": True, "dog": False}),
        ({"name": "ellipse", "cx": 20, "cy": 12, "rx": 6, "ry": 3, "theta": 0}, "dog"),
        ({"name": "point", "cx": 20, "cy": 12}, "dog"),
        ({"name": "rect", "x": 2, "y": 3, "width": -5, "height": 12}, "dog"),
        ({"name": "spiral"}, "dog"),
        (rect, ""),
    ]
    regions = [{"shape_attributes": s, "region_attributes": {"animal": a}} for s, a in shapes]
    project = {"_via_settings": {}, "_via_img_metadata": {
        "b": {"filename": "b.png", "size": 5, "regions": regions},
        "c": {"filename": "absent.png", "size": 5, "regions": []}}}
    text("via/v2.json", json.dumps(project, indent=1))


def open_images():
    for name in ("train/0a.png", "train/0b.png", "train/0c.png", "validation/1/1a.png"):
        picture(f"open_images/{name}")
    text("open_images/class-descriptions-boxable.csv", "/m/x,Animal\n/m/y,Cat\n/m/z,\"Bear, polar\"\n")
    hierarchy = {"LabelName": "/m/0bl9f", "Subcategory": [
        {"LabelName": "/m/x", "Subcategory": [{"LabelName": "/m/y"}, {"LabelName": "/m/z"}]}]}
    text("open_images/bbox_labels_600_hierarchy.json", json.dumps(hierarchy))
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    text("open_images/train-annotations-bbox.csv", "\n".join([
        header,
        "0a,xclick,/m/y,1,0.1,0.5,0.2,0.8,0,1,0,0,-1",
        "0a,xclick,/m/z,1,0,1,0,1,1,0,1,1,1",
        "0b,xclick,/m/y,1,0.5,0.25,0.2,0.8,0,0,0,0,0",
        "0b,xclick,/m/q,1,0.5,0.75,0.2,0.8,0,0,0,0,0",
        "0b,xclick,/m/y,1,nan,0.75,0.2,,0,0,0,0,0",
        "0z,xclick,/m/y,1,0.5,0.75,0.2,0.8,0,0,0,0,0",
    ]) + "\n")
    text("open_images/validation-annotations-bbox.csv", "\n".join([
        "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf", '1a.png,/m/x,"0,25","0,5","0,5","1,5",0']) + "\n")


def yolo():
    for name in ("train/a.png", "train/b.png", "val/c.png", "val/a.png"):
        picture(f"yolo/images/{name}")
    text("yolo/data.yaml", "# where it is\npath: ../nowhere\ntrain: images/train\nval: [images/val]\ntest:\n"
         "nc: 3\nnames:\n  0: cat\n  1: \"polar bear\"\n  4: 'dog'\n")
    text("yolo/labels/train/a.txt", "0 0.5 0.5 0.25 0.5\n4 0.1 0.1 0.2 0.2 0.3 0.1 0.25 0.4\n\n1 0.9 0.9 0.4 0.1\n")
    text("yolo/labels/train/z.txt", "0 0.5 0.5 0.25 0.5\n")
    text("yolo/labels/val/c.txt", "0 0.5 0.5 0.25\n7 0.5 0.5 0.25 0.5\ncat 0.5 0.5 0.25 0.5\n0 0.5 0.5 0 0.5\n"
         "1 0.5 0.5 nan 0.5\n1 0.5 0.5 0.5 0.5\n")
    text("yolo/labels/val/a.txt", "")
    picture("yolo_bare/images/a.png")
    text("yolo_bare/labels/a.txt", "1 0.5 0.5 0.25 0.5\n")
    text("yolo_bare/classes.txt", "cat\ndog\n")


def csv():
    for name in ("a.png", "b.png"):
        picture(f"csv/images/{name}")
    text("csv/train.csv", "\n".join([
        "image,class,x1,x2,y1,y2,width,height,is_crowd,difficult,area",
        "a.png,cat,2,12,3,15,40,30,0,1,99.5",
        'a.png,"polar bear, large",0,40,0,30,40,30,true,0,',
        "b.png,,,,,,40,30,,,",
        "absent.png,cat,2,12,3,15,40,30,0,0,",
        ',cat,2,12,3,15,40,30,0,0,',
    ]) + "\n")
    text("csv/headless/val.csv", "b.png,2,3,12,15,cat\na.png,,,,,\n")


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    for make in (coco, voc, pets, via, open_images, yolo, csv):
        make()
