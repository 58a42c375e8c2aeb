"""What a training step asks of a CUDA device, counted without one, and the processor time that asking takes.

    python tools/gpu/launches.py PROGRAM --nvrtc LIB [--cuda CUDA] [-- --model tf_efficientdet_d0 --batch 32]

PROGRAM is `effdet` built for CUDA with NVRTC (docs/devices.md, "CUDA without a way to GitHub"), LIB a folder with NVRTC's
libraries, CUDA one with CUDA's headers in `include`: those are in the wheels nvidia-cuda-nvrtc-cu12, nvidia-cuda-runtime-cu12 and
(`crt`) nvidia-cuda-nvcc-cu12.
`effdet bench` runs under the driver of `no_card.c` with few runs and with more, with and without `--train`; the difference of the
differences is a training step, without its optimiser. Results are zeros there, so only what does not depend on them means
something.
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
    """How often what was asked for (and of memory, how many bytes), seconds of every thread, and what the program printed."""
    log = Path(folder) / f"{runs}.log"
    process = subprocess.Popen([program, "bench", "--device", "cuda:0", "--runs", str(runs), *arguments], cwd=folder,
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
            if what in ("read", "write"):
                counts[f"({what}, bytes)"] += int(rest[0])
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
        run(program, ["--train", *arguments], 1, folder, environment)  # compiles kernels and keeps what it tried

        def one(arguments):
            (few, few_times, _), (more, more_times, out) = (run(program, arguments, n, folder, environment) for n in (FEW, MORE))
            for counter, before in ((more, few), (more_times, few_times)):
                counter.subtract(before)
            return more, more_times, out

        (launches, times, out), (others, other_times, _) = one(["--train", *arguments]), one(arguments)
    each = MORE - FEW
    launches.subtract(others)
    times.subtract(other_times)
    print(out)
    print("processor time of a step, ms, waiting that spins among it:")
    for name, seconds in times.most_common():
        if (milliseconds := 1000 * seconds / each) >= 1:
            print(f"  {milliseconds:7.1f} {name}")
    rows = [(count / each, name) for name, count in launches.items() if count > 0]
    print(f"{sum(count for count, name in rows if not name.startswith('(')):.0f} launches a step:")
    for count, name in sorted(rows, reverse=True):
        print(f"  {count:7.1f} {name}")


if __name__ == "__main__":
    main()
