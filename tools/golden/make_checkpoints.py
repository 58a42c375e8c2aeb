"""Writes the checkpoints of crates/effdet-weights/tests/fixtures.

Pinned: torch 2.9.0, numpy 2.x, Python 3.11.
Run from the repository root: python tools/golden/make_checkpoints.py

The legacy files hold memory addresses as storage keys, so they differ in bytes
(not in content) from run to run. Element i of the tensor called n is (len(n) + i) / 8, exact in every float type.
None of the hostile files is ever unpickled here.
"""

import argparse
import io
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch

OUT = Path("crates/effdet-weights/tests/fixtures")
SHAPES = {
    "conv_stem.weight": (4, 3, 3, 3),
    "bn1.weight": (4,),
    "bn1.bias": (4,),
    "bn1.running_mean": (4,),
    "bn1.running_var": (4,),
    "blocks.0.0.conv_dw.weight": (4, 1, 3, 3),
    "blocks.0.1.conv_pw.weight": (2, 4, 1, 1),
    "stages_0.weight": (2, 2),
}


def tensor(name, dtype=torch.float32):
    shape = SHAPES[name]
    count = torch.Size(shape).numel()
    return ((torch.arange(count) + len(name)) / 8).reshape(shape).to(dtype)


def state_dict(prefix="", dtype=torch.float32, shift=0.0):
    state = OrderedDict((prefix + name, tensor(name, dtype) + shift) for name in SHAPES)
    state[prefix + "bn1.num_batches_tracked"] = torch.tensor(7)
    return state


def training():
    return {
        "epoch": 3,
        "arch": "tiny",
        "args": argparse.Namespace(lr=0.1, opt="momentum", sizes=[1, 2], root=None),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(4)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "metric": 0.5,
        "state_dict": state_dict("module.", shift=1.0),
        "state_dict_ema": state_dict("module._orig_mod."),
    }


def mixed():
    base = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return {
        "f64": base.double() / 8,
        "f16": base.half() / 8,
        "bf16": base.bfloat16() / 8,
        "i64": base.long() - 3,
        "i32": base.int() - 3,
        "i16": base.short() - 3,
        "i8": base.char() - 3,
        "u8": base.byte(),
        "bool": base > 2,
        "transposed": base.t(),
        "scalar": torch.tensor(0.5),
        "channels_last": torch.arange(16.0).reshape(1, 2, 2, 4).contiguous(memory_format=torch.channels_last),
    }


def write_tar(path, state):
    """The layout of torch.save before 0.1.10, which no torch still writes."""
    types = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}
    storages, tensors, keys = io.BytesIO(), io.BytesIO(), {}
    pickle.dump(len(state), storages, protocol=2)
    pickle.dump(len(state), tensors, protocol=2)
    for index, value in enumerate(state.values()):
        keys[id(value)] = 1000 + index
        pickle.dump((index, "cpu", types[value.dtype]), storages, protocol=2)
        storages.write(struct.pack("<q", value.numel()))
        storages.write(value.contiguous().numpy().tobytes())
        pickle.dump((1000 + index, index, torch.FloatTensor), tensors, protocol=2)
        tensors.write(struct.pack("<ii", value.dim(), 0))
        tensors.write(struct.pack(f"<{value.dim()}q", *value.shape))
        tensors.write(struct.pack(f"<{value.dim()}q", *value.stride()))
        tensors.write(struct.pack("<q", 0))
    pickle.dump([], storages, protocol=2)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return str(keys[id(value)]) if isinstance(value, torch.Tensor) else None

    main = io.BytesIO()
    Pickler(main, protocol=2).dump(state)
    info = pickle.dumps({"protocol_version": 1000, "little_endian": True, "type_sizes": {}}, protocol=2)
    parts = {"sys_info": info, "pickle": main.getvalue(), "tensors": tensors.getvalue(), "storages": storages.getvalue()}
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def write_sparse_tar(path):
    """An entry that holds nothing and expands to eight gigabytes of zeros."""
    size = 8**11 - 1
    entry = tarfile.TarInfo("storages")
    header = bytearray(entry.tobuf(format=tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:398] = b"%011o\0" % size  # offset of the first stretch of data
    header[398:410] = b"%011o\0" % 0  # its length
    header[483:495] = b"%011o\0" % size  # size once expanded
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + bytes(1024))


COMMAND = "echo ran > effdet-weights-hostile-pickle-ran"


def malicious_object():
    """The opcodes of os.system(COMMAND), protocol 2."""
    return b"cposix\nsystem\n" + b"X" + struct.pack("<i", len(COMMAND)) + COMMAND.encode() + b"\x85R"


def write_malicious_zip(path):
    """A sound state dict with one more value, which unpickling with Python computes by running a command."""
    sound = io.BytesIO()
    torch.save(state_dict(), sound)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                assert data.endswith(b".")
                # The dictionary is on top of the stack: one more key and value, and the end again.
                data = data[:-1] + b"X\x04\x00\x00\x00evil" + malicious_object() + b"s."
            target.writestr(zipfile.ZipInfo(name), data)


def write_bomb(path):
    """A zip whose storage decompresses to a thousand times the file."""
    sound = io.BytesIO()
    torch.save({"weight": torch.zeros(2**21)}, sound)
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, source.read(name))


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state_dict(), folder / "zip.pth")
    torch.save(state_dict(), folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(state_dict(dtype=torch.float16), folder / "half.pth")
    torch.save(training(), folder / "training.pth.tar")
    torch.save(training(), folder / "training_legacy.pth.tar", _use_new_zipfile_serialization=False)
    bench = state_dict("model.")
    bench["anchors.boxes"] = torch.zeros(5, 4)
    torch.save(bench, folder / "bench.pth")
    torch.save(mixed(), folder / "mixed.pth")
    write_tar(folder / "tar.pth", state_dict())
    torch.save({"weight": torch.zeros(1).expand(2**31)}, folder / "hostile_expanded.pth")
    write_malicious_zip(folder / "hostile_code.pth")
    (folder / "hostile_code.pkl").write_bytes(b"\x80\x02" + malicious_object() + b".")
    write_bomb(folder / "hostile_deflated.pth")
    write_sparse_tar(folder / "hostile_sparse.tar")


if __name__ == "__main__":
    main(OUT)
