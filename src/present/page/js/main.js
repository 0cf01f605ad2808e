// Puts a page together: charts, filters, table.

let state = emptyState();
let charts = [];

const place = (id) => {
  const node = byId(`chart-${id}`);
  if (!node) return null;
  node.hidden = false;
  node.closest("figure").querySelector(".still")?.classList.add("replaced");
  const chart = echarts.init(node, null, { renderer: "canvas" });
  charts.push(chart);
  return chart;
};

const put = (chart, option) => {
  if (!chart) return;
  if (option) chart.setOption(option, { replaceMerge: ["series"] });
  else chart.clear();
};

const showStudy = (study) => {
  document.querySelectorAll(".needs-script").forEach((node) => { node.hidden = false; });
  const isEmpty = study.points.candidate.length === 0;
  const [front, relations, curves] = isEmpty ? [null, null, null] : ["front", "relations", "curves"].map(place);
  const table = makeTable(study, state);
  let isFirst = true;
  const floor = dimensionsOf(study).find((of) => isKnown(of.floor))?.floor;
  const cut = isKnown(floor) ? ` Accuracies below ${percent(floor, 1)} stand at the lower end of their axis.` : "";
  const filter = makeFilter(study, state, (kept, rows) => {
    table(rows);
    const count = kept.filter(Boolean).length;
    byId("kept").textContent = `${count} of ${plural(kept.length, "configuration")} kept, ${rows.length} of ${plural(study.trials.rows, "trial")}.${cut}`;
    put(front, frontOption(study, kept));
    put(curves, curvesOption(study, kept));
    const option = relationsOption(study, filter, kept);
    // The axes stay as they are, with what is drawn along them.
    if (!isFirst && option) delete option.parallelAxis;
    put(relations, option);
    isFirst = false;
  });
  const reset = () => {
    const { sort } = state;
    state = Object.assign(state, emptyState(), { sort });
    if (relations) releaseBrush(relations, filter.dimensions);
    state.brush = {};
    fillFilters(study, state, filter, reset);
    filter.apply();
  };
  fillFilters(study, state, filter, reset);
  filter.apply();
  if (relations) {
    followBrush(relations, state, filter);
    const drawn = Object.entries(state.brush).filter(([, intervals]) => intervals.length > 0);
    for (const [parallelAxisId, intervals] of drawn) relations.dispatchAction({ type: "axisAreaSelect", parallelAxisId, intervals });
  }
};

const start = () => {
  charts.forEach((chart) => chart.dispose());
  charts = [];
  document.body.classList.add("scripted");
  const data = byId("data") ? readStudy() : null;
  if (!data) {
    // A page without figures: a list of studies, or one of which nothing is known yet.
  } else if (data.overlay) showOverlay(data);
  else showStudy(data);
  document.body.dataset.ready = "yes";
};

start();
window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", start);
if (document.body.dataset.events) follow(document.body.dataset.events, start);
