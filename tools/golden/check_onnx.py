"""Exports every detector with synthetic weights, runs the files under ONNX Runtime and OpenVINO, compares with this
project's own outputs and detections, and writes the tables of docs/onnx.md.

Made with onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 numpy==2.4.6 pillow==12.3.0 safetensors==0.8.0, Python 3.11.

    cargo build -p effdet-cli -p xtask
    python tools/golden/check_onnx.py [--binaries target/debug] [--results FILE] [--models NAME...]

Each file also passes onnx.checker with full shape inference. Results are kept in --results, so that a run goes on where it
stopped; the page is written once all detectors are there. The exit status is 1 if something differs.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
from PIL import Image, ImageDraw
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/onnx.md"
EXAMPLE = ROOT / "examples/onnx_detect.py"
DEMO = ROOT / "crates/effdet-cli/assets/demo.safetensors"
MARK = "<!-- written by tools/golden/check_onnx.py -->\n"
# As in docs/parity.md: in standard deviations of the tensor, and of 100 detections those that must have a partner.
BOUND, MATCHED = 1e-3, 0.98
OPSETS = range(14, 24)
OPSET_MODEL = "tf_efficientdet_d0"


def run(*command):
    ended = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{' '.join(ended.args)}\n{ended.stderr}")
    return ended.stdout


def runtime_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images})))


def openvino_session(path):
    core = openvino.Core()
    hint = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(path), "CPU", hint)
    names = [output.get_any_name() for output in compiled.outputs]
    return lambda images: dict(zip(names, compiled([images]).to_tuple()))


def deviation(found, expected, case):
    """The largest difference of logits and of box codes, in standard deviations of each."""
    worst = 0.0
    for name in ["class_logits", "box_deltas"]:
        ours = expected[f"{case}.{name}"].astype(np.float64)
        assert found[name].shape == ours.shape, f"{name} has shape {found[name].shape}, not {ours.shape}"
        assert np.isfinite(found[name]).all(), f"{name} is not finite"
        worst = max(worst, float(np.abs(found[name] - ours).max() / ours.std()))
    return worst


def overlap(a, b):
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    area = lambda box: (box[:, 2:] - box[:, :2]).prod(1)
    return both / np.maximum(area(a)[:, None] + area(b)[None] - both, 1e-9)


def matches(ours, theirs, score, iou):
    """How many of our detections have a partner: class equal, score close, and IoU or every edge within half a pixel."""
    close = (ours[:, None, 5] == theirs[None, :, 5]) & (np.abs(ours[:, None, 4] - theirs[None, :, 4]) <= score)
    same = overlap(ours[:, :4], theirs[:, :4]) >= iou
    same |= np.abs(ours[:, None, :4] - theirs[None, :, :4]).max(2) <= 0.5
    free, count = np.ones(len(theirs), bool), 0
    for row in close & same:
        partner = np.flatnonzero(row & free)
        if len(partner):
            free[partner[0]], count = False, count + 1
    return count


def detections(found, picture):
    """The rows that the file says are detections; what follows them must be zeros."""
    count = int(found["num_detections"][picture])
    columns = [found["boxes"][picture], found["scores"][picture][:, None], found["classes"][picture][:, None]]
    rows = np.concatenate(columns, 1)
    assert not rows[count:].any(), "padding is not zero"
    # They are ordered by logits; the sigmoid of a runtime is not monotonous in the last bit.
    assert (np.diff(rows[:count, 4]) <= 1e-6).all(), "scores do not fall"
    return rows[:count]


def matched(session, expected):
    """Detections of both pictures at once, and of the first alone, which must be the same."""
    images = expected["made_for.images"]
    both, alone = session(images), session(images[:1])
    count, total = 0, 0
    for picture in range(len(images)):
        ours = expected[f"made_for.detections.{picture}"]
        count, total = count + matches(ours, detections(both, picture), 1e-3, 0.99), total + len(ours)
    first = expected["made_for.detections.0"]
    lone = matches(first, detections(alone, 0), 1e-3, 0.99)
    assert lone >= MATCHED * len(first), f"alone, the first picture has {lone} of {len(first)}"
    return [count, total]


def check(model, binaries):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run(binaries / "xtask", "onnx-case", model, folder)
        expected = load_file(folder / "expected.safetensors")
        *_, height, width = expected["made_for.images"].shape
        export = [binaries / "effdet", "export", "--model", model, "--weights", folder / "weights.safetensors"]
        export += ["--image-size", f"{height}x{width}"]
        forms = {
            "logits": ["--batch", 2],
            "detections": ["--batch", "dynamic", "--nms"],
            "any_size": ["--batch", "dynamic", "--dynamic-size"],
        }
        result = {"size": f"{height}x{width}", "operators": []}
        for form, options in forms.items():
            path = folder / f"{form}.onnx"
            run(*export, *options, "--out", path)
            onnx.checker.check_model(str(path), full_check=True)
            operators = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
            result["operators"] = sorted(operators.union(result["operators"]))
            if form == "logits":
                result["megabytes"] = path.stat().st_size / 1e6
            for runtime, start in [("onnxruntime", runtime_session), ("openvino", openvino_session)]:
                session = start(path)
                if form == "detections":
                    result[f"{runtime}.detections"] = matched(session, expected)
                elif form == "logits":
                    result[f"{runtime}.logits"] = deviation(session(expected["made_for.images"]), expected, "made_for")
                else:
                    cases = ["made_for", "other"]
                    found = [deviation(session(expected[f"{case}.images"]), expected, case) for case in cases]
                    result[f"{runtime}.any_size"] = max(found)
                del session
            path.unlink()
        if model == OPSET_MODEL:
            result["opsets"] = opsets(export, folder, expected)
            result["example"] = example(folder, binaries)
        return result


def opsets(export, folder, expected):
    """Every operator set: the checker, and both forms under ONNX Runtime."""
    found = {}
    for opset in OPSETS:
        path = folder / "opset.onnx"
        run(*export, "--batch", 2, "--opset", opset, "--out", path)
        onnx.checker.check_model(str(path), full_check=True)
        logits = deviation(runtime_session(path)(expected["made_for.images"]), expected, "made_for")
        run(*export, "--batch", "dynamic", "--nms", "--opset", opset, "--out", path)
        onnx.checker.check_model(str(path), full_check=True)
        found[opset] = [logits, *matched(runtime_session(path), expected)]
    return found


def example(folder, binaries):
    """examples/onnx_detect.py beside `effdet predict`: a trained detector on a picture that is not square."""
    waves = np.sin(np.arange(190)[:, None, None] / [9, 17, 31] + np.arange(310)[None, :, None] / [23, 11, 13])
    scene = Image.fromarray(np.uint8(127.5 + 60 * waves))
    draw = ImageDraw.Draw(scene)
    draw.ellipse((20, 30, 90, 100), fill=(230, 60, 40))
    draw.rectangle((130, 60, 210, 120), fill=(40, 70, 220))
    draw.polygon([(250, 150), (290, 150), (270, 90)], fill=(250, 220, 30))
    picture = folder / "picture.png"
    scene.save(picture)
    file = folder / "example.onnx"
    run(binaries / "effdet", "export", "--weights", DEMO, "--nms", "--out", file)
    lines = run(sys.executable, EXAMPLE, file, picture).splitlines()
    rows = [line.split()[:6] for line in lines]
    theirs = np.array([[*row[1:5], row[0], row[5]] for row in rows], np.float64)
    # The file does not know where the picture ends.
    theirs[:, :4] = theirs[:, :4].clip(0, [310, 190, 310, 190])
    predict = [binaries / "effdet", "predict", picture, "--json", "-", "--score", "0.1", "--weights", DEMO]
    [image] = json.loads(run(*predict))["images"]
    ours = np.array([[*found["bbox"], found["score"], found["class_id"]] for found in image["detections"]])
    return [matches(ours, theirs, 1e-2, 0.9), len(ours)]


def is_equal(result):
    numbers = [result[f"{r}.{f}"] for r in ["onnxruntime", "openvino"] for f in ["logits", "any_size"]]
    pairs = [result[f"{r}.detections"] for r in ["onnxruntime", "openvino"]]
    for logits, count, total in result.get("opsets", {}).values():
        numbers, pairs = numbers + [logits], pairs + [[count, total]]
    pairs += [result["example"]] if "example" in result else []
    return max(numbers) <= BOUND and all(count >= MATCHED * total for count, total in pairs)


def page(results):
    equal = sum(map(is_equal, results.values()))
    worst = lambda key: max(result[key] for result in results.values())
    total = lambda key: " of ".join(str(sum(column)) for column in zip(*(r[key] for r in results.values())))
    operators = sorted({name for result in results.values() for name in result["operators"]})
    first = results[OPSET_MODEL]["opsets"]
    count, all_of_them = results[OPSET_MODEL]["example"]
    text = f"""
- {equal} of {len(results)} detectors equal in all forms and both runtimes
- ONNX Runtime {onnxruntime.__version__}: logits and box codes differ by at most {worst("onnxruntime.logits"):.1e} deviations,
  {worst("onnxruntime.any_size"):.1e} in the file for any size; {total("onnxruntime.detections")} detections matched
- OpenVINO {openvino.__version__.split("-")[0]}: {worst("openvino.logits"):.1e}, {worst("openvino.any_size"):.1e}; {total("openvino.detections")} detections matched
- `{OPSET_MODEL}` in operator sets {", ".join(map(str, first))} under ONNX Runtime: at most {max(v[0] for v in first.values()):.1e} deviations, at least
  {min(v[1] for v in first.values())} of {max(v[2] for v in first.values())} detections
- `examples/onnx_detect.py` with the demo's detector on a picture that is not square: {count} of {all_of_them} detections of `effdet
  predict` from a score of 0.1 on, scores within 0.01, and IoU at least 0.9 or half a pixel
- operators: {", ".join(f"`{name}`" for name in operators)}

| detector | size | file, MB | ONNX Runtime | any size | detections | OpenVINO | any size | detections |
|---|---|---|---|---|---|---|---|---|
"""
    for name, r in results.items():
        cells = [name, r["size"], f"{r['megabytes']:.1f}"]
        for runtime in ["onnxruntime", "openvino"]:
            cells += [f"{r[f'{runtime}.logits']:.1e}", f"{r[f'{runtime}.any_size']:.1e}"]
            cells += [" / ".join(map(str, r[f"{runtime}.detections"]))]
        text += "| " + " | ".join(cells) + " |\n"
    head, _, _ = PAGE.read_text().partition(MARK)
    program = EXAMPLE.read_text().split('"""')[2].strip()
    assert program in head, f"the program in {PAGE.name} is not {EXAMPLE.name}"
    text = re.sub(r"(?m) +$", "", text)
    PAGE.write_text(head + MARK + text)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/debug")
    parser.add_argument("--results", type=Path, default=ROOT / "target/onnx-results.json")
    parser.add_argument("--models", nargs="+")
    args = parser.parse_args()
    names = [row["name"] for row in json.loads(run(args.binaries / "effdet", "models", "--json"))]
    results = json.loads(args.results.read_text()) if args.results.exists() else {}
    for model in args.models or names:
        if model in results:
            continue
        start = time.time()
        results[model] = check(model, args.binaries)
        args.results.write_text(json.dumps(results, indent=1))
        shown = {key: value for key, value in results[model].items() if key not in ["operators", "opsets"]}
        print(model, "equal" if is_equal(results[model]) else "DIFFERS", f"{time.time() - start:.0f} s", shown, flush=True)
    if all(name in results for name in names):
        page({name: results[name] for name in names})
    sys.exit(not all(map(is_equal, results.values())))


if __name__ == "__main__":
    main()
