// Parallel coordinates: a line a configuration. Axes of names are numbered ones with names at their ticks, so that all of them can
// be drawn along.

const axisOf = (dimension, at, dimensions, narrow) => {
  const { id, name, categories, values, words } = dimension;
  const known = values.filter(isKnown);
  const style = {
    id, dim: at, name, type: "value",
    nameTextStyle: { color: colour("ink"), fontSize: 11, fontWeight: "bold", width: narrow ? 92 : 150, overflow: "truncate" },
    axisLine: { lineStyle: { color: colour("muted") } }, axisTick: { show: !categories }, minorTick: { show: false },
    nameLocation: "start", inverse: false,
    areaSelectStyle: { width: 22, borderColor: colour("accent"), color: colour("accent"), opacity: .25 },
  };
  // A halo, as lines pass below.
  const halo = { textBorderColor: colour("paper"), textBorderWidth: 3 };
  const label = { color: colour("ink"), fontSize: 11, width: narrow ? 64 : 120, overflow: "truncate", hideOverlap: true, ...halo };
  if (categories) {
    const least = values.includes(-1) ? -1 : 0;
    const text = (value) => (Number.isInteger(value) ? value < 0 ? (least < 0 && value === -1 ? "does not matter" : "") : categories[value] ?? "" : "");
    return { ...style, min: least - 1, max: categories.length, interval: 1, axisLabel: { ...label, formatter: text } };
  }
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const pad = .02 * (high - low || Math.abs(high) || 1);
  return { ...style, min: low - pad, max: high + pad, splitNumber: narrow ? 3 : 5, axisLabel: { ...label, formatter: (value) => (value < low || value > high ? "" : words(value)) } };
};

const relationsOption = (study, filter, kept) => {
  const { dimensions } = filter;
  const isWhole = (candidate) => study.whole[candidate] >= 0 && isKnown(study.points.accuracy[study.whole[candidate]]);
  const shown = study.labels.map((_, candidate) => candidate).filter(isWhole);
  if (shown.length === 0) return null;
  const narrow = isNarrow();
  const line = (candidate) => dimensions.map(({ values }) => values[candidate] ?? null);
  const accuracies = shown.map((candidate) => study.points.accuracy[study.whole[candidate]]);
  const many = shown.length;
  const opacity = Math.max(.12, Math.min(.75, 60 / many));
  const series = (name, candidates, lineStyle, z) => ({
    name, type: "parallel", z, lineStyle, inactiveOpacity: lineStyle.opacity, activeOpacity: lineStyle.opacity,
    data: candidates.map((candidate) => [...line(candidate), study.whole[candidate]]), progressive: 2000, smooth: false,
  });
  return {
    ...base(),
    tooltip: { ...base().tooltip, formatter: ({ value }) => tip(study, value[value.length - 1]) },
    visualMap: {
      type: "continuous", show: false, seriesIndex: 1, dimension: dimensions.findIndex(({ id }) => id === "accuracy"),
      min: floorOf(accuracies), max: Math.max(...accuracies), inRange: { color: ["#440154", "#365c8d", "#1fa187", "#8fd03f"] },
    },
    parallel: {
      left: narrow ? 104 : 80, right: narrow ? 28 : 90, top: 28, bottom: 44, layout: narrow ? "vertical" : "horizontal",
      axisExpandable: false, parallelAxisDefault: { nameGap: narrow ? 8 : 18 },
    },
    parallelAxis: dimensions.map((dimension, at) => axisOf(dimension, at, dimensions, narrow)),
    series: [
      series("left out", shown.filter((candidate) => !kept[candidate]), { color: colour("context"), opacity: Math.min(.1, opacity), width: 1 }, 1),
      series("kept", shown.filter((candidate) => kept[candidate]), { opacity, width: many > 500 ? 1 : 1.6 }, 2),
    ],
  };
};

// Takes up what is drawn along an axis.
const followBrush = (chart, state, filter) => {
  chart.on("axisareaselected", (event) => {
    for (const { parallelAxisId, intervals } of event.batch ?? [event]) {
      if (!isKnown(parallelAxisId)) continue;
      filter.change(() => { state.brush[parallelAxisId] = intervals ?? []; });
    }
  });
};

const releaseBrush = (chart, dimensions) => {
  for (const { id } of dimensions) chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId: id, intervals: [] });
};
