"""Writes optimizers.json: what the optimizers' published formulas make of given gradients, in float64 and plain Python.

    python3 tests/golden/optimizers.py

Each formula follows the program that is named beside it, line by line; none of these programs is needed.
"""

import json
import math
from pathlib import Path

STEPS = 4
RATE = 0.02
VARIABLES = {"wide.weight": [3, 5], "tall.weight": [6, 2], "filters.weight": [4, 2, 3, 1], "caps.weight": [2, 3, 4],
             "caps.bias": [3, 2], "b.bias": [7]}


def gradient(name, count, step):
    return [math.sin(1.7 * i + 0.9 * step + len(name)) * (1 + 0.1 * i) for i in range(count)]


def adamw(beta1, beta2, epsilon, weight_decay):
    """torch.optim.AdamW: _single_tensor_adam with decoupled_weight_decay; without decay torch.optim.Adam."""
    def step(theta, g, state, t, lr, shape):
        m, v = state.setdefault("m", [0.0] * len(g)), state.setdefault("v", [0.0] * len(g))
        for i in range(len(g)):
            theta[i] *= 1 - lr * weight_decay
            m[i] += (g[i] - m[i]) * (1 - beta1)
            v[i] = v[i] * beta2 + g[i] * g[i] * (1 - beta2)
            denominator = math.sqrt(v[i]) / math.sqrt(1 - beta2 ** t) + epsilon
            theta[i] -= lr / (1 - beta1 ** t) * m[i] / denominator
    return step


def sgd(momentum, weight_decay):
    """torch.optim.SGD(nesterov=True, dampening=0): _single_tensor_sgd."""
    def step(theta, g, state, t, lr, shape):
        d = [g[i] + weight_decay * theta[i] for i in range(len(g))]
        buffer = state.get("buffer")
        state["buffer"] = d[:] if buffer is None else [momentum * buffer[i] + d[i] for i in range(len(g))]
        for i in range(len(g)):
            theta[i] -= lr * (d[i] + momentum * state["buffer"][i])
    return step


def schedule_free(beta1, beta2, epsilon, weight_decay, rates):
    """Algorithm 1 of Defazio et al. 2024 (arXiv 2405.15682), schedulefree.AdamWScheduleFree: theta is y, and the state has z
    and x. It goes by the rates of its own steps. schedule_free.py holds it against that program."""
    def step(theta, g, state, t, _, shape):
        z, x, v = (state.setdefault(name, start[:]) for name, start in (("z", theta), ("x", theta), ("v", [0.0] * len(g))))
        lr = rates[t - 1]
        c = lr ** 2 / sum(rate ** 2 for rate in rates[:t])
        for i in range(len(g)):
            v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
            d = g[i] / (math.sqrt(v[i] / (1 - beta2 ** t)) + epsilon) + weight_decay * theta[i]
            z[i] -= lr * d
            x[i] = (1 - c) * x[i] + c * z[i]
            theta[i] = (1 - beta1) * z[i] + beta1 * x[i]
    return step


def multiply(a, b):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]


def transposed(a):
    return [list(row) for row in zip(*a)]


def combine(p, a, q, b):
    return [[p * x + q * y for x, y in zip(row, other)] for row, other in zip(a, b)]


def newton_schulz(g, steps=5):
    """zeropower_via_newtonschulz5 of Jordan et al. 2024 (github.com/KellerJordan/Muon), in float64 rather than bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = transposed(g) if len(g) > len(g[0]) else g
    norm = math.sqrt(sum(value * value for row in x for value in row))
    x = [[value / (norm + 1e-7) for value in row] for row in x]
    for _ in range(steps):
        gram = multiply(x, transposed(x))
        x = combine(a, x, 1, multiply(combine(b, gram, c, multiply(gram, gram)), x))
    return transposed(x) if len(g) > len(g[0]) else x


def muon(momentum, weight_decay, others):
    """muon_update of the same program with nesterov=True, by the scale of Liu et al. 2025 (torch.optim.Muon's
    match_rms_adamw); weights of two or four dimensions are matrices, all else moves by AdamW."""
    def step(theta, g, state, t, lr, shape, name):
        if not (name.endswith(".weight") and len(shape) in (2, 4)):
            return others(theta, g, state, t, lr, shape)
        m = state.setdefault("m", [0.0] * len(g))
        for i in range(len(g)):
            m[i] += (g[i] - m[i]) * (1 - momentum)
        update = [g[i] + (m[i] - g[i]) * momentum for i in range(len(g))]
        rows, columns = shape[0], math.prod(shape[1:])
        matrix = newton_schulz([update[row * columns:(row + 1) * columns] for row in range(rows)])
        flat = [value for row in matrix for value in row]
        scale = 0.2 * math.sqrt(max(rows, columns))
        for i in range(len(g)):
            theta[i] *= 1 - lr * weight_decay
            theta[i] -= lr * scale * flat[i]
    return step


def variables():
    made = []
    for name, shape in VARIABLES.items():
        count = math.prod(shape)
        start = [math.cos(0.6 * i + len(name)) for i in range(count)]
        gradients = [gradient(name, count, t) for t in range(1, STEPS + 1)]
        made.append({"name": name, "shape": shape, "start": start, "gradients": gradients})
    return made


def run(step, with_name=False, judged=None):
    """The values of every variable after each step, or what its state has of them by the name `judged`."""
    moved = {}
    for of in variables():
        theta, state, values = of["start"][:], {}, []
        for t, g in enumerate(of["gradients"], 1):
            step(theta, g, state, t, RATE, of["shape"], *([of["name"]] if with_name else []))
            values.append((state[judged] if judged else theta)[:])
        moved[of["name"]] = values
    return moved


def average(decay):
    """tf.train.ExponentialMovingAverage(decay, num_updates=t), the variable being updated before."""
    shadow, steps = 1.0, []
    for t in range(1, 41):
        value = math.cos(0.3 * t)
        d = min(decay, (1 + t) / (10 + t))
        shadow -= (1 - d) * (shadow - value)
        steps.append([value, shadow])
    return {"decay": decay, "start": 1.0, "steps": steps}


def main():
    constants = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    rules = [
        ({"kind": "adam"}, adamw(**constants, weight_decay=0.0), False),
        ({"kind": "adamw", "weight_decay": 0.3}, adamw(**constants, weight_decay=0.3), False),
        ({"kind": "sgd", "momentum": 0.9, "weight_decay": 0.0}, sgd(0.9, 0.0), False),
        ({"kind": "sgd", "momentum": 0.5, "weight_decay": 0.2}, sgd(0.5, 0.2), False),
        ({"kind": "muon", "momentum": 0.95, "weight_decay": 0.1},
         muon(0.95, 0.1, adamw(**constants, weight_decay=0.1)), True),
    ]
    optimizers = [{"optimizer": rule, "values": run(step, name)} for rule, step, name in rules]
    # At one rate, and after a warm-up.
    warm = [RATE * min(1, t / 3) for t in range(1, STEPS + 1)]
    for beta1, weight_decay, rates in ((0.9, 0.0, [RATE] * STEPS), (0.6, 0.3, warm)):
        step = schedule_free(**{**constants, "beta1": beta1}, weight_decay=weight_decay, rates=rates)
        optimizers.append({"optimizer": {"kind": "schedule-free", "beta1": beta1, "weight_decay": weight_decay},
                           "rates": rates, "values": run(step), "judged": run(step, judged="x")})
    golden = {"learning_rate": RATE, **constants, "variables": variables(), "optimizers": optimizers,
              "averages": [average(decay) for decay in (0.5, 0.999)]}
    path = Path(__file__).with_name("optimizers.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


main()
