#!/usr/bin/env bash
# Makes the checkpoint that `effdet demo` starts from, crates/effdet-cli/assets/demo.safetensors.
#
#   cargo build --release && tools/demo/train.sh [FOLDER]
#
# Pictures and training are functions of the seeds below. EFFDET names another binary, FOLDER keeps data and run.
set -euo pipefail
cd "$(dirname "$0")/../.."
effdet=${EFFDET:-target/release/effdet}
folder=${1:-$(mktemp -d)}

"$effdet" demo --data-only --out "$folder/data" --seed 2000 --train-pictures 6000 --val-pictures 300 --classes 6
"$effdet" train --data "$folder/data" --format coco --train-split train --val-split val \
    --model efficientdet-lcnet_050 --image-size 256 --scratch --recipe one-cycle \
    --set network.channels=40 --set network.cells=2 --set network.repeats=2 --set drop_path=0.0 \
    --set data.augment=none --lr 3e-3 --batch-size 16 --epochs 12 --seed 0 --out "$folder/run"
"$effdet" weights convert "$folder/run/best.safetensors" crates/effdet-cli/assets/demo.safetensors --dtype f16
ls -l crates/effdet-cli/assets/demo.safetensors
