// Two fronts in one picture.

const overlayTip = (side, index) => {
  const at = (name) => side[name][index];
  const rows = [
    ["time", `${duration(at("seconds"))}, ${at("confirmed") ? "confirmed" : "screened"}`],
    ["validation", percent(at("accuracy"))], ["replicates", at("replicates")], ["parameters", at("parameters").toLocaleString("en")],
  ];
  const lines = rows.map(([name, value]) => element("div", {}, element("span", {}, name), element("span", {}, String(value))));
  return element("div", { class: "tip" }, element("b", {}, side.labels[index]), element("div", {}, side.name), ...lines);
};

const showOverlay = ({ overlay }) => {
  const sides = overlay.filter(({ seconds }) => seconds.length > 0);
  if (sides.length === 0) return;
  const chart = place("overlay");
  const paint = [colour("front"), colour("accent")];
  const [seconds, accuracies] = ["seconds", "accuracy"].map((name) => sides.flatMap((side) => side[name]));
  const value = (side, at, index) => [side.seconds[index], side.accuracy[index], index, at];
  const series = overlay.flatMap((side, at) => {
    const indices = side.seconds.map((_, index) => index);
    const of = (keep) => indices.filter(keep).map((index) => ({ value: value(side, at, index), itemStyle: mark(side.confirmed[index], paint[at]) }));
    const front = indices.filter((index) => side.front[index]).sort((a, b) => side.seconds[a] - side.seconds[b]);
    return [
      { name: side.name, type: "scatter", data: of((index) => side.front[index]), symbolSize: 12, itemStyle: { color: paint[at] }, z: 5 },
      { name: side.name, type: "scatter", data: of((index) => !side.front[index]), symbolSize: 6, itemStyle: { color: paint[at], opacity: .35 }, z: 3, progressiveThreshold: 20000 },
      { name: side.name, type: "line", step: "end", symbol: "none", silent: true, data: front.map((index) => [side.seconds[index], side.accuracy[index]]), lineStyle: { color: paint[at], width: 2, type: at ? "dashed" : "solid" }, z: 4 },
    ];
  });
  chart.put(() => ({
    ...base(),
    tooltip: { ...base().tooltip, formatter: ({ value: [, , index, at] }) => overlayTip(overlay[at], index) },
    legend: { top: 0, textStyle: { color: colour("ink") }, data: overlay.map(({ name }) => name) },
    color: paint, grid: { left: 64, right: 48, top: 64, bottom: 74 },
    xAxis: timeAxis(seconds), yAxis: accuracyAxis(accuracies), dataZoom: zoomOf(accuracies), series,
  }));
};
