// Validation accuracy over the epochs.

// Context that is drawn: more lines tell nothing more, and take long.
const MOST_CONTEXT = 300;

const curvesOption = (study, kept) => {
  const { curves, points } = study;
  const fronts = new Set(study.front.map((index) => points.candidate[index]));
  const rank = (candidate) => (candidate === study.baseline ? 2 : fronts.has(candidate) ? 1 : 0);
  const all = curves.of.filter(([candidate]) => kept[candidate]);
  if (all.length === 0) return null;
  const context = all.filter(([candidate]) => rank(candidate) === 0);
  const each = Math.max(1, Math.ceil(context.length / MOST_CONTEXT));
  const shown = [...context.filter((_, index) => index % each === 0), ...all.filter(([candidate]) => rank(candidate) > 0)];
  const paint = [colour("context"), colour("front"), colour("accent")];
  const last = shown.flatMap(([, values]) => values.filter(isKnown));
  const many = shown.length > 60;
  const series = shown.map(([candidate, values]) => {
    const at = rank(candidate);
    return {
      name: study.labels[candidate], type: "line", data: values.map((value, index) => [index + 1, value, candidate]), z: 2 + at,
      symbol: values.length === 1 ? "circle" : "none", symbolSize: 6, triggerLineEvent: true, emphasis: { lineStyle: { width: 4 } },
      lineStyle: { color: paint[at], width: at ? 2.2 : 1, opacity: at ? 1 : many ? .25 : .55, type: at === 2 ? "dashed" : "solid" },
      itemStyle: { color: paint[at] },
    };
  });
  return {
    ...base(),
    tooltip: {
      ...base().tooltip,
      formatter: ({ seriesName, value }) => element("div", { class: "tip" }, element("b", {}, seriesName),
        Array.isArray(value) ? element("div", {}, element("span", {}, `epoch ${value[0]}`), element("span", {}, percent(value[1]))) : null),
    },
    grid: { left: 64, right: 48, top: 40, bottom: 74 },
    xAxis: { ...axisStyle("epoch"), type: "value", min: 1, minInterval: 1, max: Math.max(2, ...shown.map(([, values]) => values.length)), nameLocation: "middle", nameGap: 28 },
    title: each > 1 ? { text: `every ${each}th of the other configurations is drawn`, textStyle: { fontSize: 11, fontWeight: "normal", color: colour("muted") }, right: 48, top: 4 } : undefined,
    yAxis: accuracyAxis(last), dataZoom: zoomOf(last), series,
  };
};
