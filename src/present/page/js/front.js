// Accuracy over training time.

const base = () => ({
  animation: false,
  aria: { enabled: false },
  textStyle: { fontFamily: "system-ui, sans-serif", color: colour("ink") },
  tooltip: {
    confine: true, trigger: "item", backgroundColor: colour("paper"), borderColor: colour("line"),
    textStyle: { color: colour("ink") }, extraCssText: "box-shadow: 0 2px 10px rgb(0 0 0 / .25)",
  },
});

const axisStyle = (name) => ({
  name,
  nameTextStyle: { color: colour("muted") },
  axisLabel: { color: colour("muted"), hideOverlap: true },
  axisLine: { lineStyle: { color: colour("line") } },
  axisTick: { lineStyle: { color: colour("line") } },
  splitLine: { lineStyle: { color: colour("line"), opacity: .6 } },
});

const isNarrow = () => window.innerWidth < 640;

const timeAxis = (seconds) => {
  const [least, most] = [Math.min(...seconds), Math.max(...seconds)];
  const isLog = least > 0 && most / least > 5;
  const room = isLog ? (most / least) ** .04 : 1;
  const pad = .04 * (most - least || most || 1);
  return {
    ...axisStyle("training time"), type: isLog ? "log" : "value", logBase: most / least > 60 ? 10 : 2, nameLocation: "middle", nameGap: 30,
    min: isLog ? least / room : Math.max(0, least - pad), max: isLog ? most * room : most + pad,
    axisLabel: { color: colour("muted"), hideOverlap: true, formatter: (value) => duration(value), showMinLabel: false, showMaxLabel: false },
  };
};

// From where on accuracies are near enough to the best to be worth the room.
const floorOf = (accuracies) => {
  const sorted = [...accuracies].sort((a, b) => a - b);
  const [best, median] = [sorted[sorted.length - 1], sorted[Math.floor(sorted.length / 2)]];
  return Math.max(sorted[0], best - 3 * Math.max(best - median, .001));
};

const accuracyAxis = (accuracies) => {
  const [least, most] = [Math.min(...accuracies), Math.max(...accuracies)];
  const pad = .05 * (most - least || .01);
  return {
    ...axisStyle("validation accuracy"), type: "value", min: Math.max(0, least - pad), max: Math.min(1, most + pad),
    nameTextStyle: { color: colour("muted"), align: "left" },
    axisLabel: { color: colour("muted"), formatter: (value) => percent(value, 1), showMinLabel: false, showMaxLabel: false },
  };
};

const zoomOf = (accuracies) => {
  const floor = floorOf(accuracies);
  const best = Math.max(...accuracies);
  const slider = { type: "slider", filterMode: "none", brushSelect: false, showDetail: false, borderColor: colour("line"), showDataShadow: false };
  const start = floor > Math.min(...accuracies) ? { startValue: floor - .06 * (best - floor), endValue: Math.min(1, best + .06 * (best - floor)) } : {};
  return [
    { ...slider, yAxisIndex: 0, width: 16, right: 8, ...start },
    { ...slider, xAxisIndex: 0, height: 16, bottom: 8 },
  ];
};

// Error bars of the points at `indices`.
const bars = (points, indices, paint) => ({
  type: "custom", silent: true, z: 2, clip: true,
  data: indices.map((index) => [points.seconds[index], points.accuracy[index], index]),
  renderItem: (_, api) => {
    const index = api.value(2);
    const line = (from, to) => ({ type: "line", shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: { stroke: paint, lineWidth: 1.2, opacity: .75 } });
    const lines = [];
    const [x, y] = [points.seconds[index], points.accuracy[index]];
    if (isKnown(points.seconds_low[index])) lines.push(line(api.coord([points.seconds_low[index], y]), api.coord([points.seconds_high[index], y])));
    if (isKnown(points.accuracy_low[index])) lines.push(line(api.coord([x, points.accuracy_low[index]]), api.coord([x, points.accuracy_high[index]])));
    return { type: "group", children: lines };
  },
});

// Filled where the time is confirmed, else hollow.
const mark = (isConfirmed, paint) => ({ color: isConfirmed ? paint : colour("paper"), borderColor: paint, borderWidth: isConfirmed ? 0 : 1.8 });

const item = (study, index, paint) => ({
  value: [study.points.seconds[index], study.points.accuracy[index], index],
  symbol: "circle",
  itemStyle: mark(study.points.confirmed[index], paint),
});

const frontOption = (study, kept) => {
  const { points } = study;
  const isShown = (index) => isKnown(points.seconds[index]) && isKnown(points.accuracy[index]) && !points.diverged[index] &&
    (points.whole[index] || study.isOnFront.has(index));
  const shown = points.candidate.map((_, index) => index).filter(isShown);
  if (shown.length === 0) return null;
  const isKept = (index) => kept[points.candidate[index]];
  const baseline = shown.find((index) => points.whole[index] && points.candidate[index] === study.baseline);
  const others = shown.filter((index) => isKept(index) && !study.isOnFront.has(index) && index !== baseline);
  const front = study.front.filter((index) => isShown(index) && index !== baseline);
  const seconds = shown.map((index) => points.seconds[index]);
  const accuracies = shown.map((index) => points.accuracy[index]);
  const scatter = (name, indices, paint, size, z) => ({
    name, type: "scatter", data: indices.map((index) => item(study, index, paint)), symbolSize: size, z, itemStyle: { color: paint },
    progressiveThreshold: 20000, emphasis: { scale: 1.4 },
  });
  const steps = study.front.filter(isShown).map((index) => [points.seconds[index], points.accuracy[index]]);
  const narrow = isNarrow();
  const floor = floorOf(accuracies);
  const below = accuracies.filter((value) => value < floor).length;
  return {
    ...base(),
    tooltip: { ...base().tooltip, formatter: ({ value }) => tip(study, value[2]) },
    title: below > 0 ? { text: `${plural(below, "point")} below this range: draw the slider at the right`, textStyle: { fontSize: 11, fontWeight: "normal", color: colour("muted") }, right: 48, top: 40 } : undefined,
    legend: { top: 0, itemWidth: 14, itemHeight: 14, left: "center", textStyle: { color: colour("ink") }, itemGap: narrow ? 8 : 20, data: ["front", "other configurations", ...(baseline === undefined ? [] : ["baseline"])] },
    grid: { left: narrow ? 52 : 64, right: 48, top: 64, bottom: 74 },
    xAxis: timeAxis(seconds), yAxis: accuracyAxis(accuracies), dataZoom: zoomOf(accuracies),
    series: [
      scatter("other configurations", others, colour("context"), others.length > 400 ? 5 : 8, 3),
      { type: "line", step: "end", data: steps, symbol: "none", silent: true, lineStyle: { color: colour("front"), width: 1.6 }, z: 4 },
      bars(points, [...front.filter(isKept), ...(baseline === undefined ? [] : [baseline])], colour("muted")),
      scatter("front", front.filter(isKept), colour("front"), 12, 6),
      ...(baseline === undefined ? [] : [{ ...scatter("baseline", [baseline], colour("accent"), 15, 7), symbol: "diamond", data: [{ ...item(study, baseline, colour("accent")), symbol: "diamond" }] }]),
    ],
  };
};
