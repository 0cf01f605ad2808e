"""Recorded learning curves in Python: what `fastrcaps simulate` makes of them, by the same definitions.

A module of benches/peers.py. Points, front, hypervolume and recall are those of src/engine/simulate/measure.rs, the reading of a
folder that of recording.rs, the order of epochs on several slots that of the simulated worker. `peers.py --self-check` holds
both against each other. Objectives are training time and validation accuracy.
"""

import csv
import sys
import tomllib
from fractions import Fraction

import numpy

CHANCE = 0.1  # accuracy below which nothing counts in the hypervolume
LOOKS = 0.002  # share of the whole cost between two looks at the hypervolume
LONGEST = 10**9  # nanoseconds that the longest epoch lasts, and that a wait does at most


class Recording:
    """Configurations and the curves of their trainings, all to their ends."""

    def __init__(self, folder):
        self.folder = folder
        rows, self.axes = trials(folder / "trials.csv")
        curves_into(rows, folder / "epochs.csv")
        stops = stops_of(folder, rows, self.axes)
        groups = {}
        for row in rows:
            group = groups.setdefault(row["configuration"], {})
            if row["diverged"] or len(row["accuracies"]) == row["epochs"]:
                group[row["replicate"]] = row
        self.replicates = 1 + max(row["replicate"] for row in rows)
        groups = {name: group for name, group in groups.items() if len(group) == self.replicates}
        if not groups:
            sys.exit(f"error: {folder}: no configuration was trained to its end under every seed")
        self.names = list(groups)
        first = [group[0] for group in groups.values()]
        self.values = [row["values"] for row in first]
        self.epochs = [row["epochs"] for row in first]
        self.stops = [stops[name] for name in self.names]
        # By replicate, then by configuration.
        order = [(candidate, group[r]) for r in range(self.replicates) for candidate, group in enumerate(groups.values())]
        self.candidate = [candidate for candidate, _ in order]
        self.curves = [row["accuracies"] for _, row in order]
        self.diverged = [row["diverged"] for _, row in order]
        self.seconds = [costs(list(group.values())) for group in groups.values()]
        self.best = [numpy.maximum.accumulate([0.0, *curve]) for curve in self.curves]

    def trials_of(self, candidate):
        return range(candidate, len(self.candidate), len(self.names))

    def until(self, candidate, epochs):
        """Seconds of a trial's first epochs."""
        return self.seconds[candidate][epochs - 1] if epochs else 0.0

    def whole(self, candidate):
        """Seconds of the training to its end."""
        return self.seconds[candidate][-1]

    def accuracy(self, trials, epoch):
        """Best so far, in the mean over trials of a configuration."""
        best = [self.best[trial] for trial in trials]
        return sum(of[min(epoch, len(of) - 1)] for of in best) / len(best)


def trials(path):
    """Trainings that came to an end, and the names of the axes."""
    with open(path, newline="") as file:
        lines = csv.DictReader(file)
        head = lines.fieldnames
        last = min(head.index(name) for name in ("attempts", "replicate") if name in head)
        axes = head[head.index("configuration") + 1 : last]
        rows = []
        for line in lines:
            if line["status"] in ("done", "diverged"):
                row = {name: int(line[name]) for name in ("replicate", "epochs")}
                row |= {"key": line["key"], "configuration": line["configuration"], "diverged": line["status"] == "diverged"}
                rows.append(row | {"values": [line[axis] for axis in axes], "accuracies": [], "seconds": []})
    if not rows:
        sys.exit(f"error: {path} has no training that came to an end")
    return rows, axes


def curves_into(rows, path):
    of_key = {row["key"]: row for row in rows}
    with open(path, newline="") as file:
        lines = csv.DictReader(file)
        column = "train_seconds_screen" if "train_seconds_screen" in lines.fieldnames else "train_seconds"
        for line in lines:
            if line["key"] in of_key:
                of_key[line["key"]]["accuracies"].append(float(line["validation_accuracy"]))
                of_key[line["key"]]["seconds"].append(float(line[column]))


def costs(group):
    """Seconds of a configuration up to each epoch: the mean over the replicates that have it."""
    seconds = []
    for epoch in range(max(len(row["seconds"]) for row in group)):
        known = [row["seconds"][epoch] for row in group if epoch < len(row["seconds"])]
        total = 0.0
        for of in known:
            total += of
        seconds.append(total / len(known))
    # All that diverged early have no later times: as long as the epochs that there are.
    each = seconds[-1] / len(seconds) if seconds else 1.0
    while len(seconds) < group[0]["epochs"]:
        seconds.append((seconds[-1] if seconds else 0.0) + each)
    return seconds


def stops_of(folder, rows, axes):
    """Of each configuration the epochs after which it is a point: every one, unless study.toml says of schedules that it is not."""
    epochs = {row["configuration"]: row["epochs"] for row in rows}
    path = folder / "study.toml"
    if not path.exists():
        return {name: list(range(1, count + 1)) for name, count in epochs.items()}
    study = tomllib.loads(path.read_text())
    space = tomllib.loads(study["space"])
    values = {row["configuration"]: row["values"] for row in rows}
    return {name: stops(schedules(study, space, axes, values[name]), count, name) for name, count in epochs.items()}


def schedules(study, space, axes, values):
    """The schedules that values of a configuration's axes may mean: more than one only where labels do not tell them apart."""
    bases = [space.get("base", {}).get("schedule", {})]
    settings = [("base", key, [tomllib.loads(f"of = {text}")["of"]]) for key, text in study.get("set", []) if "schedule" in key]
    for axis, label in zip(axes, values):
        if axis.split(".")[0] == "schedule" and label != "":
            given = space.get("axes", {}).get(axis, [])
            settings.append(("axis", axis, [value for value in given if means(value, label)] or given))
    for _, key, choices in settings:
        bases = [changed(base, key.split(".")[1:], choice) for base in bases for choice in choices]
    return bases


def means(value, label):
    """Whether an axis's value may be called so: by its label, its policy with or without more, or itself."""
    if isinstance(value, dict):
        given = value.get("label")
        return given == label if given else label.startswith(value.get("policy", label))
    try:
        return str(value) == label or float(value) == float(label)
    except (TypeError, ValueError):
        return False


def changed(table, path, value):
    if not path:
        return {**table, **value} if isinstance(value, dict) else value
    return {**table, path[0]: changed(table.get(path[0], {}), path[1:], value)}


def stops(schedules, epochs, name):
    found = {tuple(e for e in range(1, epochs + 1) if e == epochs or may_end(of, e, epochs)) for of in schedules}
    if len(found) != 1:
        sys.exit(f"error: {name}: the labels of its schedule do not say which it is; give them other labels")
    return list(found.pop())


def may_end(schedule, epoch, epochs):
    """Whether a training may end there as if it had been planned so: src/learn/schedule/lr.rs."""
    rate = schedule.get("lr", {})
    if epoch < schedule.get("warmup_epochs", 0):
        return False
    policy = rate.get("policy", "fixed")
    if policy != "warm-restarts":
        return policy in ("fixed", "exponential", "step")
    period = rate.get("period", 1.0)
    if period == "batch-phase":
        phases = schedule.get("batch", {}).get("phases", [])
        start, end = 0.0, epochs
        for phase in phases[:-1]:
            if epoch < start + phase["epochs"]:
                end = min(start + phase["epochs"], epochs)
                break
            start += phase["epochs"]
    else:
        start, length, multiplier = 0.0, period, rate.get("multiplier", 1.0)
        while epoch >= start + length:
            start, length = start + length, length * multiplier
        end = start + length
    return abs(start - epoch) < 1e-9 or abs(end - epoch) < 1e-9


class Exhaustive:
    """What all curves come to, and how close what is known comes to it."""

    def __init__(self, recording):
        self.recording = recording
        names = [(candidate, stop) for candidate, of in enumerate(recording.stops) for stop in of]
        self.of = numpy.array([candidate for candidate, _ in names])
        self.stop = numpy.array([stop for _, stop in names])
        self.time = numpy.array([recording.until(candidate, stop) for candidate, stop in names])
        # By replicate; what a diverged training does not have is never known.
        reach = lambda trial, stop: recording.best[trial][min(stop, len(recording.curves[trial]))]
        self.best = [
            numpy.array([reach(recording.trials_of(candidate)[r], stop) for candidate, stop in names])
            for r in range(recording.replicates)
        ]
        if recording.replicates == 1:
            self.best = [rounded(self.best[0], 1)]
        self.length = numpy.array([len(curve) for curve in recording.curves])
        self.diverges = numpy.array(recording.diverged)
        self.cost = sum(recording.until(c, len(curve)) for c, curve in zip(recording.candidate, recording.curves))
        there, self.accuracy = self.points(self.length)
        self.on_front = numpy.zeros(len(names), bool)
        self.on_front[front(self.time, self.accuracy, numpy.flatnonzero(there))] = True
        self.worst = self.time[there].max()
        self.there = there
        self.order = numpy.lexsort((-self.accuracy, self.time))
        self.volume = self.hypervolume(numpy.flatnonzero(self.on_front))
        # Standard error of the difference of two members' mean accuracies.
        spread = [2 * numpy.var(of, ddof=1) / len(of) for of in numpy.array(self.best)[:, self.on_front].T if len(of) > 1]
        self.noise = float(numpy.sqrt(numpy.mean(spread))) if spread else 0.0

    def points(self, known):
        """Which points there are of so many epochs of each trial, and their accuracies."""
        over = (self.diverges & (known >= self.length)).reshape(self.recording.replicates, -1).any(axis=0)
        by_replicate = known.reshape(self.recording.replicates, -1)
        if len(by_replicate) == 1:
            is_known = (by_replicate[0][self.of] >= self.stop) & ~over[self.of]
            return is_known, self.best[0]
        count, total = numpy.zeros(len(self.of), int), numpy.zeros(len(self.of))
        for of, best in zip(by_replicate, self.best):
            is_known = of[self.of] >= self.stop
            total = total + numpy.where(is_known, best, 0.0)
            count += is_known
        mean = rounded(total, numpy.maximum(count, 1))
        return (count > 0) & ~over[self.of], mean

    def members(self, known):
        """Points on the front of so many epochs of each trial."""
        there, accuracy = self.points(known)
        if self.recording.replicates == 1:
            return front_of_sorted(self.time, self.accuracy, self.order[there[self.order]])
        return front(self.time, accuracy, numpy.flatnonzero(there))

    def found(self, known):
        """Their configurations, by time."""
        return dict.fromkeys(int(of) for of in self.of[self.members(known)])

    def reached(self, known):
        """Hypervolume as a share, recall, members that are not of the true front, recall with stand-ins within the noise."""
        members = self.members(known)
        hits = int(self.on_front[members].sum())
        truly = members[self.there[members]]
        count = max(1, int(self.on_front.sum()))
        return self.hypervolume(truly) / self.volume, hits / count, len(members) - hits, self.stood_for(truly) / count

    def stood_for(self, members):
        """How many of the front are members, or have one that takes no more time and is as accurate as far as seeds tell."""
        if not len(members):
            return 0
        order = members[numpy.argsort(self.time[members], kind="stable")]
        best = numpy.concatenate([[-numpy.inf], numpy.maximum.accumulate(self.accuracy[order])])
        within = numpy.searchsorted(self.time[order], self.time[self.on_front], side="right")
        return int((best[within] >= self.accuracy[self.on_front] - self.noise).sum())

    def hypervolume(self, members):
        """Up to the worst time of all and the accuracy of guessing, by the members' true accuracies."""
        area, ceiling = 0.0, CHANCE
        for at in members[numpy.lexsort((-self.accuracy[members], self.time[members]))]:
            if self.time[at] < self.worst and self.accuracy[at] > ceiling:
                area += (self.worst - self.time[at]) * (self.accuracy[at] - ceiling)
                ceiling = self.accuracy[at]
        return area


def rounded(total, count):
    """A mean without what depends on the order of the sum."""
    return numpy.floor(1e12 * total / count + 0.5) / 1e12


def front(time, accuracy, points):
    """Points that no other dominates; equal ones stand beside each other."""
    return front_of_sorted(time, accuracy, points[numpy.lexsort((-accuracy[points], time[points]))])


def front_of_sorted(time, accuracy, points):
    if not len(points):
        return points
    a, t = accuracy[points], time[points]
    before = numpy.concatenate([[-numpy.inf], numpy.maximum.accumulate(a)[:-1]])
    keep = a > before
    for at in numpy.flatnonzero((a[1:] == a[:-1]) & (t[1:] == t[:-1])) + 1:
        keep[at] |= keep[at - 1]
    return points[keep]


class Course:
    """Hypervolume and recall over cost, as a replay goes."""

    def __init__(self, exhaustive, budget=1.0):
        self.exhaustive, self.recording = exhaustive, exhaustive.recording
        self.known = numpy.zeros(len(self.recording.candidate), int)
        self.budget, self.seconds, self.next, self.steps = budget, 0.0, 0.0, []
        # With one seed and without divergence, a front that is that of all curves stays it.
        self.may_settle = self.recording.replicates == 1 and not any(self.recording.diverged)

    def take(self, trial, epoch):
        candidate = self.recording.candidate[trial]
        self.known[trial] = epoch
        self.seconds += self.recording.until(candidate, epoch) - self.recording.until(candidate, epoch - 1)
        if self.seconds >= self.next:
            self.look()
            self.next = self.seconds + LOOKS * self.exhaustive.cost

    def look(self):
        volume, recall, false, within = self.exhaustive.reached(self.known)
        self.steps.append((self.seconds / self.exhaustive.cost, volume, recall, recall == 1.0 and false == 0, within))

    def is_over(self):
        """Whether the budget is spent, or the front is there and stays."""
        settled = self.may_settle and self.steps and self.steps[-1][3]
        return settled or self.seconds >= self.budget * self.exhaustive.cost

    def cost_of(self, share):
        return next((cost for cost, volume, *_ in self.steps if volume >= share), None)

    def cost_of_recall(self, share):
        return next((step[0] for step in self.steps if step[4] >= share), None)

    def cost_of_same_front(self):
        found = None
        for cost, _, _, same, _ in reversed(self.steps):
            if not same:
                break
            found = cost
        return found

    def at(self, cost):
        """Hypervolume and recall at the last look up to this cost."""
        steps = [step for step in self.steps if step[0] <= cost]
        return steps[-1][1:3] if steps else (0.0, 0.0)


def replay(course, propose, slots):
    """Trains what `propose` gives: generators of trials and the epochs that they complete next, one of them a slot.

    A slot whose generator ended asks for another at once, as in the dispatcher. `propose` gives None when there is nothing to
    begin; it is asked again once a generator goes on. The time of an epoch is an equal share of its training, in nanoseconds of the
    simulated worker's clock, so that what is due at once is due at once there too.
    """
    recording = course.recording
    each = [recording.seconds[c][-1] / len(recording.seconds[c]) for c in recording.candidate]
    scale = 1.0 / max(each)
    spans = [round(Fraction(scale * of) * LONGEST) for of in each]
    running, now = [None] * slots, 0
    while True:
        for slot in range(slots):
            while running[slot] is None and (job := propose()) is not None:
                if (step := next(job, None)) is not None:
                    running[slot] = (now + spans[step[0]], step, job)
        if not any(running):
            break
        has_ended = False
        for slot in range(slots):
            if running[slot] and running[slot][0] <= now:
                due, step, job = running[slot]
                course.take(*step)
                if course.is_over():
                    course.look()
                    return
                step = next(job, None)
                running[slot] = step and (due + spans[step[0]], step, job)
                has_ended |= step is None
        if has_ended:
            continue
        now += min([of[0] - now for of in running if of] or [LONGEST])
    course.look()
