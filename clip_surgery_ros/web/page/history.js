// Queries that were asked in this browser, the newest first.
import { byId, element } from "./dom.js";

const KEY = "clip_surgery.queries";
const MOST = 20;
const SHOWN = 6;

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((text) => typeof text === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** Adds a query to the history. */
export function remember(text) {
  if (!text.trim()) return;
  const kept = [text, ...read().filter((other) => other !== text)].slice(0, MOST);
  localStorage.setItem(KEY, JSON.stringify(kept));
}

/** Shows the history: as suggestions, and the newest as buttons, which call `onChoice` with the text. */
export function showHistory(onChoice) {
  const kept = read();
  byId("history").replaceChildren(...kept.map((text) => element("option", { value: text })));
  byId("recent").replaceChildren(
    ...kept.slice(0, SHOWN).map((text) => {
      const button = element("button", { type: "button", title: text }, text);
      button.addEventListener("click", () => onChoice(text));
      return element("li", {}, button);
    }),
  );
}
