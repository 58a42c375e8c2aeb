#!/usr/bin/env bash
# A library that stands in for LLVM in a program whose kernels NVRTC compiles: every function of LLVM ends the program.
#
#   tools/gpu/llvm_stubs.sh target/llvm-stubs
#   export DOCS_RS=1 RUSTFLAGS="-C link-arg=$PWD/target/llvm-stubs/libllvm_stubs.a"
#   cargo build --release -p effdet-cli -p effdet-nn --features effdet-cli/cuda,effdet-nn/nvrtc
#
# DOCS_RS keeps the build scripts from fetching LLVM. Needs a C compiler and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/llvm-stubs}
mkdir -p "$out"
cargo metadata --format-version 1 --features effdet-nn/cuda | python3 -c '
import json, pathlib, re, sys
names = set()
for package in json.load(sys.stdin)["packages"]:
    if package["name"] in ("llvm-sys", "pliron-llvm", "cubecl-llvm"):
        for path in pathlib.Path(package["manifest_path"]).parent.glob("src/**/*.rs"):
            names.update(re.findall(r"fn (LLVM\w+|lto_\w+|cubecl_(?:link_device_bitcode|free_message|set_llvm_option))\b", path.read_text()))
print("#include <stdio.h>\n#include <stdlib.h>")
for name in sorted(names):
    print(f"void {name}(void) {{ fputs(\"this program has no LLVM, for {name}\\n\", stderr); abort(); }}")
' > "$out/stubs.c"
cc -w -fno-builtin -O1 -c "$out/stubs.c" -o "$out/stubs.o"
ar rcs "$out/libllvm_stubs.a" "$out/stubs.o"
echo "$out/libllvm_stubs.a"
