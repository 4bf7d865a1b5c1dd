// Elements. Text is always text: nothing here, or elsewhere in the page, parses HTML.

export const byId = (id) => document.getElementById(id);

/** Returns a new element. `properties` are of the element, or attributes where it has no such property. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Sets an element's text if it changes, so that screen readers are not told the same twice. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Returns a bar from 0 to 1 with a mark, and its setter. */
export function meter(name) {
  const fill = element("i");
  const mark = element("b");
  const bar = element("div", { className: "meter", role: "meter" }, fill, mark);
  bar.setAttribute("aria-valuemin", "0");
  bar.setAttribute("aria-valuemax", "1");
  bar.setAttribute("aria-label", name);
  const set = (value, threshold) => {
    const clipped = Math.min(1, Math.max(0, value));
    fill.style.width = `${clipped * 100}%`;
    mark.hidden = threshold === null;
    if (threshold !== null) mark.style.left = `${threshold * 100}%`;
    bar.classList.toggle("is-low", threshold !== null && value < threshold);
    bar.setAttribute("aria-valuenow", value.toFixed(2));
    const text = threshold === null ? "" : `, threshold ${threshold.toFixed(2)}`;
    bar.setAttribute("aria-valuetext", value.toFixed(2) + text);
  };
  return { bar, set };
}

/** Returns "2.1 s" or "35 ms". */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 0.995 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}
