"""Methods that benches/peers.py replays recordings under, from packages of others: Optuna, SMAC3, Syne Tune.

Each is imported where it is used, as each has an environment of its own.
"""

import datetime
import math
import pathlib
import random
import sys
import tempfile
import warnings

import numpy
from peer_methods import Method

CAPS = 5  # studies with a pruner, each with a time cap twice that of the one before
CHECKED = 100  # of MOASHA's decisions, those that are computed by the package's own sort too


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
