"""Writes crates/effdet-weights/data/registry.toml: where every published set of weights is, and what it is.

Pinned: timm 1.0.31, effdet 0.4.1, Python 3.11.
Run from the repository root: python tools/registry/make_registry.py

Facts only: addresses, hashes, preprocessing and licences as the two packages state them. What they do not state is in
the tables below, with its source.
"""

from importlib.metadata import version
from pathlib import Path

import timm
from effdet.config.model_config import efficientdet_model_param_dict, get_efficientdet_config
from timm.models._registry import _model_default_cfgs
from timm.models import is_model, list_models

OUT = Path("crates/effdet-weights/data/registry.toml")

# Average precision on COCO val2017 in percent: README.md of effdet 0.4.1.
COCO_AP = {
    "efficientdet_d0": 33.6, "efficientdet_d1": 39.4, "efficientdetv2_dt": 46.1, "efficientdetv2_ds": 50.1,
    "resdet50": 41.6, "cspresdet50": 43.2, "cspresdext50pan": 41.2, "cspdarkdet53m": 45.2, "efficientdet_q0": 35.7,
    "efficientdet_q1": 40.9, "efficientdet_q2": 43.1, "tf_efficientdet_d0": 34.2, "tf_efficientdet_d1": 40.1,
    "tf_efficientdet_d2": 43.4, "tf_efficientdet_d3": 47.1, "tf_efficientdet_d4": 49.2, "tf_efficientdet_d5": 51.2,
    "tf_efficientdet_d6": 52.0, "tf_efficientdet_d7": 53.1, "tf_efficientdet_d7x": 54.3, "tf_efficientdet_d0_ap": 34.8,
    "tf_efficientdet_d1_ap": 40.8, "tf_efficientdet_d2_ap": 44.2, "tf_efficientdet_d3_ap": 47.7,
    "tf_efficientdet_d4_ap": 50.2, "tf_efficientdet_d5_ap": 52.1, "tf_efficientdet_lite0": 27.1,
    "tf_efficientdet_lite1": 32.2, "tf_efficientdet_lite2": 35.9, "tf_efficientdet_lite3": 39.6,
    "tf_efficientdet_lite3x": 43.6, "tf_efficientdet_lite4": 44.2,
}
# Bytes and SHA-256 of release files that someone has published in full: LibreYOLO, provenance of EfficientDet,
# downloaded from the release on 2026-08-03. The first digits agree with the names of the files.
PUBLISHED = {
    "tf_efficientdet_d0_34-f153e0cf.pth": (15839413, "f153e0cfe3c987981ab2d02ce32c8a5fa0b4092bc97abcf95c887e2e05bd4003"),
    "tf_efficientdet_d1_40-a30f94af.pth": (26957295, "a30f94afc3326a6ef7a61c1657baefe3ea7168139006fbf0fe41807260b885b8"),
    "tf_efficientdet_d2_43-8107aa99.pth": (32896078, "8107aa9988942c88b909158e14de3319870d64e75bacbe4806c3b84aa8c700e3"),
    "tf_efficientdet_d3_47-0b525f35.pth": (48799941, "0b525f352fea3c768fd1a3cc885f1016d24d1b99cf299e8861e784a4ec2f0eff"),
    "tf_efficientdet_d4_49-f56376d9.pth": (83812262, "f56376d93b7f0a5e75eb7d6a54ab6a767c230d4bcb2d44510392f53c781f40a0"),
}
# What a part of a timm tag says about the training data.
DATA = [
    ("in12k_ft_in1k", "ImageNet-12k, then ImageNet-1k"), ("in21k_ft_in1k", "ImageNet-21k, then ImageNet-1k"),
    ("ns_jft_in1k", "ImageNet-1k, and JFT-300M labelled by a teacher (Noisy Student)"),
    ("fb_ssl_yfcc100m_ft_in1k", "YFCC-100M (semi-supervised), then ImageNet-1k"),
    ("fb_swsl_ig1b_ft_in1k", "1 billion Instagram pictures (semi-weakly supervised), then ImageNet-1k"),
    ("in12k", "ImageNet-12k"), ("in21k", "ImageNet-21k"), ("in1k", "ImageNet-1k"),
]
LICENCES = {"apache-2.0": "Apache-2.0", "bsd-3-clause": "BSD-3-Clause", "cc-by-nc-4.0": "CC-BY-NC-4.0"}
CSP_AND_RESNET = ["resnet50", "cspresnet50", "cspresnext50", "cspdarknet53"]


def text(value):
    assert '"' not in value and "\\" not in value
    return f'"{value}"'


def number(value):
    return repr(round(float(value), 7))


def row(lines, key, value):
    if value is None:
        return
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, str):
        value = text(value)
    elif isinstance(value, float):
        value = number(value)
    elif isinstance(value, (tuple, list)):
        value = "[" + ", ".join(number(v) if isinstance(v, float) else str(v) for v in value) + "]"
    lines.append(f"{key} = {value}")


def hash_in_name(url):
    """The first digits of the SHA-256 where the file's name carries them, as torch.hub reads it."""
    stem = url.rsplit("/", 1)[1].rsplit(".", 1)[0]
    if stem.endswith(".pth"):
        stem = stem[: -len(".pth")]
    digits = stem.rsplit("-", 1)[-1]
    return digits if "-" in stem and len(digits) >= 8 and set(digits) <= set("0123456789abcdef") else None


def detectors():
    for name in efficientdet_model_param_dict:
        config = get_efficientdet_config(name)
        if not config.url:
            continue
        file = config.url.rsplit("/", 1)[1]
        size, digest = PUBLISHED.get(file, (None, None))
        fill = config.get("fill_color", None)
        lines = ["", "[[detector]]"]
        row(lines, "name", name)
        row(lines, "url", config.url)
        row(lines, "hash", digest or hash_in_name(config.url))
        row(lines, "bytes", size)
        row(lines, "licence", "Apache-2.0")
        row(lines, "licence_of", "the repository that releases it; the file itself states none")
        row(lines, "trained_on", "COCO train2017")
        row(lines, "class_map", "coco")
        row(lines, "image_size", list(config.image_size))
        row(lines, "mean", tuple(float(v) for v in config.get("mean", None) or (0.485, 0.456, 0.406)))
        row(lines, "std", tuple(float(v) for v in config.get("std", None) or (0.229, 0.224, 0.225)))
        row(lines, "interpolation", "bilinear")
        row(lines, "fill", str(fill) if fill is not None else "mean")
        row(lines, "published_ap", COCO_AP[name])
        yield "\n".join(lines)


def backbones():
    names = sorted(set(list_models(module="efficientnet") + list_models(module="mobilenetv3") + list_models(module="hardcorenas")))
    for name in names + CSP_AND_RESNET:
        assert is_model(name)
        default = _model_default_cfgs[name]
        # Weights without a stated licence (resnet50.bamboo) are left out.
        usable = [(tag, cfg) for tag, cfg in default.cfgs.items() if cfg.has_weights and cfg.license]
        for index, (tag, cfg) in enumerate(usable):
            assert cfg.hf_hub_id == "timm/" and not cfg.hf_hub_filename and not cfg.custom_load, name
            lines = ["", "[[backbone]]"]
            row(lines, "name", f"{name}.{tag}" if tag else name)
            row(lines, "default", index == 0 or None)
            row(lines, "hub", f"timm/{name}.{tag}" if tag else f"timm/{name}")
            row(lines, "hub_hash", "from-hub")
            # An address whose file nothing could be compared with is no source.
            digits = hash_in_name(cfg.url) if cfg.url else None
            row(lines, "url", cfg.url if digits else None)
            row(lines, "hash", digits)
            row(lines, "licence", LICENCES[cfg.license])
            row(lines, "trained_on", next(said for part, said in DATA if part in tag))
            row(lines, "classes", cfg.num_classes)
            row(lines, "image_size", list(cfg.input_size[1:]))
            row(lines, "mean", tuple(float(v) for v in cfg.mean))
            row(lines, "std", tuple(float(v) for v in cfg.std))
            row(lines, "interpolation", cfg.interpolation)
            yield "\n".join(lines)


def main():
    header = (
        "# Written by tools/registry/make_registry.py from timm " + timm.__version__ + " and effdet " + version("effdet")
        + "; WEIGHTS.md is made from it (cargo xtask weights-md).\n"
        "# Sources in order: the Hub repository (model.safetensors at `main`) where the publisher keeps one, then `url`. No\n"
        "# detector has a first-party Hub repository. `hash` is that of the file at `url`: its SHA-256, or the first digits of it\n"
        "# that the file's name carries. `from-hub`: checked with the SHA-256 that the Hub states, and recorded at download.\n"
    )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(header + "\n".join([*detectors(), *backbones()]).replace("\n\n\n", "\n\n") + "\n")


if __name__ == "__main__":
    main()
