"""The networks of fastrcaps in PyTorch: an independent statement of what src/learn/model/ computes.

build(model, channels, height, width, classes) takes the [model] table of a config.toml as a dict; the modules carry the names of
fastrcaps' weights.safetensors, so that load_state_dict(strict=True) checks names and shapes.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F
from efficient_capsnet import EfficientCapsNet

EPSILON = 1e-9


def squash(s, kind):
    n2 = (s * s).sum(-1, keepdim=True)
    if kind == "exact":
        return s * (n2 / (1 + n2) / torch.sqrt(n2 + EPSILON))
    return torch.where(n2 <= 4, s / 2, s / torch.sqrt(n2.clamp(min=4)))


class SharedConv2d(nn.Module):
    """A convolution whose channel c uses filter c mod (channels / sharing) and has a bias of its own."""

    def __init__(self, in_channels, channels, kernel, stride, sharing):
        super().__init__()
        self.sharing, self.stride = sharing, stride
        self.weight = nn.Parameter(torch.empty(channels // sharing, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x):
        return F.conv2d(x, self.weight.repeat(self.sharing, 1, 1, 1), self.bias, self.stride)


class DenseOfMap(nn.Linear):
    """A fully connected layer over all values of a map."""

    def forward(self, x):
        return super().forward(x.flatten(1))


class ClassCapsules(nn.Module):
    def __init__(self, matrices, in_dim, classes, dim, routing_iterations, kind):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(matrices, in_dim, classes * dim))
        self.bias = nn.Parameter(torch.empty(classes, dim))
        self.iterations, self.kind = routing_iterations, kind

    def forward(self, u):
        batch, capsules, _ = u.shape
        weight = self.weight.repeat_interleave(capsules // self.weight.shape[0], 0)
        votes = torch.einsum("bid,idn->bin", u, weight).view(batch, capsules, *self.bias.shape)
        logits = torch.zeros(batch, capsules, self.bias.shape[0], dtype=u.dtype)
        for r in range(self.iterations):
            coupling = F.softmax(logits, -1)
            v = squash((coupling.unsqueeze(-1) * votes).sum(1) + self.bias, self.kind)
            if r + 1 < self.iterations:
                logits = logits + (votes * v.unsqueeze(1)).sum(-1)
        return v


class HomogeneousCapsules(nn.Module):
    def __init__(self, vectors, classes, dim, kind):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, vectors, dim))
        self.bias = nn.Parameter(torch.empty(classes, dim))
        self.kind = kind

    def forward(self, u):
        weight = self.weight.repeat_interleave(u.shape[1] // self.weight.shape[1], 1)
        return squash(torch.einsum("bid,jid->bjd", u, weight) + self.bias, self.kind)


class CapsNet(nn.Module):
    def __init__(self, m, channels, height, width, classes):
        super().__init__()
        self.m, self.classes = m, classes
        self.conv1 = SharedConv2d(channels, m["conv1_channels"], m["conv1_kernel"], m["conv1_stride"], m["conv1_sharing"])
        sides = [(side - m["conv1_kernel"]) // m["conv1_stride"] + 1 for side in (height, width)]
        if m.get("primary", "convolution") == "dense":
            self.types = matrices = m["primary_capsules"]
            inputs = m["conv1_channels"] * sides[0] * sides[1]
            self.primary = DenseOfMap(inputs, self.types * m["primary_dim"])
        else:
            self.types, kernel, stride = m["primary_types"], m["primary_kernel"], m["primary_stride"]
            self.primary = SharedConv2d(
                m["conv1_channels"], self.types * m["primary_dim"], kernel, stride, m["primary_sharing"]
            )
            positions = [(side - kernel) // stride + 1 for side in sides]
            matrices = self.types * (1 if m["class_sharing"] == "by-type" else positions[0] * positions[1])
        if m.get("class_capsules", "routed") == "homogeneous":
            class_dim = m["primary_dim"]
            self.class_caps = HomogeneousCapsules(matrices, classes, class_dim, m["squash"])
        else:
            class_dim = m["class_dim"]
            self.class_caps = ClassCapsules(
                matrices, m["primary_dim"], classes, class_dim, m["routing_iterations"], m["squash"]
            )
        if m["decoder"] != "none":
            first, second = m["decoder_hidden"]
            inputs = class_dim * (classes if m["decoder"] == "full" else 1)
            self.decoder = nn.Sequential(
                nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(),
                nn.Linear(second, channels * height * width), nn.Sigmoid(),
            )  # fmt: skip

    def forward(self, x, labels=None):
        """Scores [b, classes] and, if there is a decoder, the reconstruction [b, pixels] from the labelled (else the longest) capsule."""
        # The values of a capsule type at every position; outputs of a dense layer have one.
        u = self.primary(F.relu(self.conv1(x)))
        dim = self.m["primary_dim"]
        u = u.reshape(len(x), self.types, dim, -1).transpose(2, 3).reshape(len(x), -1, dim)
        v = self.class_caps(squash(u, self.m["squash"]))
        scores = torch.sqrt((v * v).sum(-1) + EPSILON)
        if self.m["decoder"] == "none":
            return scores, None
        chosen = scores.argmax(1) if labels is None else labels
        if self.m["decoder"] == "full":
            x = (v * F.one_hot(chosen, self.classes).unsqueeze(-1)).flatten(1)
        else:
            x = v[torch.arange(len(v)), chosen]
        return scores, self.decoder(x)

    def loss(self, x, labels):
        scores, reconstruction = self(x, labels)
        present = F.one_hot(labels, self.classes)
        margin = present * F.relu(0.9 - scores) ** 2 + 0.5 * (1 - present) * F.relu(scores - 0.1) ** 2
        loss = margin.sum(1).mean()
        if reconstruction is not None:
            loss = loss + self.m["reconstruction_weight"] * ((reconstruction - x.flatten(1)) ** 2).sum(1).mean()
        return scores, reconstruction, loss


class LeNet5(nn.Module):
    def __init__(self, channels, height, width, classes):
        super().__init__()
        features = 16 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        self.conv1, self.conv2 = nn.Conv2d(channels, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(features, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x, labels=None):
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.relu(conv(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))), None

    def loss(self, x, labels):
        scores, _ = self(x)
        return scores, None, F.cross_entropy(scores, labels)


def build(model, channels, height, width, classes=10):
    if model["kind"] == "lenet5":
        return LeNet5(channels, height, width, classes)
    if model["kind"] == "efficient-capsnet":
        return EfficientCapsNet(model, channels, height, width, classes)
    return CapsNet(model, channels, height, width, classes)
