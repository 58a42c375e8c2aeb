"""Kills `effdet train` at random moments, takes it up again each time, and compares what is left with an undisturbed run.

    python tools/kill_loop.py EFFDET FOLDER --kills 50 -- --data DIR --format voc ... (the options of the run)

EFFDET is the command, FOLDER a new folder for both runs. Checkpoints are written after every step, so that each life of
the process gets somewhere. Ends with 1 if a checkpoint could not be taken up or a file differs.
"""
import argparse
import filecmp
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

FILES = ["best.safetensors", "last.safetensors", "checkpoint.safetensors", "metrics.csv", "events.out.tfevents.0"]


def train(effdet, folder, options, log):
    command = [effdet, "train", "--out", str(folder), "--resume", *options, "--set", "checkpoint.every_steps=1"]
    return subprocess.Popen(command, stdout=log, stderr=log)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("effdet")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    # argparse gives a list of positional arguments up at the first option before it
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:split])
    args.options = sys.argv[split + 1:]
    args.folder.mkdir(parents=True)
    draw = random.Random(args.seed)

    whole, killed = args.folder / "whole", args.folder / "killed"
    with open(args.folder / "whole.log", "w") as log:
        start = time.monotonic()
        if train(args.effdet, whole, args.options, log).wait() != 0:
            sys.exit(f"the undisturbed run failed, see {log.name}")
        duration = time.monotonic() - start
    print(f"undisturbed: {duration:.1f} s", flush=True)

    kills = 0
    with open(args.folder / "killed.log", "w") as log:
        while True:
            process = train(args.effdet, killed, args.options, log)
            try:
                # Some lives end before the first step, most after a few.
                limit = draw.uniform(0.0, 3.0 * duration / args.kills) if kills < args.kills else None
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
                continue
            if code != 0:
                sys.exit(f"after {kills} kills the run ended with {code}, see {log.name}")
            break
    different = [name for name in FILES if not filecmp.cmp(whole / name, killed / name, shallow=False)]
    print(f"{kills} kills; different: {different or 'nothing'}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
