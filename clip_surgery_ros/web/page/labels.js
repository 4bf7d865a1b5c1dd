// The list of labels: what was found, presence, the reason when absent, threshold and map of each.
import { byId, element, meter, setText } from "./dom.js";
import { colourOf, css } from "./palette.js";

export class LabelList {
  #list = byId("label-list");
  #cards = [];
  #key = "";
  #pinned = null;
  #onHeat;
  #onThreshold;
  #isReadOnly = false;

  /** `onHeat` takes the index whose map is shown, or null; `onThreshold` an index and a number or null. */
  constructor(onHeat, onThreshold) {
    this.#onHeat = onHeat;
    this.#onThreshold = onThreshold;
  }

  set isReadOnly(value) {
    this.#isReadOnly = value;
    this.#key = "";
  }

  /** Shows a query, and what a frame says of it. Cards stay while the labels do, and with them the focus. */
  show(query, frame, parameters) {
    const labels = query?.labels ?? [];
    const key = JSON.stringify(labels);
    if (key !== this.#key) this.#build(labels, key);
    byId("labels-empty").hidden = labels.length > 0;
    const isAnswered = JSON.stringify(frame?.query?.labels ?? []) === key;
    labels.forEach((label, index) => {
      const card = this.#cards[index];
      setThreshold(card, query.thresholds[index], parameters.threshold);
      showResult(card, label, index, isAnswered ? frame : null, parameters.presence_threshold ?? null);
    });
  }

  #build(labels, key) {
    this.#key = key;
    if (this.#pinned !== null) this.#pin(null);
    this.#cards = labels.map((label, index) => this.#card(label, index));
    this.#list.replaceChildren(...this.#cards.map((card) => card.item));
  }

  #card(label, index) {
    const { bar, set } = meter(`Presence of ${label}`);
    const map = element("button", { type: "button", "aria-pressed": "false", "aria-label": `Map of ${label}` }, "map");
    const found = element("p", { className: "found" });
    const objects = element("ul", { className: "objects", "aria-label": `Objects of ${label}` });
    const value = element("span");
    const limit = element("span");
    const presence = element("div", {}, element("div", { className: "meter-line" }, value, limit), bar);
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = css(colourOf(index));
    const name = element("span", { className: "label-name" }, label);
    const head = element("div", { className: "label-head" }, swatch, name, map);
    const threshold = this.#threshold(label, index);
    const item = element("li", { className: "label" }, head, found, objects, presence, threshold.details);
    item.addEventListener("pointerenter", (event) => {
      if (event.pointerType === "mouse") this.#onHeat(index);
    });
    item.addEventListener("pointerleave", () => this.#onHeat(this.#pinned));
    map.addEventListener("click", () => this.#pin(this.#pinned === index ? null : index));
    return { item, found, objects, presence, value, limit, setMeter: set, map, threshold };
  }

  #threshold(label, index) {
    const input = element("input", { type: "number", min: "-1", max: "1", step: "0.005" });
    input.setAttribute("aria-label", `Threshold of ${label}, raw similarity from -1 to 1`);
    const reset = element("button", { type: "button", "aria-label": `Use the node's threshold for ${label}` }, "node's");
    input.disabled = reset.disabled = this.#isReadOnly;
    input.addEventListener("change", () => {
      if (input.value !== "" && input.checkValidity()) this.#onThreshold(index, Number(input.value));
    });
    reset.addEventListener("click", () => this.#onThreshold(index, null));
    const details = element(
      "details", { className: "threshold" }, element("summary", {}, "threshold"), element("div", {}, input, reset),
    );
    return { details, input };
  }

  #pin(index) {
    this.#pinned = index;
    this.#cards.forEach((card, i) => card.map.setAttribute("aria-pressed", String(i === index)));
    this.#onHeat(index);
  }
}

function setThreshold({ threshold: { details, input } }, value, ofNode) {
  const shown = value === null ? "" : String(value);
  if (document.activeElement !== input && input.value !== shown) input.value = shown;
  input.placeholder = typeof ofNode === "number" ? ofNode.toFixed(3) : "none";
  setText(details.firstChild, value === null ? "threshold: the node's" : `threshold: ${shown}`);
}

function showResult(card, label, index, frame, presenceThreshold) {
  const segments = frame?.segments.filter((segment) => segment.label_id === index) ?? [];
  const absent = frame?.absent.find((one) => one.label === label);
  const presence = segments[0]?.presence ?? absent?.presence ?? null;
  const threshold = absent?.presence_threshold ?? presenceThreshold;
  card.found.classList.toggle("is-absent", segments.length === 0);
  setText(card.found, sentence(frame, segments, absent));
  card.presence.hidden = presence === null;
  if (presence !== null) {
    card.setMeter(presence, threshold);
    setText(card.value, `presence ${presence.toFixed(2)}`);
    setText(card.limit, threshold === null ? "" : `threshold ${threshold.toFixed(2)}`);
  }
  card.objects.replaceChildren(
    ...segments.map((segment) =>
      element("li", {}, element("b", {}, segment.track_id || `${label} ${segment.id}`), `score ${segment.score.toFixed(2)}`),
    ),
  );
}

function sentence(frame, segments, absent) {
  if (!frame) return "waiting for a result";
  if (segments.length) return segments.length === 1 ? "found" : `${segments.length} found`;
  return absent ? `not found: ${absent.reason}` : "not found";
}
