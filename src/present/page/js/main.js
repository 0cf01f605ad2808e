// Puts a page together: charts, filters, table.

let state = emptyState();
let charts = [];

// A chart is drawn once it is about to be seen, and when what it shows has changed since.
const place = (id) => {
  const node = byId(`chart-${id}`);
  if (!node) return null;
  node.hidden = false;
  node.closest("figure").querySelector(".still")?.classList.add("replaced");
  const drawn = { node, chart: null, make: null, isNear: false, begun: () => {} };
  const draw = () => {
    if (!drawn.isNear || !drawn.make) return;
    const isFirst = !drawn.chart;
    drawn.chart ??= echarts.init(node, null, { renderer: "canvas" });
    const option = drawn.make(isFirst);
    drawn.make = null;
    if (option) drawn.chart.setOption(option, { replaceMerge: ["series"] });
    else drawn.chart.clear();
    if (isFirst) drawn.begun(drawn.chart);
  };
  drawn.put = (make) => { drawn.make = make; draw(); };
  drawn.watcher = new IntersectionObserver((seen) => {
    drawn.isNear = seen[seen.length - 1].isIntersecting;
    draw();
  }, { rootMargin: "300px" });
  drawn.watcher.observe(node);
  charts.push(drawn);
  return drawn;
};

const showStudy = (study) => {
  document.querySelectorAll(".needs-script").forEach((node) => { node.hidden = false; });
  const isEmpty = study.points.candidate.length === 0;
  const [front, relations, curves] = isEmpty ? [null, null, null] : ["front", "relations", "curves"].map(place);
  const table = makeTable(study, state);
  const floor = dimensionsOf(study).find((of) => isKnown(of.floor))?.floor;
  const cut = isKnown(floor) ? ` Accuracies below ${percent(floor, 1)} stand at the lower end of their axis.` : "";
  const filter = makeFilter(study, state, (kept, rows) => {
    table(rows);
    const count = kept.filter(Boolean).length;
    byId("kept").textContent = `${count} of ${plural(kept.length, "configuration")} kept, ${rows.length} of ${plural(study.trials.rows, "trial")}.${cut}`;
    front?.put(() => frontOption(study, kept));
    curves?.put(() => curvesOption(study, kept));
    relations?.put((isFirst) => {
      const option = relationsOption(study, filter, kept);
      // The axes stay as they are, with what is drawn along them.
      if (!isFirst && option) delete option.parallelAxis;
      return option;
    });
  });
  const reset = () => {
    const { sort } = state;
    state = Object.assign(state, emptyState(), { sort });
    if (relations?.chart) releaseBrush(relations.chart, filter.dimensions);
    state.brush = {};
    fillFilters(study, state, filter, reset);
    filter.apply();
  };
  if (relations) relations.begun = (chart) => {
    followBrush(chart, state, filter);
    const drawn = Object.entries(state.brush).filter(([, intervals]) => intervals.length > 0);
    for (const [parallelAxisId, intervals] of drawn) chart.dispatchAction({ type: "axisAreaSelect", parallelAxisId, intervals });
  };
  fillFilters(study, state, filter, reset);
  filter.apply();
};

const start = () => {
  charts.forEach(({ chart, watcher }) => { watcher.disconnect(); chart?.dispose(); });
  charts = [];
  document.body.classList.add("scripted");
  const data = byId("data") ? readStudy() : null;
  if (!data) {
    // A page without figures: a list of studies, or one of which nothing is known yet.
  } else if (data.overlay) showOverlay(data);
  else showStudy(data);
  document.body.dataset.ready = "yes";
};

// What a reference leads to opens.
const openTarget = () => {
  const target = location.hash.length > 1 ? byId(decodeURIComponent(location.hash.slice(1))) : null;
  if (target instanceof HTMLDetailsElement) target.open = true;
};

start();
openTarget();
window.addEventListener("hashchange", openTarget);
window.addEventListener("resize", () => charts.forEach(({ chart }) => chart?.resize()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", start);
if (document.body.dataset.events) follow(document.body.dataset.events, start);
