// Figures in words, as the tables beside them have them.

const isKnown = (value) => value !== null && value !== undefined && value !== "";

const percent = (share, digits = 2) => (isKnown(share) ? `${(100 * share).toFixed(digits)} %` : "–");

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

const threeDigits = (value) => {
  const size = Math.abs(value);
  return trimmed(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2));
};

const duration = (seconds) => {
  if (!isKnown(seconds)) return "–";
  const units = [[1, 1e3, "ms"], [120, 1, "s"], [7200, 1 / 60, "min"], [172800, 1 / 3600, "h"], [Infinity, 1 / 86400, "d"]];
  const [, scale, unit] = units.find(([below]) => seconds < below) ?? units[units.length - 1];
  return `${threeDigits(seconds * scale)} ${unit}`;
};

const signed = (share) => {
  const points = (Math.round(1e4 * share) / 100 || 0).toFixed(2);
  return points.startsWith("-") ? points : `+${points}`;
};

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

// An element; what is put into it as text stays text.
const element = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && isKnown(value)) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const byId = (id) => document.getElementById(id);

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
