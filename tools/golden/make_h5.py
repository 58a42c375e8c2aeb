"""Writes crates/effdet-weights/tests/fixtures/keras.h5: variables of the official implementation as Keras stores them.

Pinned: h5py 3.16.0, numpy 1.26, Python 3.11.
Run from the repository root: python tools/golden/make_h5.py
With `--full FILE STATE_DICT.npz` it writes all tensors of a detector (names of effdet in the archive) instead, which
`effdet weights convert` must turn back into them.

Element i of a variable is i / 8.
"""

import argparse
import re
from pathlib import Path

import h5py
import numpy as np

OUT = Path("crates/effdet-weights/tests/fixtures/keras.h5")
VARIABLES = {
    "efficientnet-b0/stem/conv2d/kernel": (3, 3, 3, 4),
    "efficientnet-b0/blocks_0/depthwise_conv2d/depthwise_kernel": (3, 3, 4, 1),
    "efficientnet-b0/blocks_0/tpu_batch_normalization/moving_variance": (4,),
    "efficientnet-b0/head/dense/kernel": (4, 10),
    "resample_p6/conv2d/bias": (2,),
    "fpn_cells/cell_0/fnode0/WSM": (),
    "fpn_cells/cell_0/fnode0/WSM_1": (),
    "fpn_cells/cell_0/fnode0/op_after_combine5/conv/pointwise_kernel": (1, 1, 2, 3),
    "class_net/class-0-bn-3/gamma": (2,),
    "class_net/class-predict/bias": (18,),
}
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
CONV = {"conv_dw.weight": "depthwise_kernel", "conv_pw.weight": "pointwise_kernel", "conv_pw.bias": "bias"}
# Maps in the list when a node is reached: the five levels and the nodes before it.
B0_REPEATS = (1, 2, 2, 3, 3, 4, 1)


def write(path, variables):
    with h5py.File(path, "w") as file:
        for name, value in variables.items():
            root = name.split("/")[0]
            file.create_dataset(f"{root}/{name}:0", data=value)
            file[root].attrs["weight_names"] = np.array([name.encode()])


def block(index, stage, rest):
    place = f"efficientnet-b0/blocks_{index}"
    if rest.startswith("se."):
        _, layer, field = rest.split(".")
        return f"{place}/se/{'conv2d' if layer == 'conv_reduce' else 'conv2d_1'}/{'kernel' if field == 'weight' else 'bias'}"
    layer, field = rest.split(".")
    if layer.startswith("bn"):
        number = int(layer[2:]) - 1
        return f"{place}/tpu_batch_normalization{f'_{number}' if number else ''}/{NORM[field]}"
    if layer == "conv_dw":
        return f"{place}/depthwise_conv2d/depthwise_kernel"
    return f"{place}/{'conv2d_1' if layer == 'conv_pwl' else 'conv2d'}/kernel"


def variable(name):
    """The official name of a tensor of tf_efficientdet_d0, written from google/automl's layer names."""
    if match := re.fullmatch(r"backbone\.conv_stem\.weight", name):
        return "efficientnet-b0/stem/conv2d/kernel"
    if match := re.fullmatch(r"backbone\.bn1\.(\w+)", name):
        return f"efficientnet-b0/stem/tpu_batch_normalization/{NORM[match[1]]}"
    if match := re.fullmatch(r"backbone\.blocks\.(\d)\.(\d)\.(.+)", name):
        stage = int(match[1])
        return block(sum(B0_REPEATS[:stage]) + int(match[2]), stage, match[3])
    if match := re.fullmatch(r"fpn\.resample\.(\d)\.conv\.(conv|bn)\.(\w+)", name):
        return projection(f"resample_p{int(match[1]) + 3}", match[2], match[3])
    if match := re.fullmatch(r"fpn\.cell\.(\d)\.fnode\.(\d)\.combine\.resample\.(\d+)\.conv\.(conv|bn)\.(\w+)", name):
        edge = f"resample_0_{match[3]}_{5 + int(match[2])}"
        return projection(f"fpn_cells/cell_{match[1]}/fnode{match[2]}/{edge}", match[4], match[5])
    if match := re.fullmatch(r"fpn\.cell\.(\d)\.fnode\.(\d)\.after_combine\.conv\.(.+)", name):
        place = f"fpn_cells/cell_{match[1]}/fnode{match[2]}/op_after_combine{5 + int(match[2])}"
        rest = match[3]
        return f"{place}/bn/{NORM[rest[3:]]}" if rest.startswith("bn.") else f"{place}/conv/{CONV[rest]}"
    if match := re.fullmatch(r"(class|box)_net\.conv_rep\.(\d)\.(.+)", name):
        return f"{match[1]}_net/{match[1]}-{match[2]}/{CONV[match[3]]}"
    if match := re.fullmatch(r"(class|box)_net\.bn_rep\.(\d)\.(\d)\.bn\.(\w+)", name):
        return f"{match[1]}_net/{match[1]}-{match[2]}-bn-{int(match[3]) + 3}/{NORM[match[4]]}"
    if match := re.fullmatch(r"(class|box)_net\.predict\.(.+)", name):
        return f"{match[1]}_net/{match[1]}-predict/{CONV[match[2]]}"
    raise ValueError(name)


def projection(place, layer, field):
    if layer == "bn":
        return f"{place}/bn/{NORM[field]}"
    return f"{place}/conv2d/{'kernel' if field == 'weight' else 'bias'}"


def full(path, archive):
    variables = {}
    for name, value in np.load(archive).items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("edge_weights"):
            match = re.fullmatch(r"fpn\.cell\.(\d)\.fnode\.(\d)\.combine\.edge_weights", name)
            for edge, weight in enumerate(value):
                wsm = "WSM" + (f"_{edge}" if edge else "")
                variables[f"fpn_cells/cell_{match[1]}/fnode{match[2]}/{wsm}"] = weight
            continue
        target = variable(name)
        if value.ndim == 4:
            depthwise = target.endswith("depthwise_kernel")
            value = value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)
        variables[target] = value
    write(path, variables)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", nargs=2)
    arguments = parser.parse_args()
    if arguments.full:
        return full(*arguments.full)
    write(OUT, {name: np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) / 8 for name, shape in VARIABLES.items()})


if __name__ == "__main__":
    main()
