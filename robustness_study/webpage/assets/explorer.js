// The image explorer.
page.explored = (async () => {
  const source = page.explorer;
  const { count, side } = source;
  if (count === 0) {
    page.showCorruption = () => element("explorer").scrollIntoView();
    return;
  }
  const models = page.models;
  const columns = 10;
  const [labels, indices, signs] = await Promise.all([source.labels, source.indices, source.attack.signs].map(unpacked));
  const clean = { image: await decoded(source.clean.sheet), said: await unpacked(source.clean.said), percent: await unpacked(source.clean.percent) };
  const sheets = {}; // decoded when they are first shown
  const said = {};
  let shown = [];
  let place = 0;

  const setting = () => ({
    kind: element("x-kind").value,
    corruption: element("x-corruption").value,
    level: element("x-severity").selectedIndex,
    through: element("x-through").selectedIndex,
    epsilon: element("x-epsilon").selectedIndex,
    magnify: Number(element("x-magnify").value),
  });

  /** Predicted labels and confidences of the changed images: a function of model and image. */
  async function predictions(now) {
    const attack = now.kind === "attack";
    const key = attack ? "attack" : now.corruption;
    const from = attack ? source.attack : source.corruptions.find((each) => each.name === now.corruption);
    said[key] ??= Promise.all([unpacked(from.said), unpacked(from.percent)]);
    const [label, percent] = await said[key];
    const levels = attack ? source.attack.epsilons_255.length : source.severities.length;
    const level = attack ? now.epsilon : now.level;
    const at = (model, image) => (model * levels + level) * count + image;
    return { label: (model, image) => label[at(model, image)], percent: (model, image) => percent[at(model, image)] };
  }

  /** The pixels of one image of a sheet. */
  function pixels(sheet, image) {
    const canvas = new OffscreenCanvas(side, side);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(sheet, (image % columns) * side, Math.floor(image / columns) * side, side, side, 0, 0, side, side);
    return context.getImageData(0, 0, side, side);
  }

  /** The pixels of the changed image. */
  async function changedPixels(now, image) {
    if (now.kind === "corruption") {
      const from = source.corruptions.find((each) => each.name === now.corruption);
      const key = `${now.corruption} ${now.level}`;
      sheets[key] ??= decoded(from.sheets[now.level]);
      return pixels(await sheets[key], image);
    }
    const result = pixels(clean.image, image);
    const size = source.attack.epsilons_255[now.epsilon] / source.attack.scale;
    const start = (now.through * count + image) * side * side * 3;
    for (let pixel = 0; pixel < side * side; pixel++) {
      for (let channel = 0; channel < 3; channel++) {
        result.data[4 * pixel + channel] += size * signs[start + 3 * pixel + channel]; // the type of data clips to 0…255
      }
    }
    return result;
  }

  function put(id, data, label) {
    const canvas = element(id);
    canvas.width = canvas.height = side;
    canvas.getContext("2d").putImageData(data, 0, 0);
    canvas.setAttribute("aria-label", label);
  }

  /** A cell with a predicted class and its confidence. */
  function prediction(label, percent, truth) {
    const mark = label === truth ? made("span", { class: "right" }, "✓ ") : made("span", { class: "wrong" }, "✗ ");
    return made("td", {}, mark, page.classes[label], made("span", { class: "percent" }, ` (${percent} %)`));
  }

  /** What the pictures and the table of one image need. */
  async function prepared() {
    const [now, image] = [setting(), shown[place]];
    const found = await predictions(now);
    return { now, image, found, after: image === undefined ? null : await changedPixels(now, image) };
  }

  function show({ now, image, found, after }) {
    element("x-previous").disabled = element("x-next").disabled = shown.length < 2;
    element("x-place").textContent = shown.length ? `${place + 1} of ${shown.length}` : "no image fits the filter";
    for (const child of element("x-strip").children) {
      const current = Number(child.dataset.image) === image;
      child.setAttribute("aria-current", String(current));
      child.tabIndex = current ? 0 : -1; // one stop for the tabulator; the arrow keys do the rest
      if (!current) continue;
      if (element("x-strip").contains(document.activeElement)) child.focus();
      const [strip, box] = [element("x-strip").getBoundingClientRect(), child.getBoundingClientRect()];
      if (box.top < strip.top || box.bottom > strip.bottom) element("x-strip").scrollTop += box.top - strip.top;
    }
    const empty = new ImageData(side, side);
    if (image === undefined) {
      for (const id of ["x-clean", "x-changed", "x-difference"]) put(id, empty, "no image");
      element("x-said").replaceChildren();
      element("x-note").textContent = "";
      return;
    }
    const before = pixels(clean.image, image);
    const difference = new ImageData(side, side);
    for (let place = 0; place < before.data.length; place++) {
      difference.data[place] = place % 4 === 3 ? 255 : 128 + now.magnify * (after.data[place] - before.data[place]);
    }
    const attack = now.kind === "attack";
    const epsilon = source.attack.epsilons_255[now.epsilon];
    const what = attack ? `FGSM, ε = ${epsilon}/255, through ${models[now.through]}` : `${inWords(now.corruption)}, severity ${source.severities[now.level]}`;
    const truth = page.classes[labels[image]];
    put("x-clean", before, `clean image of class ${truth}`);
    put("x-changed", after, `the image under ${what}`);
    put("x-difference", difference, `difference times ${now.magnify}`);
    element("x-changed-caption").textContent = what;
    element("x-difference-caption").textContent = `difference × ${now.magnify} (grey: none)`;
    const heads = ["model", "clean", attack ? `its own attack, ε = ${epsilon}/255` : "changed"];
    const rows = models.map((model, position) =>
      made(
        "tr",
        {},
        made("th", { scope: "row" }, model),
        prediction(clean.said[position * count + image], clean.percent[position * count + image], labels[image]),
        prediction(found.label(position, image), found.percent(position, image), labels[image]),
      ),
    );
    element("x-said").replaceChildren(
      made("caption", {}, `test image ${indices[image]}, true class: ${truth}`),
      made("thead", {}, made("tr", {}, ...heads.map((head) => made("th", { scope: "col" }, head)))),
      made("tbody", {}, ...rows),
    );
    element("x-note").textContent = attack ? "Each model is attacked through its own gradient; the picture shows the attack through one." : "";
  }

  const draw = latest(prepared, show);

  /** Choose the images that fit the filter. */
  function filter(found) {
    const wanted = element("x-class").value;
    const kind = element("x-filter").value;
    const by = element("x-by").value === "" ? models.map((_, position) => position) : [Number(element("x-by").value)];
    const before = (model, image) => clean.said[model * count + image];
    const tests = {
      all: () => true,
      broken: (image) => by.some((model) => before(model, image) === labels[image] && found.label(model, image) !== labels[image]),
      wrong: (image) => by.some((model) => before(model, image) !== labels[image]),
      disagree: (image) => new Set(models.map((_, model) => found.label(model, image))).size > 1,
    };
    const current = shown[place];
    shown = [...labels.keys()].filter((image) => (wanted === "" || labels[image] === Number(wanted)) && tests[kind](image));
    place = Math.max(0, shown.indexOf(current));
    element("x-strip").replaceChildren(
      ...shown.map((image) => {
        const canvas = made("canvas", { width: side, height: side });
        canvas.getContext("2d").putImageData(pixels(clean.image, image), 0, 0);
        const choose = () => ((place = shown.indexOf(image)), draw());
        const label = `image ${indices[image]}, ${page.classes[labels[image]]}`;
        return made("button", { type: "button", "aria-label": label, "data-image": image, onclick: choose }, canvas);
      }),
    );
    return draw();
  }

  function step(by) {
    if (shown.length) place = (place + by + shown.length) % shown.length;
    return draw();
  }

  const changed = latest(() => {
    const attack = element("x-kind").value === "attack";
    for (const id of ["x-corruption-label", "x-severity-label"]) element(id).hidden = attack;
    for (const id of ["x-through-label", "x-epsilon-label"]) element(id).hidden = !attack;
    return predictions(setting());
  }, filter);

  choices(element("x-corruption"), source.corruptions.map((each) => [each.name, inWords(each.name)]));
  choices(element("x-severity"), source.severities.map(String), String(source.severities[1] ?? source.severities[0]));
  choices(element("x-through"), models);
  choices(element("x-epsilon"), source.attack.epsilons_255.map(String));
  choices(element("x-class"), [["", "all"], ...page.classes.map((name, label) => [String(label), name])]);
  choices(element("x-by"), [["", "any model"], ...models.map((name, position) => [String(position), name])]);
  for (const id of ["x-kind", "x-corruption", "x-severity", "x-epsilon", "x-through", "x-class", "x-filter", "x-by"]) {
    element(id).addEventListener("change", changed);
  }
  element("x-magnify").addEventListener("change", draw);
  element("x-previous").addEventListener("click", () => step(-1));
  element("x-next").addEventListener("click", () => step(1));
  element("explorer").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const modified = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (by && !modified && event.target.tagName !== "SELECT") {
      event.preventDefault();
      step(by);
    }
  });
  page.showCorruption = async (name, severity) => {
    element("x-kind").value = "corruption";
    element("x-corruption").value = name;
    element("x-severity").value = String(severity);
    await changed();
    element("explorer").scrollIntoView();
    element("x-next").focus({ preventScroll: true });
  };
  await changed();
})();
