"""Puts what a comparison measured into a section of docs/performance.md, so that no figure there is typed in."""
import os
import platform
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/performance.md"
INTRODUCTION = """# Performance

Every section is written by the script that it names. Timings of ours and of others are taken in turn in one run, so that
whatever else the machine does touches both. A ratio "ours / theirs" below 1 means that this project is faster.
"""


def machine():
    """Processor, cores and system memory, in words."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = found.group(1) if found else name
    flags = info.read_text() if info.exists() else ""
    simd = ", AVX-512" if "avx512f" in flags else ""
    load = os.getloadavg()[0]
    return f"{name.strip()}{simd}, {os.cpu_count()} cores; load before the run {load:.1f}"


def write_section(title, body):
    """Replaces the section `## title`, or adds it."""
    text = PAGE.read_text() if PAGE.exists() else INTRODUCTION
    section = f"## {title}\n\n{body.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.S | re.M)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + "\n", text)
    else:
        text = text.rstrip() + "\n\n" + section
    PAGE.write_text(text.rstrip() + "\n")
