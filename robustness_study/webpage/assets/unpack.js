// The page's data, and what the other scripts share.
const page = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const dark = window.matchMedia("(prefers-color-scheme: dark)");

/** The numbers of a packed array. */
async function unpacked(found) {
  const bytes = Uint8Array.from(atob(found.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(stream).arrayBuffer();
  const kinds = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, uint32: Uint32Array };
  return new kinds[found.type](buffer);
}

/** The decoded image of a data URI. */
async function decoded(uri) {
  const image = new Image();
  image.src = uri;
  await image.decode();
  return image;
}

/** An element with attributes and children; texts are never read as HTML. */
function made(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Fill a select with options: texts, or pairs of value and text. */
function choices(select, options, chosen) {
  select.replaceChildren(
    ...options.map((option) => {
      const [value, text] = Array.isArray(option) ? option : [option, option];
      return made("option", { value }, text);
    }),
  );
  if (chosen !== undefined) select.value = chosen;
}

/** The three parts of a colour "#rrggbb", from 0 to 255. */
const partsOf = (colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));

/** The relative luminance of a colour, from 0 to 1 (WCAG 2.1). */
function luminance(parts) {
  const linear = parts.map((part) => (part <= 10.3 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** How well two colours can be told apart, from 1 to 21 (WCAG 2.1). */
function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((first, second) => first - second);
  return (high + 0.05) / (low + 0.05);
}

/** A class's or model's colour, made darker or lighter until it can be seen on the paper of the theme. */
function colourOf(position) {
  let colour = partsOf(page.colours[position % page.colours.length]);
  const paper = partsOf(getComputedStyle(document.documentElement).getPropertyValue("--paper").trim());
  const ink = dark.matches ? 255 : 0;
  if (Math.max(...colour) === 0) colour = [ink, ink, ink]; // made lighter, black would be a grey like another colour
  while (contrast(colour, paper) < 3) colour = colour.map((part) => Math.round(part + 0.1 * (ink - part)) + Math.sign(ink - part));
  return `rgb(${colour.map((part) => Math.min(255, Math.max(0, part))).join(", ")})`;
}

/** A function that does what the last call asked for: results of earlier calls are dropped, in whatever order they come. */
function latest(prepare, show) {
  let turn = 0;
  return async (...given) => {
    const mine = ++turn;
    const found = await prepare(...given);
    if (mine === turn) await show(found);
  };
}

const inWords = (name) => name.replaceAll("_", " ");
