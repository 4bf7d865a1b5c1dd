// Objects in space: their boxes in 3D, with names, and a table of their places.
import {
  AmbientLight, AxesHelper, BoxGeometry, Color, EdgesGeometry, GridHelper, Group, LineBasicMaterial, LineSegments, Mesh,
  MeshBasicMaterial, PerspectiveCamera, Scene, Sprite, SRGBColorSpace, SpriteMaterial, CanvasTexture, WebGLRenderer, Box3, Vector3,
} from "./vendor/three.module.min.js";
import { OrbitControls } from "./vendor/OrbitControls.js";
import { byId, element, setText } from "./dom.js";
import { colourOf } from "./palette.js";

const OPTICAL = /optical(_frame)?$/; // z forward, y down (REP 103); other frames have z up

export class SpaceView {
  #holder = byId("space-view");
  #renderer = null;
  #scene = new Scene();
  #camera = new PerspectiveCamera(45, 1, 0.01, 200);
  #controls = null;
  #objects = new Group();
  #frameId = null;

  constructor() {
    try {
      this.#renderer = new WebGLRenderer({ antialias: true, alpha: true });
    } catch {
      return; // without WebGL there is the table
    }
    this.#holder.append(this.#renderer.domElement);
    this.#scene.add(this.#objects, new AxesHelper(0.2), new AmbientLight());
    this.#controls = new OrbitControls(this.#camera, this.#renderer.domElement);
    this.#controls.addEventListener("change", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.#holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Shows where the objects of a frame are. */
  show(frame) {
    const segments = frame.segments ?? [];
    const placed = segments.filter((one) => one.place?.box);
    setText(byId("space-note"), note(frame, segments, placed));
    byId("space-table").hidden = !segments.some((one) => one.place);
    byId("space-table").tBodies[0].replaceChildren(...segments.filter((one) => one.place).map(row));
    if (!this.#renderer) return;
    this.#clear();
    for (const segment of placed) this.#objects.add(...boxOf(segment));
    this.#holder.setAttribute("aria-label", `Boxes in space: ${placed.map(nameOf).join(", ") || "none"}`);
    if (placed.length && placed[0].place.frame_id !== this.#frameId) this.#lookAt(placed[0].place.frame_id);
    this.#draw();
  }

  /** Looks at all boxes, from where the camera or a person would. */
  #lookAt(frameId) {
    this.#frameId = frameId;
    const isOptical = OPTICAL.test(frameId);
    const bounds = new Box3().setFromObject(this.#objects);
    const centre = bounds.getCenter(new Vector3());
    const reach = Math.max(0.3, bounds.getSize(new Vector3()).length()) * 1.05;
    const from = isOptical ? new Vector3(0.3, -0.6, -1) : new Vector3(-0.8, -0.8, 0.8);
    this.#camera.up.set(0, isOptical ? -1 : 0, isOptical ? 0 : 1);
    this.#camera.position.copy(centre).addScaledVector(from.normalize(), reach);
    this.#controls.dispose();
    this.#controls = new OrbitControls(this.#camera, this.#renderer.domElement);
    this.#controls.addEventListener("change", () => this.#draw());
    this.#controls.target.copy(centre);
    this.#controls.update();
    const grid = new GridHelper(2, 20, 0x8a97a6, 0x8a97a6);
    grid.material.transparent = true;
    grid.material.opacity = 0.35;
    if (!isOptical) grid.rotation.x = Math.PI / 2;
    else grid.position.y = bounds.max.y;
    if (!isOptical) grid.position.set(centre.x, centre.y, bounds.min.z);
    this.#scene.remove(this.#scene.getObjectByName("grid"));
    grid.name = "grid";
    this.#scene.add(grid);
  }

  #clear() {
    for (const child of [...this.#objects.children]) {
      child.geometry?.dispose();
      child.material.map?.dispose();
      child.material.dispose();
      this.#objects.remove(child);
    }
  }

  #draw() {
    const { clientWidth, clientHeight } = this.#holder;
    if (!clientWidth || !clientHeight) return;
    this.#renderer.setPixelRatio(devicePixelRatio || 1);
    this.#renderer.setSize(clientWidth, clientHeight, false);
    this.#camera.aspect = clientWidth / clientHeight;
    this.#camera.updateProjectionMatrix();
    this.#renderer.render(this.#scene, this.#camera);
  }
}

const nameOf = (segment) => segment.track_id || segment.label;
const numbers = (values) => values.map((value) => value.toFixed(3)).join(", ");

function note(frame, segments, placed) {
  if (placed.length) return `In ${placed[0].place.frame_id}. Drag to turn; the wheel, or two fingers, to come nearer.`;
  if (segments.some((one) => one.place)) return "No object has a place; the table says why.";
  if (segments.length) return "The node has no depth topic (depth_topics), so places are not known.";
  return frame.query ? "Nothing was found." : "No result yet.";
}

function row(segment) {
  const { box, message, is_lower_bound: isLower } = segment.place;
  const cells = box
    ? [element("td", {}, numbers(box.position)), element("td", {}, (isLower ? "at least " : "") + numbers(box.size))]
    : [element("td", { colSpan: 2 }, message)];
  return element("tr", {}, element("th", { scope: "row" }, nameOf(segment)), ...cells);
}

function boxOf(segment) {
  const { position, orientation, size } = segment.place.box;
  const colour = new Color(...colourOf(segment.label_id).map((value) => value / 255)).convertSRGBToLinear();
  const solid = new BoxGeometry(...size.map((value) => Math.max(value, 0.002)));
  const mesh = new Mesh(solid, new MeshBasicMaterial({ color: colour, transparent: true, opacity: 0.3, depthWrite: false }));
  const edges = new LineSegments(new EdgesGeometry(solid), new LineBasicMaterial({ color: colour }));
  for (const part of [mesh, edges]) {
    part.position.set(...position);
    part.quaternion.set(...orientation);
  }
  const name = nameSprite(nameOf(segment));
  name.position.set(...position);
  name.center.set(0.5, -0.6);
  return [mesh, edges, name];
}

/** Returns a name that always faces the viewer, with the same size at any distance. */
function nameSprite(text) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const font = "600 28px system-ui, sans-serif";
  context.font = font;
  canvas.width = Math.ceil(context.measureText(text).width) + 24;
  canvas.height = 44;
  context.font = font;
  context.fillStyle = "rgb(12 17 23 / 86%)";
  context.beginPath();
  context.roundRect(0, 0, canvas.width, canvas.height, 10);
  context.fill();
  context.fillStyle = "white";
  context.textBaseline = "middle";
  context.fillText(text, 12, 23);
  const map = new CanvasTexture(canvas);
  map.colorSpace = SRGBColorSpace;
  const sprite = new Sprite(new SpriteMaterial({ map, depthTest: false, sizeAttenuation: false }));
  const high = 0.05;
  sprite.scale.set((high * canvas.width) / canvas.height, high, 1);
  return sprite;
}
