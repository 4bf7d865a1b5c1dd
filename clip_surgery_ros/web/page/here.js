// "What is here?": the objects at a place of the picture, and each label's similarity there.
import { byId, element, meter } from "./dom.js";

/** Shows what is at a place; a null place shows nothing. */
export function showHere(place, picture, heatmaps) {
  const panel = byId("here");
  panel.hidden = place === null;
  if (place === null) return;
  const names = picture.segmentsAt(place).map((one) => one.track_id || one.label);
  const title = element("h2", {}, names.length ? `Here: ${names.join(", ")}` : "Here: none of the labels");
  const isOfFrame = heatmaps && heatmaps.sequence === picture.frame?.query?.sequence;
  const list = isOfFrame ? similarities(place, picture.size, heatmaps) : element("p", {}, "waiting for the maps");
  panel.replaceChildren(title, list);
}

function similarities({ x, y }, [width, height], heatmaps) {
  const column = Math.min(heatmaps.width - 1, Math.floor((x / width) * heatmaps.width));
  const row = Math.min(heatmaps.height - 1, Math.floor((y / height) * heatmaps.height));
  const rows = heatmaps.labels.map((label, index) => ({
    label,
    value: heatmaps.maps[index][row * heatmaps.width + column],
    highest: Math.max(...heatmaps.maps[index]),
  }));
  rows.sort((one, other) => other.value - one.value);
  const scale = Math.max(0.001, ...rows.map(({ highest }) => highest));
  return element(
    "ul",
    { "aria-label": "Similarity of each label here" },
    ...rows.map(({ label, value }) => {
      const { bar, set } = meter(`Similarity of ${label}`);
      set(value / scale, null);
      return element("li", {}, element("span", {}, label), bar, element("span", {}, value.toFixed(3)));
    }),
  );
}
