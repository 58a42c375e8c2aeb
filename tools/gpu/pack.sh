#!/usr/bin/env bash
# Builds what a check on a GPU machine needs and packs it into target/gpu, which git ignores: programs, fixtures, the
# reference as wheels, scripts. `tools/gpu/check.sh` runs it there.
#
#   tools/gpu/pack.sh [cuda|wgpu|cpu]      # cpu packs programs for the processor, to try the scripts
#
# NVRTC=1 builds programs whose kernels NVRTC compiles, with the stand-in of `tools/gpu/llvm_stubs.sh` for LLVM; the machine
# needs a CUDA toolkit then. PROFILE=dev builds without optimising our own crates, for a quick trial. Building with `cuda` needs no CUDA toolkit, but
# an LLVM that a build script of Burn's (tracel-llvm-bundler) fetches from GitHub once; without a way there, put the
# archive and its checksums into ~/.cache/tracel beforehand and set TRACEL_LLVM_BUNDLER_SKIP_CHECKSUM_DOWNLOAD=1.
set -euo pipefail
cd "$(dirname "$0")/../.."
backend=${1:-cuda}
profile=${PROFILE:-release}
target=${CARGO_TARGET_DIR:-target}
pack=target/gpu
rm -rf "$pack"
mkdir -p "$pack/fixtures" "$pack/wheels"

# The path of the program that cargo built, out of its messages.
built() {
    cargo "$@" --message-format=json-render-diagnostics |
        python3 -c 'import json, sys
paths = [m.get("executable") for m in map(json.loads, sys.stdin) if m.get("reason") == "compiler-artifact"]
print([path for path in paths if path][-1])'
}
take() { # program name
    cp "$1" "$programs/$2"
    strip "$programs/$2"
}

case $backend in
    cpu) feature=() unfused=() ;;
    *) feature=(--features "$backend") unfused=(--features "unfused-$backend") ;;
esac
if [ -n "${NVRTC:-}" ]; then
    stubs=$(tools/gpu/llvm_stubs.sh target/llvm-stubs)
    export DOCS_RS=1 RUSTFLAGS="-C link-arg=$PWD/$stubs"
    feature+=(-p effdet-nn --features effdet-nn/nvrtc)
    unfused+=(-p effdet-nn --features effdet-nn/nvrtc)
fi
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
take "$(built build --profile "$profile" -p effdet-cli "${feature[@]}")" effdet
take "$(built build --profile "$profile" -p xtask "${feature[@]}")" xtask-fused
bench_profile=bench
[ "$profile" = release ] || bench_profile=$profile
take "$(built bench --profile "$bench_profile" -p effdet-bifpn --bench bifpn --no-run "${feature[@]}")" bench-bifpn
take "$(built bench --profile "$bench_profile" -p effdet-model --bench forward --no-run "${feature[@]}")" bench-model
if [ "$backend" != cpu ]; then
    for test in device_program device_training; do
        take "$(built test --profile "$profile" -p effdet-nn --test "$test" --no-run "${feature[@]}" --features effdet-nn/flex)" "$test"
    done
    # Fusion is a matter of types, so without it everything is another program.
    take "$(CARGO_TARGET_DIR=$target/unfused built build --profile "$profile" -p xtask "${unfused[@]}")" xtask-unfused
fi

# The programs have most of their code in common: a window as long as all of them finds it.
tar cf - -C "$programs" . | xz -T1 --x86 --lzma2=preset=3,dict=768MiB > "$pack/programs.tar.xz"
cp crates/effdet-testing/tests/fixtures/{backbones.json.gz,detectors.json.gz,device_noise.json} "$pack/fixtures/"
cp benches/compare/gpu.py benches/table.py tools/gpu/check.sh "$pack/"
# PyTorch and timm are there already.
python3 -m pip wheel --quiet --no-deps --wheel-dir "$pack/wheels" effdet==0.4.1 omegaconf==2.3.0 antlr4-python3-runtime==4.9.3

size=$(du -sm "$pack" | cut -f1)
echo "$pack: $size MB"
[ "$size" -lt 60 ] || { echo "more than 60 MB" >&2; exit 1; }
