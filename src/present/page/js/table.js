// The table of all trials: sorted, filtered, a page of rows at a time, and as a file.

const ROWS = 100;

const CELLS = {
  status: (value) => element("span", { class: `status ${value}` }, value),
  validation_accuracy: (value) => (value === "" ? "" : percent(Number(value))),
  test_accuracy: (value) => (value === "" ? "" : percent(Number(value))),
  train_seconds: (value) => (value === "" ? "" : duration(Number(value))),
  train_seconds_screen: (value) => (value === "" ? "" : duration(Number(value))),
};

const makeTable = (study, state) => {
  const table = byId("trials-table");
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const names = headings.map((heading) => heading.dataset.column);
  const isNumber = headings.map((heading) => heading.classList.contains("number"));
  const column = (name) => study.columns.get(name);
  let kept = [];
  let order = [];

  const compare = (name, numeric) => {
    const cells = column(name);
    const value = numeric ? (row) => (cells[row] === "" ? null : Number(cells[row])) : (row) => cells[row];
    // What is not known comes last in either direction.
    return (a, b, sign) => {
      const [x, y] = [value(a), value(b)];
      const [noX, noY] = [!isKnown(x), !isKnown(y)];
      if (noX || noY) return noX - noY;
      return sign * (numeric ? x - y : x.localeCompare(y, undefined, { numeric: true }));
    };
  };
  const sorted = () => {
    if (!state.sort) return [...kept];
    const at = names.indexOf(state.sort.name);
    const by = compare(state.sort.name, isNumber[at]);
    return [...kept].sort((a, b) => by(a, b, state.sort.descending ? -1 : 1) || a - b);
  };
  const cell = (row, name, at) => {
    const text = column(name)[row];
    const shown = name === "epochs" ? `${text}/${study.trials.wanted_epochs[row]}` : CELLS[name]?.(text) ?? text;
    return element("td", { class: isNumber[at] ? "number" : name === "error" ? "reason" : null }, shown);
  };
  const show = () => {
    const pages = Math.max(1, Math.ceil(order.length / ROWS));
    state.page = Math.min(state.page, pages - 1);
    const from = state.page * ROWS;
    const rows = order.slice(from, from + ROWS);
    body.replaceChildren(...rows.map((row) => element("tr", {}, ...names.map((name, at) => cell(row, name, at)))));
    const which = order.length > ROWS ? `, rows ${from + 1} to ${from + rows.length}` : "";
    byId("shown").textContent = `${order.length} of ${plural(study.trials.rows, "trial")}${which}`;
    byId("earlier").disabled = state.page === 0;
    byId("later").disabled = state.page >= pages - 1;
  };
  const turn = (by) => () => {
    state.page += by;
    show();
    table.parentElement.scrollTop = 0;
  };
  const mark = () => headings.forEach((heading, at) => {
    const is = state.sort?.name === names[at];
    if (is) heading.setAttribute("aria-sort", state.sort.descending ? "descending" : "ascending");
    else heading.removeAttribute("aria-sort");
  });
  headings.forEach((heading, at) => {
    const sort = () => {
      const again = state.sort?.name === names[at];
      state.sort = { name: names[at], descending: again ? !state.sort.descending : isNumber[at] && names[at].endsWith("accuracy") };
      mark();
      order = sorted();
      state.page = 0;
      show();
    };
    heading.replaceChildren(element("button", { type: "button", click: sort }, heading.textContent));
  });
  mark();
  byId("earlier").addEventListener("click", turn(-1));
  byId("later").addEventListener("click", turn(1));
  byId("download").addEventListener("click", () => download(`${study.name}-trials.csv`, csvOf(study, order)));
  return (rows) => {
    kept = rows;
    order = sorted();
    show();
  };
};

// The rows as trials.csv has them: the same cells, quoted where they need it.
const csvOf = (study, rows) => {
  const quoted = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const names = [...study.columns.keys()];
  const lines = [names, ...rows.map((row) => names.map((name) => study.columns.get(name)[row]))];
  return lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n";
};

const download = (name, text) => {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
};
