// Keeps a page of the hub up to date, and draws its charts. What the page says at first, it says without this.
"use strict";
(() => {
  const EVERY = 10000;
  const LIMIT = 8000;
  const fresh = document.getElementById("fresh");
  let asked = 0;

  const get = async (url) => {
    const answer = await fetch(url, { signal: AbortSignal.timeout(LIMIT), cache: "no-store" });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer;
  };

  const times = (root) => {
    for (const time of root.querySelectorAll("time[data-ms]")) {
      time.textContent = new Date(Number(time.dataset.ms)).toLocaleString();
    }
  };

  // The parts of the page that change, from a new one. What has the focus keeps it.
  const take = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const part of page.querySelectorAll("[data-live]")) {
      const here = document.querySelector(`[data-live="${part.dataset.live}"]`);
      times(part);
      if (!here || here.innerHTML === part.innerHTML) continue;
      const focused = here.contains(document.activeElement) && document.activeElement;
      const links = [...here.querySelectorAll("a, button, [tabindex]")];
      const at = focused ? links.indexOf(focused) : -1;
      const frame = here.querySelector(".table-frame");
      const left = frame ? frame.scrollLeft : 0;
      here.replaceChildren(...part.childNodes);
      const now = here.querySelector(".table-frame");
      if (now) now.scrollLeft = left;
      if (at >= 0) [...here.querySelectorAll("a, button, [tabindex]")][at]?.focus({ preventScroll: true });
    }
  };

  const refresh = async (url) => {
    const number = ++asked;
    try {
      const text = await (await get(url)).text();
      // A later question is answered already.
      if (number !== asked) return;
      take(text);
      fresh.textContent = "";
    } catch (error) {
      if (number === asked) fresh.textContent = `The hub does not answer (${error.message}); what is shown is older.`;
    }
  };

  const go = (url) => {
    history.replaceState(null, "", url);
    return refresh(url);
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-go]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    go(link.href);
  });

  const search = document.getElementById("q");
  let typing;
  const find = () => {
    clearTimeout(typing);
    const url = new URL(location.href);
    url.searchParams.delete("offset");
    if (search.value) url.searchParams.set("q", search.value);
    else url.searchParams.delete("q");
    go(url.href);
  };
  search?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(find, 200);
  });
  search?.form.addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });

  // Charts.
  const grid = document.getElementById("charts");
  const say = document.getElementById("charts-say");
  const plots = new Map();
  const colours = ["--one", "--two", "--three", "--four", "--five", "--six"];

  const scaled = (value, units, each) => {
    let at = 0;
    while (Math.abs(value) >= each && at < units.length - 1) {
      value /= each;
      at += 1;
    }
    return `${+value.toFixed(Math.abs(value) < 10 ? 2 : 0)} ${units[at]}`.trim();
  };
  const written = {
    percent: (value) => `${+value.toFixed(1)} %`,
    number: (value) => scaled(value, ["", "k", "M", "G"], 1000),
    seconds: (value) => (value < 120 ? `${+value.toFixed(0)} s` : `${+(value / 60).toFixed(0)} min`),
    per_second: (value) => `${scaled(value, ["", "k", "M"], 1000)}/s`,
    bytes_per_second: (value) => `${scaled(value, ["B", "KiB", "MiB", "GiB"], 1024)}/s`,
  };
  // So that nothing at all does not fill a chart.
  const least = { bytes_per_second: 1000, seconds: 10 };
  const named = (series) => (series.instance ? series.instance : series.name.replace(/_(percent|bytes|per_second)$/, "").replaceAll("_", " "));

  const draw = (place, answer, from, to) => {
    const names = JSON.parse(place.dataset.series);
    const series = answer.series.filter((one) => names.includes(one.name));
    const write = written[place.dataset.unit] ?? written.number;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const data = [answer.times_ms.map((time) => time / 1000), ...series.map((one) => one.values)];
    const shape = series.map((one) => one.name + one.instance).join("\n") + colour("--text");
    const known = plots.get(place);
    if (known && known.shape === shape) {
      known.plot.setData(data, false);
      known.plot.setScale("x", { min: from, max: to });
      return;
    }
    known?.plot.destroy();
    place.replaceChildren();
    const line = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const plot = new uPlot(
      {
        width: place.clientWidth,
        height: 190,
        // One time for all charts, also under the pointer.
        cursor: { sync: { key: "host" }, drag: { x: false, y: false } },
        scales: {
          x: { min: from, max: to },
          y: { range: (_, low, high) => [Math.min(0, low ?? 0), place.dataset.unit === "percent" ? 100 : Math.max((high ?? 0) * 1.05, least[place.dataset.unit] ?? 1)] },
        },
        axes: [line, { ...line, size: 74, values: (_, ticks) => ticks.map(write) }],
        series: [
          { value: (_, time) => (time == null ? "\u2013" : new Date(time * 1000).toLocaleString()) },
          ...series.map((one, at) => ({
            label: named(one),
            stroke: colour(colours[at % colours.length]),
            width: 1.5,
            // At a step that is finer than the interval there are gaps between any two samples.
            spanGaps: answer.step_ms <= 10000,
            points: { show: false },
            value: (_, value) => (value == null ? "\u2013" : write(value)),
          })),
        ],
      },
      data,
      place,
    );
    plots.set(place, { plot, shape });
  };

  const picture = async () => {
    const { from, range } = grid.dataset;
    try {
      const answer = await (await get(`${from}?range=${range}`)).json();
      if (range !== grid.dataset.range) return;
      const places = [...grid.querySelectorAll(".plot")];
      if (grid.dataset.more === "true") others(answer, places);
      for (const place of grid.querySelectorAll(".plot")) draw(place, answer, answer.from_ms / 1000, answer.to_ms / 1000);
      say.textContent = answer.times_ms.length ? "" : "Nothing is known of this range yet.";
      grid.dataset.drawn = range;
    } catch (error) {
      say.textContent = `The history cannot be had (${error.message}).`;
    }
  };

  // A chart for each series that the page has none for.
  const others = (answer, places) => {
    const shown = new Set(places.flatMap((place) => JSON.parse(place.dataset.series)).concat("fullest_partition_percent"));
    for (const one of answer.series) {
      if (shown.has(one.name)) continue;
      shown.add(one.name);
      const section = document.createElement("section");
      const heading = document.createElement("h3");
      const place = document.createElement("div");
      section.className = "chart";
      heading.textContent = one.name.replaceAll("_", " ");
      place.className = "plot";
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", `${heading.textContent} over the range`);
      place.dataset.unit = one.unit;
      place.dataset.series = JSON.stringify([one.name]);
      section.append(heading, place);
      grid.append(section);
    }
  };

  if (grid) {
    for (const button of document.querySelectorAll("button[data-range]")) {
      button.addEventListener("click", () => {
        grid.dataset.range = button.dataset.range;
        for (const other of document.querySelectorAll("button[data-range]")) other.setAttribute("aria-pressed", String(other === button));
        for (const [id, more] of [["history-csv", "&format=csv"], ["history-json", ""]]) {
          document.getElementById(id).href = `${grid.dataset.from}?range=${button.dataset.range}${more}`;
        }
        const url = new URL(location.href);
        url.searchParams.set("range", button.dataset.range);
        history.replaceState(null, "", url);
        picture();
      });
    }
    new ResizeObserver(() => {
      for (const [place, { plot }] of plots) {
        if (plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: 190 });
      }
    }).observe(grid);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", picture);
    picture();
  }

  times(document);
  setInterval(() => {
    if (document.hidden) return;
    refresh(location.href);
    if (grid) picture();
  }, EVERY);
})();
