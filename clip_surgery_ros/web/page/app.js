// The page: joins the connection to the panels, and says what is looked at. Begin here.
import { Connection } from "./connection.js";
import { byId, element, seconds, setText } from "./dom.js";
import { showHere } from "./here.js";
import { remember, showHistory } from "./history.js";
import { LabelList } from "./labels.js";
import { NodePanel } from "./node.js";
import { PictureView } from "./picture.js";
import { TablePanel } from "./table.js";

const shown = {
  camera: "",
  state: null,
  heatmaps: null,
  heatLabel: null, // index of the label whose map is shown
  hold: "live", // live, next (freeze the next whole frame), frozen
  heldStamp: null, // the frame before a step
  isReadOnly: false,
  hasQuery: false, // whether the field has shown the query in force
};
let space = null; // loaded when its panel is opened

const picture = new PictureView(onPoint, onShown);
const labels = new LabelList(onHeat, onThreshold);
const node = new NodePanel();
const table = new TablePanel((view, without) => connection.arrange(view, without));
const connection = new Connection({
  welcome: onWelcome,
  state: onState,
  frame: onFrame,
  heatmaps: onHeatmaps,
  answer: onAnswer,
  closed: () => setStatus("wait", "no connection to the console; trying again …"),
  token: () => byId("token-dialog").showModal(),
});

// What is looked at: everything else the node need not compute.

function updateWishes() {
  const wishes = [];
  if (document.visibilityState === "visible" && shown.hold !== "frozen") {
    wishes.push([shown.camera, "frame"]);
    if (shown.heatLabel !== null || picture.cross || shown.hold === "next") wishes.push([shown.camera, "heatmaps"]);
  }
  connection.watch(wishes);
}

// Messages.

function onWelcome(message) {
  shown.isReadOnly = message.read_only;
  labels.isReadOnly = message.read_only;
  for (const control of byId("ask-form").elements) control.disabled = message.read_only;
  if (message.read_only) setText(byId("ask-answer"), "This console is read-only.");
  byId("query").placeholder = message.read_only ? "" : "red mug; screwdriver";
}

function onState(state) {
  shown.state = state;
  const camera = state.cameras.find((one) => one.name === shown.camera);
  if (!state.is_there) setStatus("2", `${state.node} is not there; waiting for it`);
  else setStatus(...worst(state.status, camera));
  showCameras(state.cameras);
  labels.show(state.query, isCurrent(picture.frame) ? picture.frame : null, state.parameters);
  node.showState(state, shown.camera);
  table.show(state.table, shown.isReadOnly);
  if (!shown.hasQuery && state.query) fillQuery(state.query.labels);
}

/** Shows the query in force in the field, once, unless somebody writes there already. */
function fillQuery(names) {
  shown.hasQuery = true;
  const query = byId("query");
  if (!query.value && document.activeElement !== query) query.value = names.join("; ");
}

function worst(status, camera) {
  const [one] = [status, camera].filter(Boolean).sort((a, b) => b.level - a.level);
  return [String(one.level), one.message];
}

const isCurrent = (frame) => frame?.query && frame.query.sequence === shown.state?.query?.sequence;

function onFrame(frame, jpeg) {
  if (shown.hold === "frozen" || frame.stamp === shown.heldStamp) return;
  picture.show(frame, jpeg);
}

function onShown(frame) {
  if (shown.state) labels.show(shown.state.query, isCurrent(frame) ? frame : null, shown.state.parameters);
  node.showFrame(frame);
  space?.show(frame);
  setText(byId("picture-age"), frame.query ? `result ${seconds(frame.age)} after the image` : "live");
  setText(byId("picture-summary"), summary(frame));
  if (picture.cross) showHere(picture.cross, picture, shown.heatmaps);
  freezeIfWhole();
}

function summary(frame) {
  if (!frame.query) return "Live picture.";
  const names = frame.segments.map((one) => one.track_id || one.label);
  const absent = frame.absent.map((one) => one.label);
  return `Found: ${names.join(", ") || "nothing"}.${absent.length ? ` Not found: ${absent.join(", ")}.` : ""}`;
}

function onHeatmaps(heatmaps) {
  if (shown.hold === "frozen") return;
  shown.heatmaps = heatmaps;
  picture.heat(shown.heatLabel, heatmaps);
  if (picture.cross) showHere(picture.cross, picture, heatmaps);
  freezeIfWhole();
}

function onAnswer(answer) {
  if (!connection.isNewest(answer)) return;
  setAnswer(answer.is_accepted ? "" : "2", answer.message);
}

// What the user does.

function ask(text, thresholds) {
  setAnswer("", "asking …");
  if (!connection.ask(text, thresholds)) setAnswer("", "there is no connection yet; asking as soon as there is one …");
}

function askAnew(text) {
  byId("query").value = text;
  remember(text);
  showHistory(askAnew);
  ask(text, ownThresholds());
}

/** Returns the thresholds of the present query that the user set, by label. */
function ownThresholds() {
  const query = shown.state?.query;
  const pairs = (query?.labels ?? []).map((label, i) => [label, query.thresholds[i]]);
  return Object.fromEntries(pairs.filter(([, value]) => value !== null));
}

function onThreshold(index, value) {
  const { labels: names } = shown.state.query;
  const thresholds = ownThresholds();
  if (value === null) delete thresholds[names[index]];
  else thresholds[names[index]] = value;
  ask(JSON.stringify(names), thresholds); // the node reads lists of JSON as well
}

function onHeat(index) {
  if (shown.heatLabel === index) return;
  shown.heatLabel = index;
  picture.heat(index, shown.heatmaps);
  updateWishes();
}

function onPoint(place) {
  updateWishes();
  showHere(place, picture, shown.heatmaps);
}

// A frozen frame has its maps, so that they can be looked at and saved.

function hold(state) {
  shown.heldStamp = state === "next" && shown.hold === "frozen" ? picture.frame?.stamp ?? null : null;
  shown.hold = state;
  byId("freeze").setAttribute("aria-pressed", String(state !== "live"));
  setText(byId("freeze"), state === "live" ? "Freeze" : "Frozen");
  updateWishes();
}

function freezeIfWhole() {
  if (shown.hold !== "next" || !picture.frame || picture.frame.stamp === shown.heldStamp) return;
  if (!picture.frame.query || picture.frame.stamp === shown.heatmaps?.stamp) hold("frozen");
}

// Panels.

function setStatus(level, text) {
  byId("status").dataset.level = level;
  setText(byId("status"), text);
}

function setAnswer(level, text) {
  byId("ask-answer").dataset.level = level;
  setText(byId("ask-answer"), text);
}

function showCameras(cameras) {
  const select = byId("camera");
  const names = cameras.map((one) => one.name);
  if (names.length && !names.includes(shown.camera)) chooseCamera(names[0]);
  byId("camera-choice").hidden = names.length < 2;
  if (names.join() !== [...select.options].map((one) => one.value).join()) {
    select.replaceChildren(...names.map((name) => element("option", { value: name }, name || "camera")));
  }
  select.value = shown.camera;
}

function chooseCamera(name) {
  shown.camera = name;
  shown.heatmaps = null;
  updateWishes();
}

async function openSpace() {
  if (!space && byId("space").open) {
    const { SpaceView } = await import("./space.js");
    space = new SpaceView();
    if (picture.frame) space.show(picture.frame);
  }
}

byId("ask-form").addEventListener("submit", (event) => {
  event.preventDefault();
  askAnew(byId("query").value);
});
byId("freeze").addEventListener("click", () => hold(shown.hold === "live" ? "next" : "live"));
byId("step").addEventListener("click", () => hold("next"));
byId("save").addEventListener("click", async () => {
  const { saveReport } = await import("./report.js");
  await saveReport(picture, shown.heatmaps, shown.state);
});
byId("camera").addEventListener("change", () => chooseCamera(byId("camera").value));
byId("space").addEventListener("toggle", openSpace);
byId("token-form").addEventListener("submit", () => {
  connection.token = byId("token").value.trim();
  connection.open();
});
document.addEventListener("visibilitychange", updateWishes);

showHistory(askAnew);
updateWishes();
connection.open();
