"""Holds what optimizers.json has of Schedule-Free AdamW against the authors' package, and writes nothing.

    pip install torch numpy schedulefree==1.4.1
    python3 tests/golden/schedule_free.py

The package counts its warm-up in steps: a golden whose rates rise over three steps is its warmup_steps=3.
"""

import json
from pathlib import Path

import torch
from schedulefree import AdamWScheduleFree

golden = json.loads(Path(__file__).with_name("optimizers.json").read_text())
largest, compared = 0.0, 0
for of in golden["optimizers"]:
    if of["optimizer"]["kind"] != "schedule-free":
        continue
    beta1, weight_decay = of["optimizer"]["beta1"], of["optimizer"]["weight_decay"]
    warmup = sum(rate < max(of["rates"]) for rate in of["rates"])
    warmup = warmup + 1 if warmup else 0
    for variable in golden["variables"]:
        shape = variable["shape"]
        tensor = lambda values: torch.tensor(values, dtype=torch.float64).reshape(shape)
        weight = torch.nn.Parameter(tensor(variable["start"]))
        optimizer = AdamWScheduleFree([weight], lr=max(of["rates"]), betas=(beta1, golden["beta2"]), eps=golden["epsilon"],
                                      weight_decay=weight_decay, warmup_steps=warmup)
        for t, gradient in enumerate(variable["gradients"]):
            optimizer.train()
            weight.grad = tensor(gradient)
            optimizer.step()
            for part, switch in (("values", optimizer.train), ("judged", optimizer.eval)):
                switch()
                difference = (weight.detach() - tensor(of[part][variable["name"]][t])).abs().max().item()
                largest, compared = max(largest, difference), compared + 1
print(f"{compared} comparisons, largest difference {largest:.2e}")
assert compared > 0 and largest < 1e-12, largest
