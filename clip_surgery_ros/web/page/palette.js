// Colours of labels by their index in the query: those of ~/overlay and of the markers in rviz
// (PALETTE in clip_surgery_ros/pictures/render.py).
export const PALETTE = [
  [230, 25, 75], [0, 130, 200], [60, 180, 75], [245, 130, 48], [145, 30, 180],
  [70, 240, 240], [240, 50, 230], [210, 245, 60], [0, 128, 128], [170, 110, 40],
];

export const colourOf = (label) => PALETTE[label % PALETTE.length];
export const css = ([red, green, blue]) => `rgb(${red} ${green} ${blue})`;

// Dark to bright, even in lightness, for all who see colours differently (as magma of matplotlib).
const STOPS = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];

/** Returns the colour of a value from 0 to 1. */
export function heat(value) {
  const at = Math.min(0.9999, Math.max(0, value)) * (STOPS.length - 1);
  const low = Math.floor(at);
  return STOPS[low].map((from, i) => from + (STOPS[low + 1][i] - from) * (at - low));
}
