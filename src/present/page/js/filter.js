// What is kept: by what was drawn along the axes, and by real inputs beside it, which act alike.

const emptyState = () => ({ text: "", statuses: null, values: {}, limits: {}, brush: {}, sort: null, page: 0 });

const LIMITS = [
  ["least_accuracy", "Validation of at least, %"],
  ["most_seconds", "Time of at most, s"],
  ["most_parameters", "Parameters, at most"],
];

// The last part of an axis's path, where no other ends alike.
const shortName = (path, axes) => {
  const last = (of) => of.split(".").pop();
  return axes.filter((other) => last(other.path) === last(path)).length > 1 ? path : last(path);
};

// The measure of a configuration on every axis of the chart; null where it has none.
const dimensionsOf = (study) => {
  const { points, whole, axes } = study;
  const of = (name) => whole.map((index) => (index < 0 ? null : points[name][index]));
  const logarithm = (values) => values.map((value) => (isKnown(value) && value > 0 ? Math.log10(value) : null));
  // What lies far below the others stands at the lower end, so that these have room.
  const accuracies = of("accuracy");
  const floor = accuracies.some(isKnown) ? floorOf(accuracies.filter(isKnown)) : 0;
  const isCut = accuracies.some((value) => isKnown(value) && value < floor);
  const own = axes
    .map((axis, at) => ({ id: `axis-${at}`, name: shortName(axis.path, axes), categories: axis.values, values: axis.codes }))
    .filter((axis) => axis.categories.length > 1);
  const figures = [
    { id: "parameters", name: "parameters", values: of("parameters"), words: (value) => Number(value.toFixed(0)).toLocaleString("en") },
    { id: "seconds", name: "time", values: logarithm(of("seconds")), words: (value) => duration(10 ** value) },
    { id: "accuracy", name: "validation", floor: isCut ? floor : null, values: accuracies.map((value) => (isKnown(value) ? Math.max(value, floor) : null)), words: (value) => percent(value) },
  ];
  return [...own, ...figures.filter(({ values }) => values.some(isKnown))];
};

const makeFilter = (study, state, changed) => {
  const dimensions = dimensionsOf(study);
  const statuses = study.columns.get("status");
  const of = (candidate, name) => {
    const index = study.whole[candidate];
    return index < 0 ? null : study.points[name][index];
  };
  const isWithin = (candidate) => {
    const { least_accuracy: accuracy, most_seconds: seconds, most_parameters: parameters } = state.limits;
    const misses = (limit, value, holds) => isKnown(limit) && !(isKnown(value) && holds(value));
    return !(
      misses(accuracy, of(candidate, "accuracy"), (value) => 100 * value >= accuracy) ||
      misses(seconds, of(candidate, "seconds"), (value) => value <= seconds) ||
      misses(parameters, of(candidate, "parameters"), (value) => value <= parameters)
    );
  };
  const isDrawn = (candidate) =>
    dimensions.every(({ id, values }) => {
      const intervals = state.brush[id] ?? [];
      const value = values[candidate];
      return intervals.length === 0 || (isKnown(value) && intervals.some(([low, high]) => low <= value && value <= high));
    });
  const hasValues = (candidate) =>
    study.axes.every(({ codes }, at) => !state.values[at] || state.values[at].includes(codes[candidate]));
  const isKept = (candidate) =>
    study.labels[candidate].toLowerCase().includes(state.text.toLowerCase()) &&
    hasValues(candidate) && isWithin(candidate) && isDrawn(candidate);
  const apply = () => {
    const kept = study.labels.map((_, candidate) => isKept(candidate));
    const rows = [];
    study.trials.candidate.forEach((candidate, row) => {
      if (kept[candidate] && (!state.statuses || state.statuses.includes(statuses[row]))) rows.push(row);
    });
    changed(kept, rows);
  };
  const change = (update) => {
    update();
    state.page = 0;
    apply();
  };
  return { dimensions, apply, change };
};

const checks = (legend, options, isOn, toggled) =>
  element("fieldset", {}, element("legend", {}, legend), ...options.map(([name, value]) => {
    const box = element("input", { type: "checkbox", change: () => toggled(value, box.checked) });
    box.checked = isOn(value);
    return element("label", {}, box, name);
  }));

// A box for every value of `all`; all of them on is no constraint.
const choice = (legend, options, get, set, change) => {
  const all = options.map(([, value]) => value);
  return checks(legend, options, (value) => !get() || get().includes(value), (value, on) => change(() => {
    const now = (get() ?? all).filter((other) => other !== value);
    if (on) now.push(value);
    set(now.length === all.length ? null : now);
  }));
};

const fillFilters = (study, state, filter, reset) => {
  const { change } = filter;
  const form = byId("filters");
  const search = element("input", { type: "search", placeholder: "part of a name", input: () => change(() => { state.text = search.value; }) });
  search.value = state.text;
  const parts = [element("fieldset", {}, element("legend", {}, "Configuration"), element("label", {}, search))];
  const statuses = [...new Set(study.columns.get("status"))].map((status) => [status, status]);
  parts.push(choice("Status of trials", statuses, () => state.statuses, (to) => { state.statuses = to; }, change));
  study.axes.forEach(({ path, values, codes }, at) => {
    if (values.length < 2) return;
    const options = values.map((value, code) => [value, code]);
    if (codes.includes(-1)) options.push(["does not matter", -1]);
    parts.push(choice(path, options, () => state.values[at], (to) => { state.values[at] = to; }, change));
  });
  for (const [name, words] of LIMITS) {
    const input = element("input", {
      type: "number", step: "any", min: "0",
      input: () => change(() => { state.limits[name] = input.value === "" ? null : Number(input.value); }),
    });
    if (isKnown(state.limits[name])) input.value = state.limits[name];
    parts.push(element("fieldset", {}, element("legend", {}, words), element("label", {}, input)));
  }
  parts.push(element("button", { type: "button", id: "reset", click: reset }, "Keep all"));
  form.replaceChildren(...parts);
  form.addEventListener("submit", (event) => event.preventDefault());
};
