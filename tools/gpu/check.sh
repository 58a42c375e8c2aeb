#!/usr/bin/env bash
# Parity and timings on a GPU machine from what `tools/gpu/pack.sh` packed, in ten minutes at most; needs PyTorch and timm.
#
#   target/gpu/check.sh [DEVICE] [FOLDER]      # cuda:0; the tables go into FOLDER, by default ./gpu-results
#
# First come the timings, while nothing else runs; then tests and parity beside each other. What a training step spends its
# time on is in profile.txt.gz.
#
# SECONDS_IN_ALL (580), FLOATS ("f32 f16 bf16"), ONLY (names of networks; all) and QUICK=1 (small timings) change what runs.
# A device takes its float type once in a process, so every line of the summary is a process of its own.
set -uo pipefail
pack=$(cd "$(dirname "$0")" && pwd)
device=${1:-cuda:0}
out=${2:-gpu-results}
mkdir -p "$out"
out=$(cd "$out" && pwd)
end=$((SECONDS + ${SECONDS_IN_ALL:-580}))
left() { echo $((end - SECONDS > 0 ? end - SECONDS : 0)); }
export EFFDET_FIXTURES=$pack/fixtures EFFDET_DEVICE=$device
[ ! -d /usr/local/cuda ] || export CUDA_PATH=/usr/local/cuda LD_LIBRARY_PATH=/usr/local/cuda/lib64:${LD_LIBRARY_PATH:-}
tar xJf "$pack/programs.tar.xz" -C "$pack"
summary=$out/summary.md
{
    echo "# $device, $(date -u +%Y-%m-%dT%H:%MZ)"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
    echo
    echo "| check | seconds | result |"
    echo "|---|---|---|"
} > "$summary"
failed=0

# check NAME LIMIT COMMAND...: a line of the summary; what it says goes into NAME.log. What it had no time for itself, it says
# in a line that begins so, and the summary repeats it.
check() {
    local name=$1 limit=$2 start=$SECONDS status late
    shift 2
    [ "$limit" -lt "$(left)" ] || limit=$(left)
    if [ "$limit" -lt 5 ]; then
        echo "| $name | | no time left |" >> "$summary"
        failed=1
        return
    fi
    timeout "$limit" "$@" > "$out/$name.log" 2>&1
    status=$?
    case $status in
        0) result=passed ;;
        124) result="stopped after $limit s" failed=1 ;;
        *) result="failed ($status): $(tail -n 1 "$out/$name.log" | tr '|' '/')" failed=1 ;;
    esac
    late=$(grep '^no time left' "$out/$name.log" | tail -n 1 | tr '|' '/')
    echo "| $name | $((SECONDS - start)) | $result${late:+; $late} |" >> "$summary"
}

python3 -m pip install --quiet --no-deps --no-index --target "$out/python" "$pack"/wheels/*.whl > "$out/pip.log" 2>&1
export PYTHONPATH=$out/python
train=(bench --model tf_efficientdet_d0 --batch 16 --runs 1 --train --device "$device")
[ -z "${QUICK:-}" ] || train=(bench --model tf_efficientdet_lite0 --batch 1 --runs 1 --train --device "$device")
check profile 90 env CUBECL_DEBUG_OPTION=profile-medium CUBECL_DEBUG_LOG="$out/profile.txt" "$pack/effdet" "${train[@]}"
gzip -f "$out/profile.txt" 2>/dev/null
# How much of a step is the processor's: a step of one picture is nearly all of it. CubeCL looks for room in shared pages, or
# ("enforced") among what had the very size, which takes the processor less and the device more memory.
for memory in enabled enforced; do
    mkdir -p "$out/memory-$memory"
    printf '[memory]\npersistent_memory = "%s"\n' "$memory" > "$out/memory-$memory/cubecl.toml"
    for batch in 1 32; do
        [ -z "${QUICK:-}" ] || [ "$batch" = 1 ] || continue
        check "train-$batch-$memory" 40 env -C "$out/memory-$memory" "$pack/effdet" bench --model tf_efficientdet_d0 \
            --batch "$batch" --runs 5 --train --device "$device"
    done
done
check compare 300 python3 "$pack/gpu.py" --device "$device" --binary "$pack/effdet" --bench "$pack/bench-bifpn" \
    --floats f32 bf16 --seconds 280 --out "$out/compare.md" ${QUICK:+--quick --no-compile --runs 3}

export CARGO_TARGET_DIR=$out
sizes=(EFFDET_MODELS=tf_efficientdet_d0 EFFDET_BATCH=1,8,32)
[ -z "${QUICK:-}" ] || sizes=(EFFDET_MODELS=tf_efficientdet_lite0 EFFDET_BATCH=1)
check bench-model 120 env "${sizes[@]}" "$pack/bench-model" --bench --measurement-time 2 --warm-up-time 1
check table 20 python3 "$pack/table.py" --folder "$out/criterion"

only=()
[ -z "${ONLY:-}" ] || read -ra only <<< "--only $ONLY"
for test in "$pack"/device_*; do
    [ ! -x "$test" ] || check "${test##*/}" 120 "$test"
done
# The first process tunes; the later ones find its choices on the disk.
for program in "$pack"/xtask-*; do
    fusion=${program##*/xtask-}
    for float in ${FLOATS:-f32 f16 bf16}; do
        check "parity-$fusion-$float" 120 "$program" parity --device "$device" --float "$float" "${only[@]}" \
            --out "$out/parity-$fusion-$float.md"
    done
done

{
    for table in "$out"/parity-*.md "$out/compare.md" "$out/table.log"; do
        [ ! -s "$table" ] || printf '\n## %s\n\n' "$(basename "${table%.*}")"
        [ ! -s "$table" ] || cat "$table"
    done
} >> "$summary"
rm -rf "$out/python"
echo "$summary"
exit $failed
