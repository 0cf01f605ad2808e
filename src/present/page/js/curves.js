// Validation accuracy over the epochs.

const curvesOption = (study, kept) => {
  const { curves, points } = study;
  const fronts = new Set(study.front.map((index) => points.candidate[index]));
  const shown = curves.of.filter(([candidate]) => kept[candidate]);
  if (shown.length === 0) return null;
  const rank = (candidate) => (candidate === study.baseline ? 2 : fronts.has(candidate) ? 1 : 0);
  const paint = [colour("context"), colour("front"), colour("accent")];
  const last = shown.flatMap(([, values]) => values.filter(isKnown));
  const many = shown.length > 60;
  const series = shown.map(([candidate, values]) => {
    const at = rank(candidate);
    return {
      name: study.labels[candidate], type: "line", data: values.map((value, index) => [index + 1, value, candidate]), z: 2 + at,
      symbol: values.length === 1 ? "circle" : "none", symbolSize: 6, triggerLineEvent: true, emphasis: { lineStyle: { width: 4 } },
      lineStyle: { color: paint[at], width: at ? 2.2 : 1, opacity: at ? 1 : many ? .25 : .55, type: at === 2 ? "dashed" : "solid" },
      itemStyle: { color: paint[at] }, silent: at === 0 && shown.length > 1000,
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
    yAxis: accuracyAxis(last), dataZoom: zoomOf(last), series,
  };
};
