// The Vega-Lite charts, each with a select that chooses the rows it shows.
{
  const views = {};

  function look() {
    const ink = getComputedStyle(document.body).getPropertyValue("--ink").trim();
    const line = getComputedStyle(document.body).getPropertyValue("--line").trim();
    const axis = { labelColor: ink, titleColor: ink, gridColor: line, domainColor: line, tickColor: line };
    return {
      background: "transparent",
      font: "system-ui, sans-serif",
      axis: { ...axis, labelFontSize: 12, titleFontSize: 12, labelLimit: 220 },
      legend: { symbolOpacity: 1, labelColor: ink, titleColor: ink, labelFontSize: 12, labelLimit: 320, orient: "bottom", columns: window.innerWidth < 640 ? 1 : 2 },
      view: { stroke: null },
      rule: { color: ink },
    };
  }

  const drawing = {};

  /** Draw one chart when its earlier drawings are done. So the last choice is the one that stays. */
  function draw(name) {
    drawing[name] = (drawing[name] ?? Promise.resolve()).then(() => drawNow(name));
    return drawing[name];
  }

  /** Draw one chart with the rows of its choice. */
  async function drawNow(name) {
    const chart = page.charts[name];
    const select = document.querySelector(`select[data-chart="${name}"]`);
    const rows = chart.rows.filter((row) => row.choice === select.value);
    const domain = page.charts.models;
    const scale = { domain, range: domain.map((_, position) => colourOf(position)) };
    const spec = JSON.parse(JSON.stringify(chart.spec));
    const layers = spec.layer ?? [spec];
    for (const layer of layers) {
      if (layer.encoding.color) layer.encoding.color.scale = scale;
      if (layer.encoding.shape) layer.encoding.shape.scale = { domain };
      if (layer.encoding.x.field === "model") layer.encoding.x.scale = { ...layer.encoding.x.scale, domain };
    }
    const full = {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      ...spec,
      data: { values: rows },
      width: "container",
      height: 280,
      config: look(),
    };
    const actions = { export: true, source: false, compiled: false, editor: false };
    views[name]?.finalize();
    views[name] = await window.vegaEmbed(element(`chart-${name}`), full, { actions, renderer: "svg" });
  }

  const names = Object.keys(page.charts).filter((name) => name !== "models");
  for (const name of names) {
    const select = document.querySelector(`select[data-chart="${name}"]`);
    choices(select, page.charts[name].choices);
    select.addEventListener("change", () => draw(name));
  }
  const preferred = { comparison: "clean images" };
  for (const [name, value] of Object.entries(preferred)) {
    document.querySelector(`select[data-chart="${name}"]`).value = value;
  }
  const all = () => Promise.all(names.map(draw));
  dark.addEventListener("change", all);
  page.drawn = all();
}
