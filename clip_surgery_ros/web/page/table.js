// The demo's table: a second panel that moves the camera and takes objects away.
import { byId, element, setText } from "./dom.js";

export class TablePanel {
  #table = null;
  #onArrange;

  /** `onArrange` takes the number of a view, or -1, and the names of what is taken away. */
  constructor(onArrange) {
    this.#onArrange = onArrange;
    byId("table-view").addEventListener("input", () => this.#arrange(Number(byId("table-view").value)));
    byId("table-round").addEventListener("click", () => this.#arrange(this.#table.view < 0 ? 0 : -1));
  }

  /** Shows how the table is; null without one. */
  show(table, isReadOnly) {
    byId("table").hidden = table === null;
    if (table === null) return;
    const isNew = JSON.stringify(table.objects) !== JSON.stringify(this.#table?.objects);
    this.#table = table;
    const slider = byId("table-view");
    slider.max = String(table.views - 1);
    slider.disabled = byId("table-round").disabled = isReadOnly;
    if (document.activeElement !== slider && table.view >= 0) slider.value = String(table.view);
    byId("table-round").setAttribute("aria-pressed", String(table.view < 0));
    if (isNew) byId("table-objects").replaceChildren(...table.objects.map((name) => this.#toggle(name)));
    for (const button of byId("table-objects").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(!table.without.includes(button.textContent)));
      button.disabled = isReadOnly;
    }
    setText(byId("table-note"), table.without.length ? "A changed view is rendered in a second or two." : "");
  }

  #toggle(name) {
    const button = element("button", { type: "button", "aria-pressed": "true" }, name);
    button.addEventListener("click", () => {
      const { view, without } = this.#table;
      const isGone = without.includes(name);
      this.#onArrange(view, isGone ? without.filter((one) => one !== name) : [...without, name]);
    });
    return element("li", {}, button);
  }

  #arrange(view) {
    this.#onArrange(view, this.#table.without);
  }
}
