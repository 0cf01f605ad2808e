"""Methods that benches/peers.py replays recordings under: what all have in common, and those that need no package."""

import math
import random

FEW = 16  # values of an axis that are taken as ranks


def skew(numbers):
    """How far the median is from the middle, as a share of the range."""
    low, high, middle = min(numbers), max(numbers), sorted(numbers)[len(numbers) // 2]
    return abs(middle - (low + high) / 2) / (high - low)


class Axis:
    """An axis as peers get it: values from 0 to 1, or categories."""

    def __init__(self, name, values):
        self.name = name
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            numbers = None
        self.choices = sorted(set(values)) if numbers is None else sorted(set(numbers))
        self.is_category = numbers is None
        if self.is_category:
            self.of = [self.choices.index(value) for value in values]
        elif len(self.choices) <= FEW:
            self.of = [self.choices.index(value) / max(1, len(self.choices) - 1) for value in numbers]
        else:
            logarithms = [math.log(value) for value in numbers] if min(numbers) > 0 else numbers
            numbers = min(numbers, logarithms, key=skew)
            low, high = min(numbers), max(numbers)
            self.of = [(value - low) / (high - low) for value in numbers]
        self.is_rank = not self.is_category and len(self.choices) <= FEW


class Method:
    """A method on a recording. Subclasses propose generators of trainings: see `replay`."""

    is_known = False

    def __init__(self, course, seed, known, first_seed=False):
        self.course, self.recording, self.seed, self.is_known = course, course.recording, seed, known
        self.first_seed, self.further = first_seed, None
        self.random = random.Random(seed)
        self.begun = set()
        recording = self.recording
        self.axes = [Axis(name, [of[at] for of in recording.values]) for at, name in enumerate(recording.axes)]
        self.axes = [axis for axis in self.axes if len(axis.choices) > 1]
        if known:
            self.axes.append(Axis("seconds", [recording.whole(of) for of in range(len(recording.names))]))

    def left(self):
        return [of for of in range(len(self.recording.names)) if of not in self.begun]

    def trials_of(self, candidate):
        """The trainings that a proposal is of: those under all seeds, or that under the first."""
        of = self.recording.trials_of(candidate)
        return of[:1] if self.first_seed else of

    def next(self):
        """What is proposed; once a search under the first seed has nothing more, the other seeds of what is on its front."""
        if (job := self.propose()) is not None or not self.first_seed:
            return job
        trials, recording, known = range(len(self.recording.names)), self.recording, self.course.known
        if any(known[trial] < len(recording.curves[trial]) for trial in trials):
            return None
        if self.further is None:
            self.further = list(self.course.exhaustive.found(known))
        return self.others(self.further.pop(0)) if self.further else None

    def others(self, candidate):
        for trial in self.recording.trials_of(candidate)[1:]:
            for epoch in range(1, len(self.recording.curves[trial]) + 1):
                yield trial, epoch

    def epoch(self, candidate, epoch):
        """Trains up to there, from where the trainings are."""
        for trial in self.trials_of(candidate):
            while self.course.known[trial] < min(epoch, len(self.recording.curves[trial])):
                yield trial, int(self.course.known[trial]) + 1

    def whole(self, candidate):
        for epoch in range(1, self.recording.epochs[candidate] + 1):
            yield from self.epoch(candidate, epoch)

    def has_diverged(self, candidate):
        of = self.trials_of(candidate)
        curves, known = self.recording.curves, self.course.known
        return any(self.recording.diverged[trial] and known[trial] >= len(curves[trial]) for trial in of)

    def accuracy(self, candidate, epoch):
        return 0.0 if self.has_diverged(candidate) else float(self.recording.accuracy(self.trials_of(candidate), epoch))

    def objectives(self, candidate):
        """Seconds and error of the whole training."""
        return self.recording.whole(candidate), 1.0 - self.accuracy(candidate, self.recording.epochs[candidate])

    def nearest(self, point, among):
        """The configuration nearest to a point in the space of the axes; of equals a random one."""

        def distance(candidate):
            parts = [axis.of[candidate] != x if axis.is_category else (axis.of[candidate] - x) ** 2 for axis, x in zip(self.axes, point)]
            return sum(parts)

        distances = {of: distance(of) for of in among}
        least = min(distances.values())
        return self.random.choice([of for of in among if distances[of] <= least + 1e-12])


class Grid(Method):
    """Every training to its end, in order: for --self-check."""

    def propose(self):
        trial = len(self.begun)
        if trial < len(self.recording.candidate):
            self.begun.add(trial)
            return ((trial, epoch) for epoch in range(1, len(self.recording.curves[trial]) + 1))


class Random(Method):
    """Whole trainings in random order."""

    def propose(self):
        if left := self.left():
            candidate = self.random.choice(left)
            self.begun.add(candidate)
            return self.whole(candidate)


class TopK(Method):
    """One epoch of everything in random order, then whole trainings from the most accurate of the first epoch on."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.first = list(range(len(self.recording.names)))
        self.random.shuffle(self.first)
        self.running, self.order = 0, None

    def propose(self):
        if self.first:
            self.running += 1
            return self.one(self.first.pop())
        if self.running:
            return None
        if self.order is None:
            self.order = self.ranked()
        return self.whole(self.order.pop(0)) if self.order else None

    def one(self, candidate):
        yield from self.epoch(candidate, 1)
        self.running -= 1

    def ranked(self):
        error = {of: 1.0 - self.accuracy(of, 1) for of in range(len(self.recording.names))}
        if not self.is_known:
            return sorted(error, key=error.get)
        # Front by front of whole time and first error; within a front the most accurate first.
        left, order = sorted(error, key=lambda of: (self.recording.whole(of), error[of])), []
        while left:
            best, layer = math.inf, []
            for of in left:
                if error[of] < best:
                    best = error[of]
                    layer.append(of)
            order += sorted(layer, key=error.get)
            left = [of for of in left if of not in set(layer)]
        return order
