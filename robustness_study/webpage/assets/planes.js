// The UMAP planes.
page.planed = (async () => {
  const source = page.planes;
  const { count } = source;
  if (count === 0) return;
  const columns = 10;
  const canvas = element("p-canvas");
  const labels = await unpacked(source.labels);
  const indices = await unpacked(source.indices);
  const sheet = await decoded(source.sheet);
  const side = sheet.width / columns;
  const ready = {};
  let chosen = null;
  let points = [];

  async function placesOf(model) {
    ready[model] ??= (async () => {
      const of = source.models[model];
      const states = Object.keys(of.places);
      const each = async (kind) => Object.fromEntries(await Promise.all(states.map(async (state) => [state, await unpacked(of[kind][state])])));
      return { places: await each("places"), said: await each("said") };
    })();
    return ready[model];
  }

  const margin = 16;
  const length = Math.min(canvas.width, canvas.height) - 2 * margin; // one scale for both axes
  const x = (value) => (canvas.width - length) / 2 + (value / 65535) * length;
  const y = (value) => canvas.height - margin - (value / 65535) * length;
  const median = (values) => [...values].sort((one, other) => one - other)[values.length >> 1];

  function arrow(context, from, to, colour) {
    const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
    for (const [width, shade] of [[6, getComputedStyle(document.body).getPropertyValue("--paper")], [2.5, colour]]) {
      context.strokeStyle = context.fillStyle = shade;
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      for (const turn of [2.6, -2.6]) {
        context.moveTo(...to);
        context.lineTo(to[0] + 11 * Math.cos(angle + turn), to[1] + 11 * Math.sin(angle + turn));
      }
      context.stroke();
    }
  }

  async function prepared() {
    const model = element("p-model").selectedIndex;
    return { model, state: element("p-state").value, ...(await placesOf(model)) };
  }

  function show({ model, state, places, said }) {
    const only = element("p-class").value;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    points = [];
    const paper = getComputedStyle(document.body).getPropertyValue("--quiet");
    for (let image = 0; image < count; image++) {
      if (only !== "" && labels[image] !== Number(only)) continue;
      const at = [x(places[state][2 * image]), y(places[state][2 * image + 1])];
      points.push({ image, at });
      context.beginPath();
      context.arc(...at, 3.2, 0, 7);
      context.fillStyle = colourOf(labels[image]);
      context.fill();
      context.lineWidth = 0.4;
      context.strokeStyle = paper;
      context.stroke();
    }
    if (state !== "clean" && element("p-arrows").checked) {
      for (const label of new Set(points.map((point) => labels[point.image]))) {
        const members = points.filter((point) => labels[point.image] === label).map((point) => point.image);
        const middle = (of, axis, to) => to(median(members.map((image) => places[of][2 * image + axis])));
        arrow(context, [middle("clean", 0, x), middle("clean", 1, y)], [middle(state, 0, x), middle(state, 1, y)], colourOf(label));
      }
    }
    const point = points.find((each) => each.image === chosen);
    if (point) {
      context.beginPath();
      context.arc(...point.at, 7, 0, 7);
      context.lineWidth = 2.5;
      context.strokeStyle = getComputedStyle(document.body).getPropertyValue("--focus");
      context.stroke();
      const picture = element("p-image");
      picture.width = picture.height = side;
      picture.getContext("2d").drawImage(sheet, (chosen % columns) * side, Math.floor(chosen / columns) * side, side, side, 0, 0, side, side);
      const truth = page.classes[labels[chosen]];
      element("p-text").textContent = `Test image ${indices[chosen]} (shown clean): ${truth}, ${state}: predicted as ${page.classes[said[state][chosen]]}.`;
    } else {
      chosen = null;
      element("p-text").textContent = "No point is chosen.";
    }
    const of = source.models[model];
    const measures = Object.entries(of.measures).map(([name, value]) => `${name} ${value === null ? "–" : value.toFixed(3)}`);
    element("p-measures").textContent = `${measures.join("; ")}. Attacked: FGSM, ε = ${of.epsilon_255}/255.`;
  }

  const draw = latest(prepared, show);

  function legend() {
    element("p-legend").replaceChildren(
      ...page.classes.map((name, label) => {
        const dot = made("i");
        dot.style.background = colourOf(label);
        return made("li", {}, dot, name);
      }),
    );
  }

  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const at = [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
    const far = (point) => Math.hypot(point.at[0] - at[0], point.at[1] - at[1]);
    const nearest = points.reduce((one, other) => (one === null || far(other) < far(one) ? other : one), null);
    if (nearest && far(nearest) < 14 && nearest.image !== chosen) {
      chosen = nearest.image;
      draw();
    }
  });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by || !points.length || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const now = points.findIndex((point) => point.image === chosen);
    chosen = points[(now + by + points.length) % points.length].image;
    draw();
  });
  choices(element("p-model"), source.names);
  choices(element("p-class"), [["", "all"], ...page.classes.map((name, label) => [String(label), name])]);
  for (const id of ["p-model", "p-state", "p-class", "p-arrows"]) element(id).addEventListener("change", draw);
  dark.addEventListener("change", () => (legend(), draw()));
  legend();
  await draw();
})();
