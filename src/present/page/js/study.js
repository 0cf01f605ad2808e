// The figures of the page, as its block of JSON has them.

const readStudy = () => {
  const data = JSON.parse(byId("data").textContent);
  if (data.overlay) return data;
  const { trials, points } = data;
  const columns = new Map();
  // A cell that follows from its row's configuration stands with that: its label, its value on an axis.
  const follows = (of) => trials.candidate.map(of);
  const cellsOf = ({ of, axis, distinct, cells }) => {
    if (of) return follows((candidate) => data[of][candidate]);
    if (axis !== undefined) return follows((candidate) => data.axes[axis].values[data.axes[axis].codes[candidate]] ?? "");
    return distinct ? cells.map((code) => distinct[code]) : cells;
  };
  for (const column of trials.columns) columns.set(column.name, cellsOf(column));
  // The whole training of each configuration, where it has ended.
  const whole = new Array(data.labels.length).fill(-1);
  points.candidate.forEach((candidate, index) => {
    if (points.whole[index]) whole[candidate] = index;
  });
  return { ...data, columns, whole, isOnFront: new Set(data.front) };
};

const pointLabel = (study, index) => {
  const { candidate, epochs, whole } = study.points;
  const label = study.labels[candidate[index]];
  return whole[index] ? label : `${label}, ${plural(epochs[index], "epoch")}`;
};

const range = (low, high, words) => (isKnown(low) ? ` [${words(low)}, ${words(high)}]` : "");

// What the page says of a point when it is pointed at: never as HTML, as labels are the user's.
const tip = (study, index) => {
  const { points } = study;
  const at = (name) => points[name][index];
  const accuracy = (share) => (100 * share).toFixed(2);
  const rows = [
    ["time", `${duration(at("seconds"))}${range(at("seconds_low"), at("seconds_high"), duration)}`],
    ["", `${at("confirmed") ? "confirmed" : "screened"}, n = ${at("times")} ${at("confirmed") ? "rounds" : "replicates"}`],
    ["validation", `${percent(at("accuracy"))}${range(at("accuracy_low"), at("accuracy_high"), accuracy)}`],
    ["", `n = ${plural(at("replicates"), "replicate")}, of ${plural(at("images"), "image")}`],
    ["test", percent(at("test"))],
    ["parameters", at("parameters").toLocaleString("en")],
    ["speed-up", at("same_steps") ? "same steps" : isKnown(at("speedup")) ? `${at("speedup").toFixed(2)}×` : "–"],
    ["accuracy change", isKnown(at("accuracy_change")) ? `${signed(at("accuracy_change"))} points` : "–"],
  ];
  if (at("chance")) rows.push(["", "no better than chance"]);
  if (points.probability && isKnown(points.probability[index])) {
    rows.push(["on the front", `probability ${percent(points.probability[index], 0)}`]);
  }
  for (const { path, values, codes } of study.axes) {
    const code = codes[points.candidate[index]];
    if (code >= 0 && values.length > 1) rows.push([path, values[code]]);
  }
  const lines = rows.map(([name, value]) => element("div", {}, element("span", {}, name), element("span", {}, value)));
  return element("div", { class: "tip" }, element("b", {}, pointLabel(study, index)), ...lines);
};
