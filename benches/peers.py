#!/usr/bin/env python3
"""Replays recorded learning curves under other methods of multi-objective search, beside our strategies.

    python3 benches/peers.py --install ENVIRONMENTS
    python3 benches/peers.py --self-check RECORDING --binary target/release/fastrcaps --environments ENVIRONMENTS
    python3 benches/peers.py RECORDING… --method nsga2 --seeds 30 --environments ENVIRONMENTS --out rows.csv
    python3 benches/peers.py RECORDING… --method freeze-thaw --seeds 30 --binary target/release/fastrcaps --out rows.csv
    python3 benches/peers.py --table rows.csv

A recording is a folder with trials.csv and epochs.csv, and study.toml where its schedules matter, as `fastrcaps simulate` reads it.
--install makes a Python environment for each peer's packages. --method runs one method, a row for each recording and seed, added
to the file of --out; rows that are there are not made again. `--method list` says which methods there are. --table prints
medians and the worst of all seeds, each recording for itself and the recordings of a folder together.

The objectives are training time and validation accuracy. Every method pays for the epochs that it trains, by the same clock, until
the budget is spent (--budget, a share of the training time of all) or it has nothing to begin. It is credited with every epoch that
is a point, whatever it was trained for. A method knows neither curves nor fronts before it paid for them. Peers get each
configuration as a point in a space of axes: numbers of up to 16 values by their rank, other numbers between their extremes, by
logarithm where the median is nearer to the middle of the logarithms, everything else as categories. A proposal in that space is
taken as the nearest configuration that was not begun, and the peer is told so. Peers whose name ends in -known are given the
training times beforehand: --method list says how.
"""

import argparse
import csv
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings

try:
    from recorded import Course, Exhaustive, Recording, replay

    import numpy
except ImportError:
    # Neither the table nor an installation needs it; everything else starts again in an environment that has it.
    numpy = None

PACKAGES = {
    "plain": ["numpy==2.4.6"],
    "optuna": ["numpy==2.4.6", "optuna==5.0.0"],
    "smac": ["numpy==2.4.6", "smac==2.4.1"],
    "syne-tune": ["numpy==2.4.6", "syne-tune==0.16.0"],
}
BUDGETS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]
FEW = 16  # values of an axis that are taken as ranks
CAPS = 5  # studies with a pruner, each with a time cap twice that of the one before
CHECKED = 100  # of MOASHA's decisions, those that are computed by the package's own sort too
OURS = ["freeze-thaw", "halving", "random-order", "grid"]


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
            low, high, middle = min(numbers), max(numbers), sorted(numbers)[len(numbers) // 2]
            if low > 0 and abs(math.log(middle) - math.log(low * high) / 2) / math.log(high / low) < abs(
                middle - (low + high) / 2
            ) / (high - low):
                numbers, low, high = [math.log(value) for value in numbers], math.log(low), math.log(high)
            self.of = [(value - low) / (high - low) for value in numbers]
        self.is_rank = not self.is_category and len(self.choices) <= FEW


class Method:
    """A method on a recording. Subclasses propose generators of trainings: see `replay`."""

    is_known = False

    def __init__(self, course, seed, known):
        self.course, self.recording, self.seed, self.is_known = course, course.recording, seed, known
        self.random = random.Random(seed)
        self.begun = set()
        recording = self.recording
        self.axes = [Axis(name, [of[at] for of in recording.values]) for at, name in enumerate(recording.axes)]
        self.axes = [axis for axis in self.axes if len(axis.choices) > 1]
        if known:
            self.axes.append(Axis("seconds", [recording.whole(of) for of in range(len(recording.names))]))

    def left(self):
        return [of for of in range(len(self.recording.names)) if of not in self.begun]

    def epoch(self, candidate, epoch):
        """Trains all replicates up to there, from where they are."""
        for trial in self.recording.trials_of(candidate):
            while self.course.known[trial] < min(epoch, len(self.recording.curves[trial])):
                yield trial, int(self.course.known[trial]) + 1

    def whole(self, candidate):
        for epoch in range(1, self.recording.epochs[candidate] + 1):
            yield from self.epoch(candidate, epoch)

    def has_diverged(self, candidate):
        of = self.recording.trials_of(candidate)
        curves, known = self.recording.curves, self.course.known
        return any(self.recording.diverged[trial] and known[trial] >= len(curves[trial]) for trial in of)

    def accuracy(self, candidate, epoch):
        return 0.0 if self.has_diverged(candidate) else float(self.recording.accuracy(candidate, epoch))

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


class Optuna(Method):
    """An Optuna study of whole trainings with two objectives."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.study = study(self.sampler(self.seed), directions=["minimize", "minimize"])
        self.distributions = distributions(self.axes)

    def propose(self):
        left = self.left()
        if not left:
            return None
        trial, candidate = asked(self, self.study, left)
        self.begun.add(candidate)
        return self.train(trial, candidate)

    def train(self, trial, candidate):
        yield from self.whole(candidate)
        self.study.tell(trial, self.objectives(candidate))


class Nsga2(Optuna):
    def sampler(self, seed):
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed)


class Tpe(Optuna):
    def sampler(self, seed):
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed)


class PrunedTpe(Method):
    """Optuna studies of accuracy within a time cap, by turns; each prunes by the median. Caps are 1/16 to all of the longest
    training's time. Epochs that another study paid for cost nothing."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        from optuna.pruners import MedianPruner
        from optuna.samplers import TPESampler

        self.distributions = distributions(self.axes)
        longest = max(self.recording.whole(of) for of in range(len(self.recording.names)))
        self.capped = []
        for number in range(CAPS):
            cap = longest / 2 ** (CAPS - 1 - number)
            within = {}
            for candidate, stops in enumerate(self.recording.stops):
                fit = [stop for stop in stops if self.recording.until(candidate, stop) <= cap]
                if fit:
                    within[candidate] = fit[-1]
            sampler = TPESampler(seed=self.seed * CAPS + number)
            self.capped.append((study(sampler, direction="maximize", pruner=MedianPruner()), within))

    def propose(self):
        self.capped = [of for of in self.capped if of[1]]
        if not self.capped:
            return None
        of, within = self.capped.pop(0)
        self.capped.append((of, within))
        trial, candidate = asked(self, of, sorted(within))
        return self.train(of, trial, candidate, within.pop(candidate))

    def train(self, of, trial, candidate, epochs):
        from optuna.trial import TrialState

        for epoch in range(1, epochs + 1):
            yield from self.epoch(candidate, epoch)
            trial.report(self.accuracy(candidate, epoch), epoch)
            if epoch < epochs and trial.should_prune():
                of.tell(trial, state=TrialState.PRUNED)
                return
        of.tell(trial, self.accuracy(candidate, epochs))


def study(sampler, **how):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    return optuna.create_study(sampler=sampler, **how)


def distributions(axes):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def of(axis):
        if axis.is_category:
            return CategoricalDistribution(list(range(len(axis.choices))))
        return IntDistribution(0, len(axis.choices) - 1) if axis.is_rank else FloatDistribution(0.0, 1.0)

    return {axis.name: of(axis) for axis in axes}


def asked(method, study, among):
    """A trial of a study, and the configuration that it stands for: the study is told that it asked for that one."""
    trial = study.ask(method.distributions)
    scale = lambda axis, x: x / (len(axis.choices) - 1) if axis.is_rank else x
    candidate = method.nearest([scale(axis, trial.params[axis.name]) for axis in method.axes], among)
    for axis in method.axes:
        distribution = method.distributions[axis.name]
        value = axis.of[candidate] * (len(axis.choices) - 1) if axis.is_rank else axis.of[candidate]
        value = round(value) if axis.is_rank else value
        # There is no public way to say so of a trial that was asked for.
        study._storage.set_trial_param(trial._trial_id, axis.name, distribution.to_internal_repr(value), distribution)
    return trial, candidate


class ParEgo(Method):
    """SMAC3's facade for hyperparameters (random forest, expected improvement) with ParEGO, of whole trainings. Its acquisition
    function is evaluated on all configurations that were not begun, in the place of a search in the space around them."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        import joblib

        # Trees one after the other: the same trees, without the waiting of threads for each other.
        joblib.parallel_config("sequential")
        self.folder = tempfile.TemporaryDirectory(prefix="peers-smac-")
        self.configurations, self.smac = parego(self)
        self.at = {of: at for at, of in enumerate(self.configurations)}

    def propose(self):
        if not self.left():
            return None
        info = self.smac.ask()
        self.begun.add(self.at[info.config])
        return self.train(info, self.at[info.config])

    def train(self, info, candidate):
        from smac.runhistory.dataclasses import TrialValue

        yield from self.whole(candidate)
        self.smac.tell(info, TrialValue(cost=list(self.objectives(candidate))), save=False)


def parego(method):
    """The configurations as SMAC has them, and the facade."""
    from ConfigSpace import CategoricalHyperparameter, Configuration, ConfigurationSpace, Float, Integer
    from smac import HyperparameterOptimizationFacade as Facade
    from smac import Scenario
    from smac.acquisition.maximizer.abstract_acquisition_maximizer import AbstractAcquisitionMaximizer
    from smac.initial_design.default_design import DefaultInitialDesign

    class Space(ConfigurationSpace):
        """Random configurations of it are of the recording."""

        def sample_configuration(self, size=None):
            drawn = [pool[method.random.choice(method.left())] for _ in range(size or 1)]
            return drawn[0] if size is None else drawn

    class Pool(AbstractAcquisitionMaximizer):
        def _maximize(self, previous_configs, n_points):
            return self._sort_by_acquisition_value([pool[of] for of in method.left()])

    class Sobol(Facade.get_initial_design.__globals__["SobolInitialDesign"]):
        """The nearest configurations of the recording to those of SMAC's own design."""

        def _select_configurations(self):
            taken = []
            for drawn in super()._select_configurations():
                point = [unit(axis, drawn[axis.name]) for axis in method.axes]
                taken.append(method.nearest(point, [of for of in method.left() if of not in taken]))
            return [pool[of] for of in taken]

    unit = lambda axis, x: x / (len(axis.choices) - 1) if axis.is_rank else x
    space, pool = Space(seed=method.seed), []
    for axis in method.axes:
        count = len(axis.choices)
        kind = CategoricalHyperparameter(axis.name, list(range(count))) if axis.is_category else None
        kind = kind or (Integer(axis.name, (0, count - 1)) if axis.is_rank else Float(axis.name, (0.0, 1.0)))
        space.add(kind)
    for candidate in range(len(method.recording.names)):
        value = lambda axis: round(axis.of[candidate] * (len(axis.choices) - 1)) if axis.is_rank else axis.of[candidate]
        pool.append(Configuration(space, values={axis.name: value(axis) for axis in method.axes}))
    trainings = max(10, math.ceil(len(pool) * min(1.0, method.course.budget)))
    how = {"deterministic": True, "n_trials": trainings, "seed": method.seed, "output_directory": pathlib.Path(method.folder.name)}
    scenario = Scenario(space, objectives=["seconds", "error"], **how)
    facade = Facade(
        scenario,
        lambda config, seed=0: [0.0, 0.0],
        multi_objective_algorithm=Facade.get_multi_objective_algorithm(scenario),
        acquisition_maximizer=Pool(space, seed=method.seed),
        initial_design=Sobol(scenario, n_configs_per_hyperparameter=10, max_ratio=0.25),
        overwrite=True,
        logging_level=False,
    )
    return pool, facade


class MoAsha(Method):
    """Syne Tune's MOASHA as it is shipped, of the time so far and the error so far; it draws configurations at random."""

    priority = "AsShipped"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        # It draws by the global stream, whatever seed it is given.
        numpy.random.seed(self.seed)
        random.seed(self.seed)
        count = len(self.recording.names)
        space, priority = {"configuration": randint(0, count - 1)}, priorities()[self.priority]()
        how = {"time_attr": "epoch", "max_t": max(self.recording.epochs), "multiobjective_priority": priority}
        self.scheduler = MOASHA(space, metrics=["seconds", "error"], random_seed=self.seed, **how)

    def propose(self):
        import datetime

        from syne_tune.backend.trial_status import Trial

        if len(self.begun) == len(self.recording.names):
            return None
        while (config := self.scheduler.suggest().config)["configuration"] in self.begun:
            pass
        trial = Trial(len(self.begun), config, datetime.datetime(2000, 1, 1))
        self.begun.add(config["configuration"])
        self.scheduler.on_trial_add(trial)
        return self.train(trial, config["configuration"])

    def train(self, trial, candidate):
        epochs = self.recording.epochs[candidate]
        for epoch in range(1, epochs + 1):
            yield from self.epoch(candidate, epoch)
            seconds = self.recording.until(candidate, epochs if self.is_known else epoch)
            result = {"epoch": epoch, "seconds": seconds, "error": 1.0 - self.accuracy(candidate, epoch)}
            if epoch == epochs or self.has_diverged(candidate):
                self.scheduler.on_trial_complete(trial, result)
                return
            if self.scheduler.on_trial_result(trial, result) != "CONTINUE":
                self.scheduler.on_trial_remove(trial)
                return


class CorrectedMoAsha(MoAsha):
    """With priorities that are ranks. As shipped, they are the indices of the sorted results, the best first, so that the last
    result is judged by the index of the worst; and the order within a front is the inverse of the one that was meant."""

    priority = "Ranks"


def priorities():
    """Priorities that decide as Syne Tune's would, in less time: its bracket compares that of the last result with all others, so
    that no more of the order is computed than this needs. The first calls are held against the package's own."""
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import NonDominatedPriority
    from syne_tune.optimizer.schedulers.multiobjective.non_dominated_priority import compute_epsilon_net, nondominated_sort

    def below_last(priorities):
        return int((priorities < priorities[-1]).sum())

    class AsShipped(NonDominatedPriority):
        calls = 0

        def priority_unsafe(self, objectives):
            worst = layers(objectives)[-1]
            # The last of the sorted indices, with ranks in the place of an order as the package has it.
            last = worst[compute_epsilon_net(objectives[worst], dim=self.dim)[-1]]
            found = numpy.arange(len(objectives))
            found[[last, -1]] = found[[-1, last]]
            self.calls += 1
            if self.calls <= CHECKED and below_last(found) != below_last(super().priority_unsafe(objectives)):
                sys.exit("error: Syne Tune's own priorities are others than these: another version?")
            return found

    class Ranks(NonDominatedPriority):
        calls = 0

        def priority_unsafe(self, objectives):
            found, before = numpy.zeros(len(objectives), int), 0
            for layer in layers(objectives):
                found[layer] = before + compute_epsilon_net(objectives[layer], dim=self.dim) if layer[-1] == len(found) - 1 else before
                before += len(layer)
            self.calls += 1
            if self.calls <= CHECKED:
                fronts = nondominated_sort(objectives, dim=self.dim, flatten=False)
                if [sorted(of) for of in fronts] != [of.tolist() for of in layers(objectives)]:
                    sys.exit("error: Syne Tune's own fronts are others than these: another version?")
            return found

    return {"AsShipped": AsShipped, "Ranks": Ranks}


def layers(objectives):
    """Front after front of two objectives, each in the order in which its points came."""
    found, tails = [], []
    for at in numpy.lexsort((objectives[:, 1], objectives[:, 0])):
        point = tuple(objectives[at])
        place = next((place for place, tail in enumerate(tails) if tail[1] > point[1] or tail == point), len(tails))
        if place == len(tails):
            tails.append(point)
            found.append([])
        tails[place] = point
        found[place].append(at)
    return [numpy.array(sorted(of)) for of in found]


# By name: class, environment, whether times are known beforehand, and how.
METHODS = {
    "random": (Random, "plain", False, ""),
    "top-k": (TopK, "plain", False, ""),
    "top-k-known": (TopK, "plain", True, "ranks by fronts of the whole time and the first epoch's error"),
    "nsga2": (Nsga2, "optuna", False, "Optuna's NSGA-II"),
    "nsga2-known": (Nsga2, "optuna", True, "the whole time as one more axis"),
    "tpe": (Tpe, "optuna", False, "Optuna's multi-objective TPE"),
    "tpe-known": (Tpe, "optuna", True, "the whole time as one more axis"),
    "tpe-pruned": (PrunedTpe, "optuna", False, "knows times in any case, by its caps"),
    "parego": (ParEgo, "smac", False, ""),
    "parego-known": (ParEgo, "smac", True, "the whole time as one more axis, true of every configuration it weighs"),
    "moasha": (MoAsha, "syne-tune", False, ""),
    "moasha-corrected": (CorrectedMoAsha, "syne-tune", False, ""),
    "moasha-known": (CorrectedMoAsha, "syne-tune", True, "corrected; the objective is the whole time"),
}
COLUMNS = ["method", "recording", "seed", "slots", "budget", "configurations", "exhaustive_seconds", "front", "cost"]
COLUMNS += ["hypervolume", "recall", "false_members", "cost_99", "cost_995", "cost_999", "cost_same_front"]
COLUMNS += [f"{name}_at_{100 * share:.0f}" for name in ("hypervolume", "recall") for share in BUDGETS]


def name_of(folder):
    """A recording's name: its folder's, and that of the folder which that is in."""
    return "/".join(folder.resolve().parts[-2:])


def figures(course):
    """The columns of a row that a replay gives."""
    volume, recall, false = course.exhaustive.reached(course.known)
    row = {"configurations": len(course.recording.names), "exhaustive_seconds": f"{course.exhaustive.cost:.1f}"}
    row |= {"front": int(course.exhaustive.on_front.sum()), "cost": course.seconds / course.exhaustive.cost}
    row |= {"hypervolume": volume, "recall": recall, "false_members": false, "cost_same_front": course.cost_of_same_front()}
    row |= {f"cost_{name}": course.cost_of(share) for name, share in [("99", 0.99), ("995", 0.995), ("999", 0.999)]}
    for share in BUDGETS:
        if share <= course.budget + 1e-9 or course.seconds < course.budget * course.exhaustive.cost:
            row[f"hypervolume_at_{100 * share:.0f}"], row[f"recall_at_{100 * share:.0f}"] = course.at(share)
    return row


def ours(binary, folder, strategy, seeds, slots):
    """Rows of `fastrcaps simulate`, settings as shipped."""
    strategy = {"random-order": "random"}.get(strategy, strategy)
    command = [str(binary), "simulate", str(folder), "--strategy", strategy, "--slots", str(slots), "--seeds", str(seeds), "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{run.stderr}")
    for line in run.stdout.splitlines():
        yield json.loads(line)


def our_row(outcome):
    first = lambda share: next((step["cost"] for step in outcome["steps"] if step["hypervolume"] >= share), None)
    row = {name: outcome[name] for name in ("cost", "hypervolume", "recall", "false_members", "cost_same_front")}
    row |= {"cost_99": first(0.99), "cost_995": first(0.995), "cost_999": first(0.999)}
    for share in BUDGETS:
        before = [step["hypervolume"] for step in outcome["steps"] if step["cost"] <= share]
        row[f"hypervolume_at_{100 * share:.0f}"] = before[-1] if before else 0.0
        if outcome["cost"] <= share:
            row[f"recall_at_{100 * share:.0f}"] = outcome["recall"]
    return row


def rows_of(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add(path, rows):
    """Adds rows to the file, as texts: what is unknown is empty."""
    text = lambda value: "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({name: text(row.get(name)) for name in COLUMNS} for row in rows)


def run(arguments):
    """Rows of one method on all recordings."""
    done = {(row["method"], row["recording"], row["seed"], row["slots"]) for row in rows_of(arguments.out)}
    for folder in arguments.recordings:
        about = {"method": arguments.method, "recording": name_of(folder), "slots": arguments.slots, "budget": arguments.budget}
        missing = lambda seed: (about["method"], about["recording"], str(seed), str(arguments.slots)) not in done
        seeds = [seed for seed in range(arguments.seeds) if missing(seed)]
        rows = []
        if arguments.method in OURS:
            if seeds:
                outcomes = ours(arguments.binary, folder, arguments.method, arguments.seeds, arguments.slots)
                about["budget"] = ""
                rows = [about | our_row(of) | {"seed": of["seed"]} for of in outcomes if of["seed"] in seeds]
            add(arguments.out, rows)
            continue
        kind, _, known, _ = METHODS[arguments.method]
        exhaustive = Exhaustive(Recording(folder))
        for seed in seeds:
            course = Course(exhaustive, arguments.budget)
            replay(course, kind(course, seed, known).propose, arguments.slots)
            add(arguments.out, [about | figures(course) | {"seed": seed}])
            shown = [course.cost_of(share) for share in (0.99, 0.999)] + [course.cost_of_same_front()]
            shown = ", ".join("never" if cost is None else f"{cost:.3f}" for cost in shown)
            print(f"{arguments.method} {about['recording']} seed {seed}: {shown}", file=sys.stderr, flush=True)


def self_check(arguments):
    """The cost course of our grid, in Python and by `fastrcaps simulate`: the same steps."""
    worst = 0.0
    for folder in arguments.recordings:
        exhaustive = Exhaustive(Recording(folder))
        for slots in (1, 3):
            (outcome,) = ours(arguments.binary, folder, "grid", 1, slots)
            course = Course(exhaustive, math.inf)
            course.may_settle = False
            replay(course, Grid(course, 0, False).propose, slots)
            theirs = [(step["cost"], step["hypervolume"], step["same_front"]) for step in outcome["steps"]]
            mine = [(cost, volume, same) for cost, volume, _, same in course.steps]
            if len(mine) != len(theirs):
                sys.exit(f"error: {folder}, {slots} slots: {len(mine)} steps, simulate has {len(theirs)}")
            for at, (one, other) in enumerate(zip(mine, theirs)):
                apart = max(abs(one[0] - other[0]), abs(one[1] - other[1]))
                worst = max(worst, apart)
                if not (apart <= 1e-9 and one[2] == other[2]):
                    sys.exit(f"error: {folder}, {slots} slots, step {at}: {one}, simulate has {other}")
            print(f"{name_of(folder)}, {slots} slots: {len(mine)} steps are the same; front of {int(exhaustive.on_front.sum())}")
    print(f"largest difference {worst:.1e}")


def middle(values):
    """Median; what was never reached is beyond everything."""
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 or values[half] == math.inf else (values[half - 1] + values[half]) / 2


def costs(rows, column):
    """Median, worst and how many never reached it."""
    values = [float(row[column]) if row[column] else math.inf for row in rows]
    never = values.count(math.inf)
    shown = lambda value: "never" if value == math.inf else f"{value:.3f}"
    worst = f"never {never}/{len(values)}" if never else shown(max(values))
    return f"{shown(middle(values))} ({worst})"


def shares(rows, column):
    """Median and worst."""
    values = [float(row[column]) for row in rows if row[column]]
    return f"{middle(values):.3f} ({min(values):.3f})" if values else ""


def table(arguments):
    from compare import table as markdown

    rows = [row for path in arguments.table for row in rows_of(path)]
    known = list(METHODS)
    methods = [name for name in [*OURS, *known] if any(row["method"] == name for row in rows)]
    groups = {}
    for row in rows:
        group = row["recording"].split("/")[0]
        keys = [row["recording"]] + ([f"all of {group}"] if group not in arguments.apart else [])
        for key in keys:
            groups.setdefault((key, row["slots"]), []).append(row)
    head = ["method", "seeds", "99 %", "99.5 %", "99.9 %", "same front", "cost at the end", "hypervolume", "recall"]
    for (name, slots), of in groups.items():
        recordings = len({row["recording"] for row in of})
        if name.startswith("all of") and recordings == 1:
            continue
        if arguments.together and recordings == 1 and f"all of {name.split('/')[0]}" in {key for key, _ in groups}:
            if len({row["recording"] for row in groups[(f"all of {name.split('/')[0]}", slots)]}) > 1:
                continue
        thaw = [row for row in of if row["method"] == "freeze-thaw"]
        ends = middle([float(row["cost"]) for row in thaw]) if thaw else 0.2
        share = next((share for share in BUDGETS if share >= ends), 1.0)
        lines = []
        for method in methods:
            some = [row for row in of if row["method"] == method]
            if some:
                reached = [costs(some, f"cost_{name}") for name in ("99", "995", "999", "same_front")]
                at = [shares(some, f"{name}_at_{100 * share:.0f}") for name in ("hypervolume", "recall")]
                lines.append([method, len(some), *reached, costs(some, "cost"), *at])
        told = head[:-2] + [f"{name} at {100 * share:.0f} %" for name in head[-2:]]
        count = f", {recordings} recordings" if recordings > 1 else ""
        print(f"## {name}, {slots} slot{'' if slots == '1' else 's'}{count}\n\n{markdown(told, lines)}\n")


def install(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, packages in PACKAGES.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        subprocess.run([str(folder / name / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], check=True)
        print(f"{folder / name}: {', '.join(packages)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=pathlib.Path, metavar="RECORDING", help="folders of trials.csv and epochs.csv")
    parser.add_argument("--method", choices=[*METHODS, *OURS, "list"], metavar="NAME", help="the method, or `list`")
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="seeds, from 0 on [30]")
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="trainings at once [1]")
    parser.add_argument("--budget", type=float, default=1.0, metavar="SHARE", help="of the training time of all [1]")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="CSV file to add rows to")
    parser.add_argument("--environments", type=pathlib.Path, metavar="FOLDER", help="what --install made [this Python for all]")
    parser.add_argument("--binary", type=pathlib.Path, default="target/release/fastrcaps", metavar="FILE", help="our program")
    parser.add_argument("--install", type=pathlib.Path, metavar="FOLDER", help="make an environment for each peer there")
    parser.add_argument("--self-check", action="store_true", help="hold our own grid's course against `fastrcaps simulate`")
    parser.add_argument("--table", nargs="+", type=pathlib.Path, metavar="FILE", help="print what rows come to")
    parser.add_argument("--together", action="store_true", help="in a table, of several recordings of a folder only all together")
    parser.add_argument("--apart", nargs="*", default=[], metavar="FOLDER", help="in a table, folders never taken together")
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.install:
        return install(arguments.install)
    if arguments.table:
        return table(arguments)
    if arguments.method == "list":
        for name, (kind, environment, _, how) in METHODS.items():
            about = " ".join((kind.__doc__ or "").split()) or how
            print(f"{name:<18} {environment:<10} {about}" + (f" Known times: {how}." if how and kind.__doc__ else ""))
        return print(f"{', '.join(OURS)}: ours, by --binary")
    if not arguments.recordings or not (arguments.self_check or arguments.method and arguments.out):
        sys.exit("error: give recordings, and --self-check or --method and --out; or --install, --table")
    environment = "plain" if arguments.self_check else METHODS.get(arguments.method, (0, "plain"))[1]
    python = arguments.environments and arguments.environments / environment / "bin" / "python"
    if python and pathlib.Path(sys.prefix).resolve() != (arguments.environments / environment).resolve():
        if not python.exists():
            sys.exit(f"error: there is no {python}: make it with --install {arguments.environments}")
        os.execv(python, [str(python), *sys.argv])
    if numpy is None:
        sys.exit("error: this Python has no numpy: --install FOLDER makes environments, --environments FOLDER uses them")
    return self_check(arguments) if arguments.self_check else run(arguments)


if __name__ == "__main__":
    main()
