//! What `--help` shows of each command in use.

pub const EFFDET: &str = "\
Examples:
  effdet predict photo.jpg --model tf_efficientdet_d0 --pretrained --out annotated
  effdet models
  effdet predict --help";

pub const PREDICT: &str = "\
Examples:
  effdet predict photo.jpg --pretrained
  effdet predict pictures 'more/*.png' --model tf_efficientdet_d0 --pretrained --batch 4 --out annotated --json found.json
  effdet predict cells.png --weights runs/train/best.safetensors --score 0.5
  effdet predict aerial.jpg --pretrained --slice 640 --overlap 0.2 --batch 4 --max-detections 500
  effdet predict photo.jpg --pretrained --tta flip,scale:1.2
  effdet predict pictures --pretrained --save-coco found.json --save-yolo found-yolo
  effdet predict inbox --pretrained --watch --out annotated --jsonl found.jsonl";

pub const DEMO: &str = "\
Examples:
  effdet demo
  effdet demo --out shapes --seed 7 --seconds 300
  effdet demo --data-only --out pictures --train-pictures 1000 --val-pictures 100";

pub const VIDEO: &str = "\
Examples:
  effdet video clip.mp4 --model tf_efficientdet_lite0 --pretrained --out annotated.mp4
  effdet video clip.mp4 --pretrained --jsonl - | head
  effdet video /dev/video0 --pretrained --jsonl found.jsonl --out seen.mp4";

pub const MODELS: &str = "\
Examples:
  effdet models
  effdet models --json";

pub const INFO: &str = "\
Examples:
  effdet info --model tf_efficientdet_d0
  effdet info --model tf_efficientdet_lite0 --image-size 384x640
  effdet info --backbone mobilenetv3_large_100 --json";

pub const EVALUATE: &str = "\
Examples:
  effdet evaluate instances_val2017.json detections.json
  effdet evaluate VOC2007/Annotations detections.json --format voc --eleven-point
  effdet evaluate annotations.csv detections.csv --format openimages --hierarchy hierarchy.json";

pub const VAL: &str = "\
Examples:
  effdet val --data coco --format coco --split val2017 --model tf_efficientdet_d0 --pretrained
  effdet val --data VOC2007 --format voc --split test --weights best.safetensors --metric voc
  effdet val --data cells --format voc --weights best.safetensors --tta flip --detections found.json --plots plots";

pub const TRAIN: &str = "\
Examples:
  effdet train --data pets --format pets --model tf_efficientdet_lite0 --pretrained --epochs 10
  effdet train --data cells --format yolo --model tf_efficientdet_d0 --scratch --set clip.limit=5 --out runs/cells
  effdet train --resume --out runs/cells";

pub const BENCH: &str = "\
Examples:
  effdet bench --model tf_efficientdet_lite0 --weights best.safetensors
  effdet bench --model tf_efficientdet_d0 --pretrained --batch 4 --threads 2 --json -";

pub const DATASET: &str = "\
Examples:
  effdet dataset VOC2007 --format voc --split trainval
  effdet dataset cells --format csv --plots report --show 12 --model tf_efficientdet_lite0";

pub const WEIGHTS: &str = "\
Examples:
  effdet weights list
  effdet weights download tf_efficientdet_d0
  effdet weights convert tf_efficientdet_d0_34-f153e0cf.pth d0.safetensors --dtype f16
  effdet weights inspect best.safetensors --tensors";

pub const COMPLETIONS: &str = "\
Examples:
  effdet completions bash > ~/.local/share/bash-completion/completions/effdet
  effdet completions zsh > ~/.zfunc/_effdet
  effdet completions fish > ~/.config/fish/completions/effdet.fish";

#[cfg(feature = "serve")]
pub const SERVE: &str = "\
Examples:
  effdet serve --model tf_efficientdet_lite0 --pretrained
  effdet serve --weights best.safetensors --listen 0.0.0.0:8080 --batch 8 --score 0.4";

pub const EXPORT: &str = "\
Examples:
  effdet export --model tf_efficientdet_d0 --pretrained --out d0.onnx
  effdet export --weights best.safetensors --nms --batch dynamic --out detector.onnx";

#[cfg(test)]
pub const ALL: &[&str] = &[
    EFFDET,
    PREDICT,
    DEMO,
    VIDEO,
    #[cfg(feature = "serve")]
    SERVE,
    MODELS,
    INFO,
    EVALUATE,
    VAL,
    TRAIN,
    EXPORT,
    BENCH,
    DATASET,
    WEIGHTS,
    COMPLETIONS,
];
