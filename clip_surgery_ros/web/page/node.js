// The panel about the node: state, device, ages, drops, stage times, and everything in /diagnostics.
import { byId, element, meter, seconds, setText } from "./dom.js";

const LOST = /^frames (dropped|lost|skipped|failed)/;
const ALWAYS = new Set(["frames dropped", "frames lost on the way"]);
const LONG = 40; // letters of a value that gets a line of its own

export class NodePanel {
  #facts = new Map();
  #stages = new Map();

  /** Shows a state message; `camera` is the one that is looked at. */
  showState(state, camera) {
    const values = new Map(state.status?.values ?? []);
    const ofCamera = new Map(state.cameras.find((one) => one.name === camera)?.values ?? []);
    this.#fact("state", values.get("state") ?? "not there");
    this.#fact("device", values.get("device"));
    this.#fact("precision", values.get("precision"));
    this.#fact("networks", [values.get("CLIP"), values.get("SAM")].filter(Boolean).join(", "));
    this.#fact("calibration", values.get("calibration"));
    this.#fact("camera", ofCamera.get("topic"));
    this.#fact("images", rate(ofCamera.get("frames in [Hz]")));
    this.#fact("results", rate(ofCamera.get("frames answered [Hz]")));
    this.#fact("age on arrival", seconds(numberOf(ofCamera.get("age on arrival: p50 [s]"))));
    for (const [key, value] of ofCamera) {
      const isShown = this.#facts.has(key.replace("frames ", "")) || value !== "0" || ALWAYS.has(key);
      if (LOST.test(key) && isShown) this.#fact(key.replace("frames ", ""), value);
    }
    if (byId("all-values").parentElement.open) this.#showAll(state);
  }

  /** Shows the times of a frame. */
  showFrame(frame) {
    if (!frame.stages) return;
    this.#fact("age of the result", seconds(frame.age));
    const longest = Math.max(0.001, ...frame.stages.map(([, value]) => value));
    const names = frame.stages.map(([name]) => name);
    if (names.join() !== [...this.#stages.keys()].join()) this.#buildStages(names);
    for (const [name, value] of frame.stages) {
      const { set, text } = this.#stages.get(name);
      set(value / longest, null);
      setText(text, seconds(value));
    }
  }

  #buildStages(names) {
    this.#stages.clear();
    const items = names.map((name) => {
      const { bar, set } = meter(`Share of ${name}`);
      const text = element("span");
      this.#stages.set(name, { set, text });
      return element("li", {}, element("span", {}, name), bar, text);
    });
    byId("stages").replaceChildren(...items);
  }

  #fact(name, value) {
    if (!this.#facts.has(name)) {
      const shown = element("dd");
      byId("node-facts").append(element("div", {}, element("dt", {}, name), shown));
      this.#facts.set(name, shown);
    }
    const shown = this.#facts.get(name);
    setText(shown, value || "–");
    shown.parentElement.classList.toggle("is-long", shown.textContent.length > LONG);
  }

  #showAll(state) {
    const tables = [state.status, ...state.cameras].filter(Boolean).map((status) =>
      element(
        "table",
        {},
        element("caption", {}, status.name || "camera"),
        element(
          "tbody",
          {},
          ...status.values.map(([key, value]) =>
            element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, value)),
          ),
        ),
      ),
    );
    byId("all-values").replaceChildren(...tables);
  }
}

const numberOf = (text) => (text === undefined ? null : Number(text));
const rate = (text) => (text === undefined ? "" : `${text} per s`);
