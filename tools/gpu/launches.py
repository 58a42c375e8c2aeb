"""What a training step asks of a CUDA device, counted without one, and the processor time that asking takes.

    python tools/gpu/launches.py PROGRAM --nvrtc LIB [--cuda CUDA] [-- --model tf_efficientdet_d0 --batch 32]

PROGRAM is `effdet` built for CUDA with NVRTC (docs/devices.md, "CUDA without a way to GitHub"), LIB a folder with NVRTC's
libraries, CUDA one with CUDA's headers in `include`: those are in the wheels nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12 and
(`crt`) nvidia-cuda-nvcc-cu12.
`effdet bench --train` runs under the driver of `no_card.c` with few runs and with more; the difference is what a run takes: a
training step, and a detection beside it. Results are zeros there, so only what does not depend on them means something.
"""
import argparse
import collections
import glob
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FEW, MORE = 3, 13


def thread_times(pid):
    """Seconds of processor time of the threads of a process, by name."""
    times = collections.Counter()
    for path in glob.glob(f"/proc/{pid}/task/*/stat"):
        try:
            text = Path(path).read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2:].split()
        times[text[text.index("(") + 1:text.rindex(")")]] += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return times


def run(program, arguments, runs, folder, environment):
    log = Path(folder) / f"{runs}.log"
    process = subprocess.Popen([program, "bench", "--train", "--device", "cuda:0", "--runs", str(runs), *arguments], cwd=folder,
                               env=environment | {"NO_CARD_LOG": str(log)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    times = collections.Counter()
    while process.poll() is None:
        times |= thread_times(process.pid)
        time.sleep(0.05)
    out, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{program}: status {process.returncode}\n{errors[-2000:]}")
    counts = collections.Counter()
    with open(log, errors="replace") as lines:
        for line in lines:
            _, what, *rest = line.split()
            name = rest[0].rsplit("_", 1)[0] if what == "launch" else f"({what})"
            # Launched until the clock has moved far enough, when a process starts.
            counts[name] += not name.startswith("launch_overhead")
    return counts, times, out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--nvrtc", type=Path, required=True)
    parser.add_argument("--cuda", type=Path, default=Path("/usr/local/cuda"))
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:end])
    arguments = sys.argv[end + 1:] or ["--model", "tf_efficientdet_d0", "--batch", "32"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", f"{folder}/libcuda.so", Path(__file__).parent / "no_card.c"], check=True)
        for library in options.nvrtc.glob("libnvrtc.so.*"):
            Path(folder, "libnvrtc.so").symlink_to(library.resolve())
        environment = dict(os.environ) | {"CUDA_PATH": str(options.cuda.resolve()), "LD_LIBRARY_PATH": f"{folder}:{options.nvrtc.resolve()}"}
        program = options.program.resolve()
        run(program, arguments, 1, folder, environment)  # compiles kernels and keeps what it tried
        (few, few_times, _), (more, more_times, out) = (run(program, arguments, n, folder, environment) for n in (FEW, MORE))
    each = MORE - FEW
    print(out)
    print("processor time of a run, ms, waiting that spins among it:")
    for name, seconds in more_times.most_common():
        if (milliseconds := 1000 * (seconds - few_times[name]) / each) >= 1:
            print(f"  {milliseconds:7.1f} {name}")
    rows = [(count / each, name) for name, count in (more - few).items()]
    print(f"{sum(count for count, name in rows if not name.startswith('(')):.0f} launches a run:")
    for count, name in sorted(rows, reverse=True):
        print(f"  {count:7.1f} {name}")


if __name__ == "__main__":
    main()
