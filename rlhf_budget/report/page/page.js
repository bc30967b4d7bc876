"use strict";
(() => {
  const read = (element) => JSON.parse(element.textContent);
  const views = new Map(); // scenario -> charts that follow its slider

  for (const slider of document.querySelectorAll("input[data-plans]")) {
    const scenario = slider.dataset.plans;
    const stops = read(document.getElementById(`${scenario}-plans`));
    const find = (name) => document.getElementById(`${scenario}-${name}`);
    const cells = document.querySelectorAll(`#${scenario}-slider data[data-key]`);
    const show = () => {
      const stop = stops[slider.value];
      find("budget").value = stop.says;
      slider.setAttribute("aria-valuetext", stop.says);
      find("says").textContent = stop.nothing || stop.note || "";
      for (const cell of cells) {
        const [value, text] = stop.values ? stop.values[cell.dataset.key] : ["", "–"];
        cell.value = value;
        cell.textContent = text;
      }
      for (const view of views.get(scenario) || []) view.signal("budget", stop.budget).runAsync();
    };
    slider.addEventListener("input", show);
    find("slider").hidden = false;
    show();
  }

  const drawn = new WeakSet();
  const draw = (holder) => {
    if (drawn.has(holder) || !holder.clientWidth) return;
    drawn.add(holder);
    const options = { mode: "vega-lite", actions: false, renderer: "svg", ast: true };
    vegaEmbed(holder, read(document.getElementById(holder.dataset.chart)), options).then(({ view }) => {
      holder.querySelector("svg").setAttribute("aria-hidden", "true"); // the holder's label and the table say it
      const scenario = holder.dataset.follows;
      if (!scenario) return;
      views.set(scenario, [...(views.get(scenario) || []), view]);
      const slider = document.querySelector(`input[data-plans="${scenario}"]`);
      slider.dispatchEvent(new Event("input"));
    });
  };
  const drawAll = () => document.querySelectorAll("[data-chart]").forEach(draw);
  for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", drawAll);
  requestAnimationFrame(() => setTimeout(drawAll));

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.scenario:not([open])")];
    for (const details of opened) details.open = true;
    drawAll();
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
