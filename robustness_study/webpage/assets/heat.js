// Tables whose cells are coloured by their numbers: corruptions by severity, and confusion.
{
  /** Background and text colours of a number from 0 to 1, or of a difference from −1 to 1. */
  function shade(value, isDifference) {
    const strength = isDifference ? Math.min(1, Math.abs(value) * 3) : value;
    const hue = isDifference && value < 0 ? [213, 94, 0] : [0, 114, 178];
    const paper = dark.matches ? [22, 24, 27] : [255, 255, 255];
    const mixed = hue.map((part, place) => Math.round(paper[place] + (part - paper[place]) * strength));
    const onWhite = contrast(mixed, [255, 255, 255]);
    return `background: rgb(${mixed.join(" ")}); color: ${onWhite > 4.5 ? "#fff" : "#000"}`;
  }

  const severities = (row) => row.map((_, severity) => severity);

  function drawHeat() {
    const { corruptions, accuracy } = page.heat;
    const model = element("heat-model").value;
    const minus = element("heat-minus").value;
    const head = severities(accuracy[model][0]).map((severity) => made("th", { scope: "col" }, String(severity)));
    const key = minus ? "in points; blue: higher, orange: lower, full colour from 33 points" : "from 0 (no colour) to 1 (full colour)";
    const rows = corruptions.map((name, place) => {
      const cells = severities(accuracy[model][place]).map((severity) => {
        const value = accuracy[model][place][severity] - (minus ? accuracy[minus][place][severity] : 0);
        const points = (100 * value).toFixed(1).replace("-", "−");
        const shown = minus ? (value > 0 ? `+${points}` : points) : value.toFixed(3);
        const style = shade(value, Boolean(minus));
        if (!page.explorer.severities?.includes(severity)) return made("td", { style }, made("span", {}, shown));
        const label = `${inWords(name)}, severity ${severity}: ${shown}; show the images`;
        const open = () => page.showCorruption(name, severity);
        return made("td", { style }, made("button", { type: "button", "aria-label": label, title: label, onclick: open }, shown));
      });
      return made("tr", {}, made("th", { scope: "row" }, inWords(name)), ...cells);
    });
    element("heat").replaceChildren(
      made("caption", { class: "note" }, key),
      made("thead", {}, made("tr", {}, made("th", { scope: "col" }, minus ? "points" : "accuracy"), ...head)),
      made("tbody", {}, ...rows),
    );
  }

  function drawConfusion() {
    const counts = page.confusion[element("c-of").value][element("c-model").value];
    const few = page.classes.length <= 30;
    const head = page.classes.map((name) => made("th", { scope: "col", class: "turned" }, name));
    const rows = counts.map((row, actual) => {
      const sum = Math.max(1, row.reduce((one, other) => one + other, 0));
      const cells = row.map((count, predicted) => {
        const share = count / sum;
        const title = `${page.classes[actual]} predicted as ${page.classes[predicted]}: ${count} of ${sum}`;
        return made("td", { style: shade(share, false), title }, made("span", {}, few ? (100 * share).toFixed(1) : ""));
      });
      return made("tr", {}, made("th", { scope: "row" }, page.classes[actual]), ...cells);
    });
    element("confusion").replaceChildren(
      made("caption", { class: "note" }, "true class (rows), predicted class (columns), in %"),
      made("thead", {}, made("tr", {}, made("td"), ...head)),
      made("tbody", {}, ...rows),
    );
  }

  const models = Object.keys(page.heat.accuracy);
  choices(element("heat-model"), models);
  choices(element("heat-minus"), [["", "nothing"], ...models]);
  choices(element("c-model"), models);
  for (const id of ["heat-model", "heat-minus"]) element(id).addEventListener("change", drawHeat);
  for (const id of ["c-model", "c-of"]) element(id).addEventListener("change", drawConfusion);
  const both = () => (drawHeat(), drawConfusion());
  dark.addEventListener("change", both);
  both();
}
