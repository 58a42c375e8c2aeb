"""Five steps of every optimiser, and learning rates of every schedule, as PyTorch and timm have them.

Made with torch==2.9.0 timm==1.0.31 on a CPU. Output: crates/effdet-train/tests/fixtures/optimizers.json

    python tools/golden/make_optimizers.py
"""
import json
import math
import warnings
from pathlib import Path

import torch
from timm.optim import Lamb, Lion, RMSpropTF
from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler
from timm.utils import ModelEmaV3
from timm.utils.agc import adaptive_clip_grad

warnings.filterwarnings("ignore")
OUT = Path(__file__).resolve().parents[2] / "crates/effdet-train/tests/fixtures/optimizers.json"
SHAPES = {"conv.weight": [3, 2, 2, 2], "bn.weight": [4], "predict.weight": [2, 3]}
STEPS = 5


def numbers(count, seed):
    """The same numbers on both sides: a linear congruential generator, -1 to 1 in steps of 1/512."""
    out, state = [], seed
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2**31
        out.append((state >> 12) % 1024 / 512 - 1)
    return out


def parameters():
    return {
        name: torch.nn.Parameter(torch.tensor(numbers(math.prod(shape), 7 * i + 1)).reshape(shape))
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def gradients(step):
    return {
        name: torch.tensor(numbers(math.prod(shape), 1000 * step + i)).reshape(shape) * (0.1 + step)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "sgd_plain": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    "sgd_dampening": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "sgd_nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.9, momentum=0.9, weight_decay=0.01),
    "rmsprop_centered": lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.9, centered=True, eps=1e-3, weight_decay=0.01),
    "rmsprop_tf": lambda p: RMSpropTF(p, lr=0.05, alpha=0.9, eps=1e-3, momentum=0.9, weight_decay=0.01),
    "lamb": lambda p: Lamb(p, lr=0.05, weight_decay=0.01),
    "lion": lambda p: Lion(p, lr=0.05, betas=(0.9, 0.99), weight_decay=0.01),
}


def run(make):
    params = parameters()
    optimizer = make(list(params.values()))
    trace = []
    for step in range(STEPS):
        for name, gradient in gradients(step).items():
            params[name].grad = gradient
        optimizer.step()
        trace.append({name: p.detach().flatten().tolist() for name, p in params.items()})
    return trace


def clipped(clip):
    params = parameters()
    for name, gradient in gradients(3).items():
        params[name].grad = gradient.clone()
    clip(params)
    return {name: p.grad.flatten().tolist() for name, p in params.items()}


CLIPS = {
    "norm": lambda p: torch.nn.utils.clip_grad_norm_(list(p.values()), 2.0),
    "value": lambda p: torch.nn.utils.clip_grad_value_(list(p.values()), 0.7),
    # effdet's train.py leaves parameters with `predict` in their name out
    "adaptive": lambda p: adaptive_clip_grad([v for k, v in p.items() if "predict" not in k], 0.05),
}


def dummy():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)


def timm_rates(make, count):
    optimizer = dummy()
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for t in range(1, count):
        scheduler.step(t)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def plateau():
    optimizer = dummy()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=1, cooldown=1, min_lr=0.03, threshold=1e-4
    )
    metrics = [0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]
    rates = []
    for metric in metrics:
        scheduler.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"metrics": metrics, "rates": rates}


def recipe():
    """The LambdaLR of the reference's recipe, 20 steps of warm-up out of 100."""
    warm, steps = 20, 100
    rate = lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / max(1, steps - warm))) + 1e-3
    optimizer = dummy()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def one_cycle(total, pct_start, div, div_final):
    """fastai's combine_scheds of two SchedCos, for the rate and the momentum."""
    def cosine(start, end, pos):
        return start + (1 + math.cos(math.pi * (1 - pos))) * (end - start) / 2

    def combined(pos, start, middle, end):
        if pos < pct_start:
            return cosine(start, middle, pos / pct_start)
        return cosine(middle, end, (pos - pct_start) / (1 - pct_start))

    lr = 0.4
    positions = [s / total for s in range(total)]
    return {
        "rates": [combined(p, lr / div, lr, lr / div_final) for p in positions],
        "momentum": [combined(p, 0.95, 0.85, 0.95) for p in positions],
    }


def ema():
    model = torch.nn.Linear(2, 1)
    v3 = ModelEmaV3(model, decay=0.9, use_warmup=True)
    return [v3.get_decay(step) for step in range(1, 40)]


def main():
    fixture = {
        "optimizers": {name: run(make) for name, make in OPTIMIZERS.items()},
        "clips": {name: clipped(clip) for name, clip in CLIPS.items()},
        "schedules": {
            "cosine": timm_rates(lambda o: CosineLRScheduler(o, t_initial=30, lr_min=1e-3, warmup_t=5, warmup_lr_init=1e-2), 30),
            "cosine_prefix": timm_rates(
                lambda o: CosineLRScheduler(o, t_initial=25, lr_min=1e-3, warmup_t=5, warmup_lr_init=1e-2, warmup_prefix=True), 30
            ),
            "step": timm_rates(lambda o: StepLRScheduler(o, decay_t=4, decay_rate=0.3, warmup_t=2, warmup_lr_init=1e-2), 20),
            "poly": timm_rates(lambda o: PolyLRScheduler(o, t_initial=20, power=0.5, lr_min=1e-3), 20),
        },
        "plateau": plateau(),
        "recipe": recipe(),
        "one_cycle": one_cycle(50, 0.25, 25.0, 1e5),
        "ema_warmup": ema(),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
