// Keeps a page live. A page works without it.
//
//   <div data-live="5" data-points="/api/v1/hour">   around all of it: every so many seconds, and where points of charts are
//   <p id="..." data-part>                           is taken from a fresh page, so that the server alone writes it
//   <div class="plot" data-unit="percent" data-series="a b" data-labels="A,B">   becomes a chart
//   <span id="live">, <p id="silent" hidden>         say that it is live, and that nobody answers
//
// Points come as {"until_ms", "times_ms": [...], "series": {name: [...]}}; with ?since= only those after that time.
(() => {
  "use strict";

  const live = document.querySelector("[data-live]");
  if (!live) return;
  const every = Number(live.dataset.live) * 1000;
  const HOUR_MS = 3600 * 1000;
  // A host may take a while: a mount that newly hangs costs half a second.
  const LIMIT_MS = 10000;

  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const bytes = (number) => {
    let at = 0;
    for (; number >= 1023.95 && at < UNITS.length - 1; at++) number /= 1024;
    return number.toFixed(at ? 1 : 0) + " " + UNITS[at];
  };
  const write = {
    percent: (number) => number.toFixed(1) + " %",
    rate: (number) => bytes(number) + "/s",
    number: (number) => number.toFixed(2),
  };

  const get = async (path) => {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(LIMIT_MS) });
    if (!answer.ok) throw new Error("it answers " + answer.status);
    return answer;
  };

  // Parts.

  const scripts = (page) => Array.from(page.scripts, (script) => script.getAttribute("src")).join(" ");

  const takeParts = async () => {
    const text = await (await get(location.pathname + location.search)).text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    // Another version of the program: its pages and this script need not fit.
    if (scripts(fresh) !== scripts(document)) {
      location.reload();
      return;
    }
    for (const part of document.querySelectorAll("[data-part]")) {
      const other = fresh.getElementById(part.id);
      if (other && other.innerHTML !== part.innerHTML) part.replaceChildren(...other.childNodes);
    }
  };

  // Charts.

  const plots = Array.from(document.querySelectorAll(".plot[data-series]"), (box) => ({
    box,
    unit: box.dataset.unit,
    names: box.dataset.series.split(" "),
    labels: box.dataset.labels.split(","),
  }));
  const points = { times_ms: [], series: {} };
  const COLOURS = ["--one", "--two", "--three", "--four", "--five", "--six"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const takePoints = async () => {
    const last = points.times_ms.at(-1) ?? 0;
    const fresh = await (await get(live.dataset.points + "?since=" + last)).json();
    // That host's clock was set back: what was ahead of it is gone there too.
    if (fresh.until_ms < last) {
      points.times_ms = [];
      points.series = {};
      return;
    }
    const oldest = (fresh.times_ms.at(-1) ?? last) - HOUR_MS;
    const old = points.times_ms.filter((time) => time < oldest).length;
    points.times_ms = points.times_ms.slice(old).concat(fresh.times_ms);
    for (const [name, values] of Object.entries(fresh.series)) {
      points.series[name] = (points.series[name] ?? []).slice(old).concat(values);
    }
    if (fresh.times_ms.length) plots.forEach(draw);
  };

  const columns = (plot) => [
    points.times_ms.map((time) => time / 1000),
    ...plot.names.map((name) => points.series[name] ?? []),
  ];

  const clock = (time, parts) => new Date(time * 1000).toLocaleTimeString([], { hourCycle: "h23", ...parts });
  const POWERS = Array.from({ length: 60 }, (_, power) => 2 ** power);
  const options = (plot) => {
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--quiet"), grid, ticks: grid };
    const say = (number) => (number == null ? "\u2013" : write[plot.unit](number));
    const most = plot.unit === "percent" ? 100 : plot.unit === "rate" ? 1024 : 1;
    return {
      width: plot.box.clientWidth,
      height: 180,
      cursor: { sync: { key: "live" }, drag: { x: false, y: false } },
      scales: {
        x: { range: (_, first, last) => [last - HOUR_MS / 1000, last] },
        y: { range: (_, low, high) => [0, plot.unit === "percent" ? most : Math.max(high ?? 0, most) * 1.05] },
      },
      axes: [
        { ...axis, values: (_, times) => times.map((time) => clock(time, { hour: "2-digit", minute: "2-digit" })) },
        {
          ...axis,
          size: 72,
          values: (_, numbers) => numbers.map((number) => write[plot.unit](number).replace(".0 ", " ")),
          ...(plot.unit === "rate" ? { incrs: POWERS } : {}),
        },
      ],
      series: [
        { value: (_, time) => (time == null ? "\u2013" : clock(time)) },
        ...plot.labels.map((label, at) => ({
          label,
          stroke: colour(COLOURS[at % COLOURS.length]),
          width: 1.5,
          value: (_, number) => say(number),
        })),
      ],
    };
  };

  const draw = (plot) => {
    if (plot.chart) {
      plot.chart.setData(columns(plot));
      return;
    }
    plot.box.replaceChildren();
    plot.chart = new uPlot(options(plot), columns(plot), plot.box);
    // The same stands in words above it.
    plot.chart.root.querySelector(".u-wrap").setAttribute("aria-hidden", "true");
  };

  const drawAnew = () => {
    for (const plot of plots.filter((plot) => plot.chart)) {
      plot.chart.destroy();
      plot.chart = undefined;
      draw(plot);
    }
  };

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAnew);
  addEventListener("resize", () => {
    for (const plot of plots.filter((plot) => plot.chart)) {
      plot.chart.setSize({ width: plot.box.clientWidth, height: 180 });
    }
  });

  // One after the other, and not while nobody looks.

  const says = { live: document.getElementById("live"), silent: document.getElementById("silent") };
  const say = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  let answered = Date.now() / 1000;
  let busy = false;
  let timer;

  const update = async () => {
    clearTimeout(timer);
    if (busy || document.hidden) return;
    busy = true;
    try {
      await takeParts();
      await takePoints();
      answered = Date.now() / 1000;
      say(says.live, "Live: anew every " + every / 1000 + " s.");
      says.silent.hidden = true;
    } catch (error) {
      const why = error.name === "TimeoutError" ? "no answer in time" : error.message;
      say(says.live, "");
      says.silent.hidden = false;
      say(says.silent, "No answer since " + clock(answered) + " (" + why + "). What is shown is of then.");
    }
    busy = false;
    timer = setTimeout(update, every);
  };

  document.addEventListener("visibilitychange", update);
  update();
})();
