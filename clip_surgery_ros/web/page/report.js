// A report of the frame that is shown: picture, drawing, maps and state in one ZIP file.
import { strToU8, zipSync } from "./vendor/fflate.js";

/** Downloads the report. */
export async function saveReport(picture, heatmaps, state) {
  const drawn = await new Promise((resolve) => picture.canvas.toBlob(resolve, "image/png"));
  const content = {
    saved: new Date().toISOString(),
    browser: navigator.userAgent,
    frame: picture.frame,
    heatmaps: heatmaps && heatmaps.stamp === picture.frame?.stamp ? heatmaps : null,
    cross: picture.cross,
    state,
  };
  const files = {
    "report.json": strToU8(JSON.stringify(content, null, 1)),
    "drawn.png": new Uint8Array(await drawn.arrayBuffer()),
  };
  if (picture.jpeg) files["picture.jpg"] = picture.jpeg;
  const zip = new Blob([zipSync(files, { level: 1 })], { type: "application/zip" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(zip);
  link.download = `clip_surgery_${(picture.frame?.stamp ?? "state").replace(".", "_")}.zip`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
