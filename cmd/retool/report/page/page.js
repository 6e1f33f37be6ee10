"use strict";
(() => {
  const D = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);

  // Every text of a run is hostile: it becomes a text node or an attribute, never markup.
  function el(tag, attrs, ...children) {
    const svg = tag === "svg" || tag === "line" || tag === "circle" || tag === "g";
    const e = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [k, v] of Object.entries(attrs || {})) {
      if (v === undefined || v === null || v === false) continue;
      if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
      else e.setAttribute(k, v === true ? "" : v);
    }
    e.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
    return e;
  }
  // Characters that would hide or reorder their neighbours are shown by their numbers.
  const unseen = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
  const visible = (s) => s.replace(unseen, (c) => {
    const n = c.codePointAt(0);
    return n < 32 ? String.fromCharCode(0x2400 + n) : "⟦U+" + n.toString(16).toUpperCase().padStart(4, "0") + "⟧";
  });

  const finite = (x) => typeof x === "number" && isFinite(x);
  const pct = (x, d = 1) => !finite(x) ? "–" : x !== 0 && Math.abs(x) < 5e-4 ? sig(100 * x, 2) + " %" : (100 * x).toFixed(d) + " %";
  const count = (x) => finite(x) ? x.toLocaleString("en") : "–";
  const sig = (x, n = 3) => {
    if (!finite(x)) return "–";
    if (x === 0) return "0";
    const a = Math.abs(x);
    const text = a < 1e-3 || a >= 1e6 ? a.toExponential(n - 1).replace(/\.?0+e/, "e") : a >= 1000 ? count(Math.round(a)) : String(+a.toPrecision(n));
    return (x < 0 ? "−" : "") + text;
  };
  const ms = (s) => !finite(s) ? "–" : s >= 1 ? sig(s) + " s" : s >= 1e-3 ? sig(1e3 * s) + " ms" : s > 0 ? sig(1e6 * s) + " µs" : "0";
  const words = (s) => visible(s).replaceAll("_", " ");
  const signed = (x) => !finite(x) ? "–" : (x > 0 ? "+" : "") + sig(x);

  // ---- theme -------------------------------------------------------------------------------------------------------------------
  const plots = [];
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => {
    root.dataset.theme = name;
    $("theme").textContent = name === "dark" ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", "Switch to the " + (name === "dark" ? "light" : "dark") + " theme");
    for (const p of plots) p.redraw(false, true);
  };
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // ---- header and results ------------------------------------------------------------------------------------------------------
  $("title").textContent = visible(D.title);
  const page = $("page");
  const hasRL = D.runs.some((r) => r.curves.rl);
  const begun = D.runs[0].offset; // the step after which reinforcement learning began, of the first run: all count from there
  const two = D.runs.length > 1;

  function tiles() {
    const out = [];
    const tile = (name, value, from, note) => out.push(el("div", { class: "card tile" }, el("div", { class: "name" }, name),
      el("div", { class: "value" }, from ? el("span", { class: "from" }, from + " → ") : null, value), el("div", { class: "note" }, note)));
    const own = D.results.filter((r) => !r.text), other = D.results.filter((r) => r.text);
    if (own.length) {
      const a = own[0], b = own[own.length - 1];
      const from = own.length > 1 ? own[own.length - 2] : null;
      tile("Accuracy, held-out problems", pct(b.accuracy), from && pct(from.accuracy), from ? `${from.name} → ${b.name}` : b.name);
      tile("Responses with code", pct(b.behaviour.code_ratio), from && pct(from.behaviour.code_ratio), `of those, ${pct(b.accuracy_with_code)} right`);
      if (other.length) tile("Text only, same budget", pct(other[other.length - 1].accuracy), other.length > 1 && pct(other[other.length - 2].accuracy), "the same model and problems without the tool");
      else if (a !== b) tile("Response length, tokens", sig(b.behaviour.response_length), sig(from.behaviour.response_length), "sampled and observed");
    }
    const m = D.runs[0];
    if (m.checked) tile("Rollout − training, largest |Δlogp|", m.difference === 0 ? "0" : sig(m.difference), null,
      m.difference === 0 ? `equal bit for bit over ${count(m.checked)} tokens` : `over ${count(m.checked)} tokens: the contract is broken`);
    const c = m.curves.rl || m.curves.sft;
    if (c) {
      const speed = c.cols.tokens_per_second.filter(finite).toSorted((a, b) => a - b);
      tile(`Tokens a second, ${m.curves.rl ? "RL" : "cold start"}`, sig(speed[speed.length >> 1]), null, "median of the steps");
    }
    return out.length ? el("div", { class: "tiles" }, out) : null;
  }

  function interval(r, scale) {
    const at = (x) => (100 * x / scale).toFixed(2) + "%";
    return el("svg", { class: "interval", role: "img", "aria-label": `${pct(r.accuracy)}, interval ${pct(r.low)} to ${pct(r.high)}` },
      el("line", { class: "axis", x1: 0, x2: "100%", y1: 9, y2: 9 }),
      r.low !== r.high ? el("line", { class: "ci", x1: at(r.low), x2: at(r.high), y1: 9, y2: 9 }) : null,
      el("circle", { class: "dot", cx: at(r.accuracy), cy: 9, r: 5 }));
  }

  function results() {
    if (!D.results.length) return el("div", { class: "card soft" }, "No evaluation was made yet.");
    const scale = 1;
    return el("div", { class: "card scroll" }, el("table", { class: "results" },
      el("thead", {}, el("tr", {}, el("th", {}, "Held-out problems"), el("th", { class: "num" }, "accuracy"), el("th", {}, "0 – 100 %, 95 % interval"), el("th", { class: "num" }, "interval"),
        el("th", { class: "num" }, "code ratio"), el("th", { class: "num" }, "right with code"), el("th", { class: "num" }, "tokens"), el("th", { class: "num" }, "problems"))),
      el("tbody", {}, D.results.map((r) => el("tr", { class: r.text ? "textrun" : "toolrun" }, el("td", { class: "name" }, words(r.name)),
        el("td", { class: "num", title: r.sampling_error ? `± ${(196 * r.sampling_error).toFixed(1)} if the same problems were sampled again (95 %)` : null }, el("b", {}, pct(r.accuracy))),
        el("td", { class: "interval" }, interval(r, scale)),
        el("td", { class: "num soft" }, r.low !== r.high ? `${(100 * r.low).toFixed(1)} – ${(100 * r.high).toFixed(1)}` : "–"),
        el("td", { class: "num" }, r.text && r.behaviour.code_ratio === 0 ? "–" : pct(r.behaviour.code_ratio)), el("td", { class: "num" }, r.behaviour.code_ratio > 0 ? pct(r.accuracy_with_code) : "–"),
        el("td", { class: "num" }, sig(r.behaviour.response_length)), el("td", { class: "num soft" }, `${count(r.problems)} × ${r.samples}`))))));
  }

  function header() {
    const facts = el("div", { class: "card" }, el("dl", {}, D.facts.map((f) => el("div", {}, el("dt", {}, visible(f.name)), el("dd", {}, visible(f.value))))),
      D.config ? el("details", {}, el("summary", {}, "config.yaml"), el("pre", {}, visible(D.config))) : null);
    page.append(el("section", { id: "results" }, tiles(), results(), facts));
  }

  // ---- curves ------------------------------------------------------------------------------------------------------------------
  const colour = { "c-tool": "--tool-run", "c-text": "--text-run", "c-third": "--third", "c-fourth": "--fourth", "c-fifth": "--fifth" };
  let smooth = true;

  // A moving mean over a twentieth of the points, gaps left out.
  function mean(y) {
    const half = Math.min(10, Math.floor(y.length / 40));
    if (!half) return y;
    return y.map((v, i) => {
      let s = 0, n = 0;
      for (let j = Math.max(0, i - half); j <= Math.min(y.length - 1, i + half); j++) if (finite(y[j])) { s += y[j]; n++; }
      return n && finite(v) ? s / n : null;
    });
  }

  const useful = (y) => y && y.some((v) => finite(v));
  const anything = (y) => y && y.some((v) => finite(v) && v !== 0);

  // chart draws lines {x, y, label, class, dash} and points {x, y, low, high, label, class} over one axis.
  function chart(spec) {
    const plot = el("div", { class: "plot" }), values = el("div", { class: "values" });
    const card = el("div", { class: "card chart" }, el("div", { class: "head" }, el("h3", {}, spec.title), values), el("div", { class: "help" }, spec.help || ""), plot);
    const lines = spec.lines.filter((l) => useful(l.y)), points = (spec.points || []).filter((l) => useful(l.y));
    if (!lines.length && !points.length) {
      plot.replaceWith(el("div", { class: "empty" }, spec.empty || "Nothing of this kind was logged."));
      return card;
    }
    const tables = [], series = [{}], shown = [];
    for (const l of lines) {
      const soft = smooth && !spec.raw && mean(l.y);
      const stroke = () => css(colour[l.class]);
      if (soft && soft !== l.y) {
        tables.push([l.x, l.y]);
        series.push({ stroke: () => css(colour[l.class]) + "55", width: 1, points: { show: false }, spanGaps: true });
      }
      tables.push([l.x, soft || l.y]);
      series.push({ stroke, width: 2, dash: l.dash, main: true, points: { show: l.x.length < 3, size: 5, fill: stroke }, spanGaps: true });
      shown.push({ at: series.length - 1, label: l.label, class: l.class });
    }
    for (const p of points) {
      const stroke = () => css(colour[p.class]);
      tables.push([p.x, p.y]);
      series.push({ stroke, width: 0, paths: () => null, points: { show: true, size: 9, width: 2, fill: () => css("--card") } });
      shown.push({ at: series.length - 1, label: p.label, class: p.class, only: true });
      if (p.low) {
        series[series.length - 1].bars = p;
      }
    }
    const joined = uPlot.join(tables);
    const format = spec.format || sig;
    const share = spec.range && spec.range[1] === 1 && format !== sig;
    const several = shown.filter((s) => !s.only).length > 1;
    const label = (u) => {
      const i = u.cursor.idx;
      const parts = [];
      if (i !== null && i !== undefined) parts.push(el("span", { class: "soft" }, (spec.unit || "step") + " " + joined[0][i]));
      for (const s of shown) {
        let v = null;
        if (i !== null && i !== undefined) v = joined[s.at][i];
        else for (let j = joined[0].length - 1; j >= 0 && !finite(v); j--) v = joined[s.at][j];
        if (s.only && (!finite(v) || i === null || i === undefined)) continue;
        parts.push(el("span", { class: s.class }, ((several || s.only) && s.label ? s.label + " " : "") + format(v)));
      }
      values.replaceChildren(...parts);
    };
    const axis = { stroke: () => css("--soft"), grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const [low, high] = spec.range || [null, null];
    const make = () => {
      const u = new uPlot({
        width: Math.max(plot.clientWidth, 200), height: 168, legend: { show: false }, series,
        padding: [10, 10, 0, 0],
        scales: {
          x: { time: false, range: (u, a, b) => u.zoomed ? [a, b] : spec.x || [a, a === b ? a + 1 : b] },
          y: { range: (u, a, b) => {
            for (const p of points) for (const v of (p.low || []).concat(p.high || [])) if (finite(v)) { a = Math.min(a, v); b = Math.max(b, v); }
            if (spec.zero && a > 0) a = 0;
            if (low !== null && high !== null && spec.whole) return [low, high];
            if (a === b) { const d = Math.abs(a) || 1; return [low !== null ? Math.max(low, a - d / 2) : a - d / 2, a + d / 2]; }
            const pad = (b - a) * .07;
            return [low !== null ? Math.max(low, a - pad) : a - pad, high !== null ? Math.min(high, b + pad) : b + pad];
          } },
        },
        axes: [{ ...axis, size: 26, gap: 4, space: 60 }, { ...axis, size: 50, gap: 6, space: 30, values: (u, vs, at, space, step) => vs.map((v) => share ? +(100 * v).toFixed(Math.max(0, Math.ceil(-Math.log10(100 * step)))) + " %" : format(v)) }],
        cursor: { y: false, sync: { key: spec.sync, scales: ["x", null] }, points: { size: (u, i) => u.series[i].main ? 7 : 0 } },
        hooks: {
          ready: [label], setCursor: [label],
          setSelect: [(u) => { u.zoomed = u.select.width > 0 || u.zoomed; }],
          draw: [(u) => {
            for (const s of u.series) {
              const p = s.bars;
              if (!p) continue;
              const c = u.ctx;
              c.save();
              c.strokeStyle = css(colour[p.class]);
              c.lineWidth = 1.5 * devicePixelRatio;
              p.x.forEach((x, i) => {
                if (!finite(p.low[i]) || p.low[i] === p.high[i]) return;
                const at = u.valToPos(x, "x", true), a = u.valToPos(p.low[i], "y", true), b = u.valToPos(p.high[i], "y", true), w = 3 * devicePixelRatio;
                c.beginPath();
                c.moveTo(at, a); c.lineTo(at, b);
                for (const y of [a, b]) { c.moveTo(at - w, y); c.lineTo(at + w, y); }
                c.stroke();
              });
              c.restore();
            }
          }],
        },
      }, joined, plot);
      u.over.addEventListener("dblclick", () => { u.zoomed = false; });
      plots.push(u);
      new ResizeObserver(() => { if (plot.clientWidth > 0 && plot.clientWidth !== u.width) u.setSize({ width: plot.clientWidth, height: 168 }); }).observe(plot);
    };
    queueMicrotask(make); // when the card has a width
    return card;
  }

  const runClass = (i) => i ? "c-text" : "c-tool";
  const drawn = new Set(); // columns of reinforcement learning that have a chart

  // across draws one column of every run that has it, with the evaluations' values as points.
  function across(phase, column, spec) {
    if (phase === "rl") drawn.add(column);
    const lines = [], points = [];
    D.runs.forEach((r, i) => {
      const c = r.curves[phase];
      if (c && c.cols[column] && (!spec.used || i === 0 || anything(c.cols[column]))) lines.push({ x: c.x, y: c.cols[column], label: r.name, class: runClass(i) });
      if (!spec.evaluated) return;
      const es = r.evaluations.filter((e) => e.x >= begun);
      const ys = es.map(spec.evaluated);
      if (es.length && (!spec.used || i === 0 || anything(ys))) {
        const bars = column === "accuracy";
        points.push({ x: es.map((e) => e.x), y: ys, low: bars && es.map((e) => e.low), high: bars && es.map((e) => e.high), label: "held out", class: runClass(i) });
      }
    });
    return chart({ ...spec, lines, points });
  }

  // within draws several columns of the first run.
  function within(phase, columns, spec) {
    if (phase === "rl") for (const [name] of columns) drawn.add(name);
    const c = D.runs[0].curves[phase];
    const classes = ["c-tool", "c-third", "c-fourth", "c-text", "c-fifth"];
    return chart({ ...spec, lines: c ? columns.filter(([name]) => c.cols[name]).map(([name, label], i) => ({ x: c.x, y: c.cols[name], label, class: classes[i % 5], dash: i > 2 ? [4, 3] : undefined })) : [] });
  }

  function section(id, title, intro, charts) {
    const grid = el("div", { class: "charts" });
    const s = el("section", { id }, el("h2", {}, title), el("div", { class: "keys" }, intro), grid);
    page.append(s);
    grid.append(...charts());
    return () => { const old = new Set(plots.filter((p) => grid.contains(p.root))); for (const p of old) { p.destroy(); plots.splice(plots.indexOf(p), 1); } grid.replaceChildren(...charts()); };
  }

  function legend(evaluated) {
    const keys = D.runs.map((r, i) => el("span", { class: "key" }, el("span", { class: "swatch " + runClass(i) }), two ? r.name : "training rollouts"));
    if (evaluated) keys.push(el("span", { class: "key" }, el("span", { class: "swatch dot c-fifth" }), "evaluation on held-out problems" + (rules() ? " (" + rules() + ")" : "")));
    return keys;
  }
  const rules = () => { const e = D.runs[0].evaluations.find((e) => e.sampling); return e ? visible(e.sampling) : ""; };
  const every = (phase) => { const c = D.runs[0].curves[phase]; return c && c.every > 1 ? el("span", {}, `each point is the mean of ${c.every} steps`) : null; };

  // named says in words what metrics without a chart of their own are, in the order in which they are shown; others keep their names.
  const named = {
    kl_reference: ["KL to the reference", "of the policy, by rl.kl_estimator", sig],
    dual_clip_fraction: ["Dual clip", "tokens with a negative advantage whose ratio is above rl.dual_clip", pct],
    resampled: ["Resampled groups", "fresh prompts for groups whose rewards were all equal", sig],
    resampled_tokens: ["Resampled tokens", "policy tokens of the groups that were left out for that", sig],
    flat_groups: ["Flat groups", "whose rewards are all equal, of those to be learnt from", sig],
    "filtered/void_turns": ["Filtered: void turns", "trajectories left out of the loss", sig],
    "filtered/overlong": ["Filtered: overlong", "trajectories left out of the loss", sig],
    "filtered/repetition": ["Filtered: repetition", "trajectories left out of the loss", sig],
    "filtered/spread": ["Filtered: spread", "trajectories left out of the loss", sig],
    verifier_errors: ["Without a verdict", "trajectories in no loss and no average", sig],
    verifier_error_share: ["Without a verdict, share", "of the step's trajectories", pct],
    skipped: ["Skipped updates", "gradients that were not finite", sig],
    observed: ["Observed tokens", "of tools, a trajectory", sig],
    tokens: ["Tokens trained on", "", sig],
    policy_tokens: ["Policy tokens", "of those, sampled by the policy", sig],
    sampled: ["Sampled tokens", "", sig],
    prefilled: ["Prefilled tokens", "", sig],
    recomputed: ["Recomputed tokens", "of trajectories that gave their pages up", sig],
    decode_tokens_per_second: ["Decode rate", "tokens a second, of all ranks together", sig],
    seconds: ["Seconds a step", "", sig],
    checked_tokens: ["Checked tokens", "whose log-probabilities were compared", sig],
  };
  function others() {
    const all = new Set(D.runs.flatMap((r) => Object.entries((r.curves.rl || { cols: {} }).cols).filter(([name, y]) => !name.startsWith("ranks/") && !drawn.has(name) && anything(y)).map(([name]) => name)));
    return [...Object.keys(named).filter((name) => all.has(name)), ...[...all].filter((name) => !named[name]).sort()];
  }

  const exchanges = (phase, spec) => within(phase, [["ranks/exchange_share", "exchange"], ["ranks/wait_share", "wait"]],
    { ...spec, title: "Exchange", help: "of rank 0's step: moving trajectories, gradients and weights, and waiting for all ranks to come to it" });

  function ranks(base, share) {
    const roster = D.runs[0].ranks, timed = roster.some((r) => r.rollout > 0), logged = roster.some((r) => r.log);
    const prefix = "ranks/rollout_seconds/";
    const columns = Object.keys(D.runs[0].curves.rl.cols).filter((k) => k.startsWith(prefix));
    const order = (k) => ["first", "median", "last"].indexOf(k) + 1 || +k;
    const lines = columns.map((k) => [k, k.slice(prefix.length)]).sort((a, b) => order(a[1]) - order(b[1])).map(([k, name]) => [k, (isFinite(name) ? "rank " : "") + name]);
    const redraw = section("ranks", "Ranks", [el("span", {}, `${roster.length} processes, as of its last start on several`), two ? el("span", {}, "of the run with Python") : null].filter(Boolean), () => [
      within("rl", lines, { ...base, title: "Rollout, seconds", help: "until a rank had no trajectory left", zero: true }),
      within("rl", [["ranks/tail_share", "tail"]], { ...share, title: "Tail", help: "of the ranks' time while any rolled out: without a trajectory" }),
      exchanges("rl", share),
    ]);
    $("ranks").append(el("div", { class: "card scroll", id: "roster" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", { class: "num" }, "rank"), el("th", {}, "host"), el("th", {}, "device"), el("th", {}, "cores"), el("th", { class: "num" }, "pid"),
        timed ? el("th", { class: "num" }, "rollout, s a step") : null, logged ? el("th", {}, "log") : null)),
      el("tbody", {}, roster.map((r) => el("tr", {}, el("td", { class: "num" }, r.rank), el("td", { class: "name" }, visible(r.host)), el("td", {}, visible(r.device + (r.pci ? ", " + r.pci : ""))),
        el("td", {}, visible(r.affinity ? `${r.cores} (${r.affinity})` : String(r.cores))), el("td", { class: "num" }, r.pid),
        timed ? el("td", { class: "num" }, sig(r.rollout)) : null, logged ? el("td", { class: "mono" }, visible(r.log || "–")) : null))))));
    return redraw;
  }

  function curves() {
    const redraw = [];
    const toggle = el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, onchange: (e) => { smooth = e.target.checked; redraw.forEach((f) => f()); } }), "moving mean over the raw line");
    if (hasRL) {
      const end = Math.max(begun + 1, ...D.runs.flatMap((r) => [...((r.curves.rl || {}).x || []), ...r.evaluations.map((e) => e.x)]));
      const base = { sync: "rl", x: [begun, end] };
      const share = { ...base, format: pct, range: [0, 1] };
      redraw.push(section("curves", "Reinforcement learning", [...legend(true), toggle, el("span", {}, "drag to zoom, double click for all"), every("rl")], () => [
        across("rl", "reward", { ...base, title: "Reward", help: "mean of the step's rollouts" }),
        across("rl", "accuracy", { ...share, title: "Accuracy", help: "rollouts at the training temperature; points: evaluations", evaluated: (e) => e.accuracy }),
        across("rl", "code_ratio", { ...share, title: "Code ratio", help: "responses with a call", used: true, evaluated: (e) => e.behaviour.code_ratio }),
        across("rl", "response_length", { ...base, title: "Response length", help: "tokens, sampled and observed", zero: true, evaluated: (e) => e.behaviour.length }),
        across("rl", "calls", { ...base, title: "Calls", help: "of the interpreter, a trajectory", used: true, zero: true }),
        across("rl", "calls_ok", { ...share, title: "Calls that ran", help: "share of calls without an error", used: true }),
        across("rl", "entropy", { ...base, title: "Entropy", help: "of the policy at its own tokens, nats", zero: true }),
        across("rl", "kl", { ...base, title: "KL", help: "of the updated policy against the rollout's, k3 estimate" }),
        across("rl", "clip_fraction", { ...share, title: "Clip fraction", help: "tokens whose ratio left the clip range" }),
        across("rl", "grad_norm", { ...base, title: "Gradient norm", help: "before clipping, last update of the step", zero: true }),
        within("rl", [["loss", "policy"], ["value_loss", "value"]], { ...base, title: "Loss", help: two ? "with Python" : "policy and value" }),
        within("rl", [["explained_variance", "explained"]], { ...base, title: "Explained variance", help: "of the rewards, by the critic" + (two ? "; with Python" : ""), empty: "No critic was trained." }),
        across("rl", "tokens_per_second", { ...base, title: "Tokens a second", help: "all tokens of a step over all of its time", zero: true }),
        within("rl", [["rollout_share", "rollout"], ["tool_wait_share", "Python"], ["score_share", "score"], ["train_share", "train"]], { ...share, title: "Time", help: "shares of a step; waiting for Python is part of the rollout", format: (x) => pct(x, 0) }),
        across("rl", "max_difference", { ...base, title: "Largest |Δlogp|", help: "rollout against training; 0 is equality of bits", raw: true, range: [0, null], empty: "Log-probabilities were not compared (rl.verify_every)." }),
        within("rl", Object.keys((D.runs[0].curves.rl || { cols: {} }).cols).filter((k) => k.startsWith("finish/")).sort().map((k) => [k, words(k.slice(7))]), { ...share, title: "How trajectories ended", help: two ? "with Python" : "", format: (x) => pct(x, 0) }),
        across("rl", "lr", { ...base, title: "Learning rate", raw: true, zero: true }),
        within("rl", [["rewards/paper", "paper"], ["rewards/dapo_strict", "DAPO strict"], ["rewards/tool_shaped", "tool shaped"]], { ...base, title: "All rewards", help: "the three published ones, whichever trains" + (two ? "; with Python" : "") }),
      ]));
      const more = others();
      if (more.length) redraw.push(section("more", "Everything else that was logged", [...legend(false), every("rl")], () => more.map((name) => {
        const [title, help, format] = named[name] || [words(name).replaceAll("/", ": "), "", /_(share|fraction)$/.test(name) ? pct : sig];
        return across("rl", name, { ...base, title, help, format, zero: true, range: format === pct ? [0, 1] : undefined });
      })));
      if (D.runs[0].ranks) redraw.push(ranks(base, share));
    }
    if (D.runs.some((r) => r.curves.sft)) {
      const base = { sync: "sft" };
      redraw.push(section(hasRL ? "coldstart" : "curves", "Cold start", [...legend(false), hasRL ? null : toggle, every("sft")], () => [
        across("sft", "loss", { ...base, title: "Loss", help: "cross-entropy of the traces' own tokens, nats", zero: true }),
        across("sft", "grad_norm", { ...base, title: "Gradient norm", help: "before clipping", zero: true }),
        across("sft", "speed", { ...base, title: "Tokens a second", help: "", zero: true }),
        across("sft", "lr", { ...base, title: "Learning rate", raw: true, zero: true }),
        ...D.runs[0].ranks && D.runs[0].curves.sft ? [exchanges("sft", { ...base, format: pct, range: [0, 1] })] : [],
      ]));
    }
    if (!redraw.length) page.append(el("section", { id: "curves" }, el("h2", {}, "Curves"), el("p", { class: "soft" }, "No step of training was logged.")));
  }

  // ---- behaviour ---------------------------------------------------------------------------------------------------------------
  const measures = [
    ["length", "Response length", "tokens, sampled and observed", sig],
    ["code_ratio", "Code ratio", "responses with at least one snippet", pct],
    ["code_lines", "Code lines", "non-blank, mean over all responses", sig],
    ["correct_code", "Snippets that ran", "to their end, per 100 responses", sig],
    ["pass_correct", "Code pass rate", "last snippet ran; right and wrong answers", pct],
    ["timing", "Code timing", "place of the snippet in its response: 0 first token, 1 last", sig],
  ];
  function behaviour() {
    const es = D.runs.flatMap((r, run) => r.evaluations.map((e) => ({ ...e, run })));
    if (!es.length && !D.runs[0].curves.behaviour) return;
    const intro = hasRL ? [...legend(true)] : [el("span", {}, "of the held-out problems' responses")];
    if (D.runs[0].curves.behaviour || es.some((e) => e.x >= begun)) {
      const end = Math.max(begun + 1, ...D.runs.flatMap((r) => [...((r.curves.behaviour || {}).x || []), ...r.evaluations.map((e) => e.x)]));
      section("behaviour", "Behaviour", intro, () => measures.map(([name, title, help, format]) => {
        const spec = { sync: "rl", x: [begun, end], title, help, format, used: name !== "length", range: format === pct || name === "timing" ? [0, 1] : undefined, zero: format === sig && name !== "timing", evaluated: (e) => e.behaviour[name] };
        if (name !== "pass_correct") return across("behaviour", name, spec);
        const c = D.runs[0].curves.behaviour, ev = D.runs[0].evaluations.filter((e) => e.x >= begun);
        const part = (key, label, cls) => [{ x: c ? c.x : [], y: c ? c.cols[key] : [], label, class: cls }, { x: ev.map((e) => e.x), y: ev.map((e) => e.behaviour[key]), label, class: cls }];
        const a = part("pass_correct", "right", "c-tool"), b = part("pass_wrong", "wrong", "c-fourth");
        return chart({ ...spec, lines: [a[0], b[0]], points: [a[1], b[1]] });
      }));
    } else page.append(el("section", { id: "behaviour" }, el("h2", {}, "Behaviour"), el("div", { class: "keys" }, intro)));
    if (!es.length) return;
    const rows = [
      ["accuracy", (e) => pct(e.accuracy)], ["responses", (e) => count(e.behaviour.responses)],
      ["response length, tokens", (e) => sig(e.behaviour.length)], ["  sampled tokens only", (e) => sig(e.behaviour.length_sampled)],
      ["code ratio", (e) => pct(e.behaviour.code_ratio)], ["code lines, all responses", (e) => sig(e.behaviour.code_lines)], ["  responses with code", (e) => sig(e.behaviour.code_lines_with_code)],
      ["snippets that ran / all", (e) => `${count(e.behaviour.correct_code_count)} / ${count(e.behaviour.snippets)}`],
      ["last snippet ran, right answers", (e) => pct(e.behaviour.pass_correct)], ["last snippet ran, wrong answers", (e) => pct(e.behaviour.pass_wrong)],
      ["code timing", (e) => sig(e.behaviour.timing)], ["  first snippet only", (e) => sig(e.behaviour.timing_first)],
      ["failed, then fixed", (e) => pct(e.behaviour.fixed)], ["turns", (e) => sig(e.behaviour.turns)],
    ];
    const most = 14; // a page's width
    const cols = es.length <= most ? es : Array.from({ length: most }, (_, i) => es[Math.round(i * (es.length - 1) / (most - 1))]);
    $("behaviour").append(el("div", { class: "card scroll" , id: "behaviour-table" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, es.length > most ? `${most} of ${es.length} evaluations` : "Evaluation"), cols.map((e) => el("th", { class: "num" + (two ? " ink-" + runClass(e.run) : "") }, words(e.name), el("br"), `step ${e.step}`, two ? el("br") : null, two ? D.runs[e.run].name : null)))),
      el("tbody", {}, rows.map(([name, f]) => el("tr", {}, el("td", { class: name.startsWith(" ") ? "soft" : "name" }, name.startsWith(" ") ? "\u2003" + name.trim() : name), cols.map((e) => el("td", { class: "num" }, f(e)))))))));
  }

  // ---- trajectories ------------------------------------------------------------------------------------------------------------
  const T = D.trajectories;
  const kind = (t) => t.outcome === "correct" || t.outcome === "wrong" ? t.outcome : "other";
  const glyph = (t) => ({ correct: "✓", wrong: "✗", other: "∅" })[kind(t)];
  const phase = (t) => t.phase === "train" ? "training" : words(t.phase);
  for (const t of T) { // the text of every token, lazily searched
    let hay;
    t.hay = () => hay ??= [t.question, t.truth, t.answer, t.problem, t.key, t.t.map((i) => D.tokens[i][1]).join(""), ...t.calls.flatMap((c) => [c.code, c.stdout, c.traceback])].join("\n").toLowerCase();
    t.label = [t.run ? D.runs[t.run].name : null, phase(t), "step " + t.step].filter(Boolean).join(" · ");
  }
  const state = { index: -1, compare: null, prob: false, split: false, shown: [] };
  const filters = {};

  function option(name, label, of) {
    const tally = new Map();
    for (const t of T) { const v = of(t); if (v !== "") tally.set(v, (tally.get(v) || 0) + 1); }
    const keys = [...tally.keys()].sort((a, b) => typeof a === "number" ? a - b : a < b ? -1 : 1);
    const s = el("select", { "aria-label": label, onchange: () => apply() }, el("option", { value: "" }, label + ": all"), keys.map((k) => el("option", { value: String(k) }, `${words(String(k))} (${tally.get(k)})`)));
    filters[name] = { node: s, test: (t) => s.value === "" || String(of(t)) === s.value };
    return keys.length > 1 || name !== "run" ? s : null;
  }
  function checkbox(name, label, of) {
    const n = T.filter(of).length;
    const c = el("input", { type: "checkbox", onchange: () => apply() });
    filters[name] = { node: c, test: (t) => !c.checked || of(t) };
    return el("label", { class: "check wide" }, c, `${label} (${n})`);
  }

  function viewer() {
    const search = el("input", { type: "search", class: "wide", placeholder: "Search question, text, code, output  ( / )", "aria-label": "Search text", oninput: () => apply() });
    filters.search = { node: search, test: (t) => { const q = search.value.trim().toLowerCase(); return q === "" || t.hay().includes(q); } };
    const all = D.runs.reduce((n, r) => n + r.records, 0);
    const run = option("run", "Run", (t) => D.runs[t.run].name);
    if (run) run.classList.add("wide");
    $("viewer").append(
      el("div", { id: "side" },
        el("div", { id: "filters" }, search, run,
          option("phase", "Phase", (t) => phase(t)), option("step", "Step", (t) => t.step), option("family", "Family", (t) => t.family), option("outcome", "Outcome", (t) => t.outcome),
          option("finish", "Finish", (t) => t.finish), option("status", "Last call", (t) => t.calls.length ? t.calls[t.calls.length - 1].status : "no call"),
          checkbox("fixed", "error, then fixed", (t) => t.fixed), checkbox("passed", "last code passed, answer wrong", (t) => t.passed_wrong)),
        el("div", { id: "count" }, el("span", {}, el("span", { id: "shown", "aria-live": "polite" }), el("span", {}, `; ${count(all)} logged`)), el("button", { type: "button", title: `the page holds ${T.length} of the ${count(all)} trajectories logged`, onclick: () => {
          for (const f of Object.values(filters)) { if (f.node.type === "checkbox") f.node.checked = false; else f.node.value = ""; }
          apply();
        } }, "Clear")),
        el("ul", { id: "list", "aria-label": "Trajectories" })),
      el("div", { id: "detail", tabindex: -1 }));
  }

  function apply() {
    const tests = Object.values(filters).map((f) => f.test);
    state.shown = T.map((_, i) => i).filter((i) => tests.every((f) => f(T[i])));
    $("shown").textContent = `${state.shown.length} of ${T.length} in this page`;
    $("list").replaceChildren(...state.shown.map((i) => {
      const t = T[i];
      return el("li", {}, el("button", { type: "button", "data-at": i, onclick: () => open(i) },
        el("span", { class: "mark " + kind(t), title: words(t.outcome) }, glyph(t)), el("span", { class: "q" }, visible(t.question.replace(/\s+/g, " "))), el("span", { class: "num soft" }, signed(t.reward)),
        el("span", { class: "sub" }, [t.label, visible(t.family), t.calls_all ? `${t.calls_all} call${t.calls_all > 1 ? "s" : ""}` : "no code", t.fixed ? "fixed" : null].filter(Boolean).join(" · "))));
    }));
    if (!state.shown.length) $("list").append(el("li", { class: "none" }, T.length ? "No trajectory of this page matches." : "No trajectory was logged."));
    if (!state.shown.includes(state.index)) state.index = state.shown.length ? state.shown[0] : -1;
    draw();
  }

  function open(i, quiet) {
    state.index = i;
    if (state.compare !== null && T[state.compare].problem !== T[i].problem) state.compare = null;
    if (!quiet) history.replaceState(null, "", "#t" + i);
    draw();
  }
  function move(by) {
    const at = state.shown.indexOf(state.index) + by;
    if (at >= 0 && at < state.shown.length) open(state.shown[at]);
  }

  function draw() {
    for (const b of $("list").querySelectorAll("[aria-current]")) b.removeAttribute("aria-current");
    const b = $("list").querySelector(`[data-at="${state.index}"]`);
    if (b) { b.setAttribute("aria-current", "true"); b.scrollIntoView({ block: "nearest" }); }
    const detail = $("detail");
    if (state.index < 0) { detail.replaceChildren(el("div", { class: "none" }, T.length ? "Nothing is selected." : "This run logged no trajectories.")); return; }
    const t = T[state.index];
    const at = state.shown.indexOf(state.index);
    const others = T.map((_, i) => i).filter((i) => i !== state.index && T[i].problem === t.problem);
    if (state.compare !== null && !others.includes(state.compare)) state.compare = null;
    const compare = el("select", { "aria-label": "Compare with the same problem elsewhere", disabled: !others.length, onchange: (e) => { state.compare = e.target.value === "" ? null : +e.target.value; draw(); } },
      el("option", { value: "" }, others.length ? `Same problem elsewhere (${others.length})` : "Same problem elsewhere: none"),
      others.map((i) => el("option", { value: i, selected: i === state.compare }, `${glyph(T[i])} ${T[i].label}`)));
    const colours = el("span", { class: "group", role: "group", "aria-label": "Colour tokens by" },
      el("button", { type: "button", "aria-pressed": String(!state.prob), onclick: () => { state.prob = false; draw(); } }, "Source"),
      el("button", { type: "button", "aria-pressed": String(state.prob), onclick: () => { state.prob = true; draw(); } }, "Log-probability"));
    detail.replaceChildren(
      el("div", { class: "tools" },
        el("span", { class: "group" }, el("button", { type: "button", disabled: at <= 0, onclick: () => move(-1), "aria-label": "Previous trajectory" }, "← Previous"), el("button", { type: "button", disabled: at < 0 || at >= state.shown.length - 1, onclick: () => move(1), "aria-label": "Next trajectory" }, "Next →")),
        el("span", { class: "soft" }, at >= 0 ? `${at + 1} of ${state.shown.length} ` : "", el("kbd", {}, "k"), " ", el("kbd", {}, "j")),
        compare, el("span", { class: "push soft" }, "Colour by"), colours,
        el("label", { class: "check", title: "leave a gap between tokens" }, el("input", { type: "checkbox", checked: state.split, onchange: (e) => { state.split = e.target.checked; draw(); } }), "edges")),
      el("div", { class: "panes" + (state.compare !== null ? " two" : "") }, pane(t), state.compare !== null ? pane(T[state.compare]) : null));
    detail.scrollTop = 0;
    hideTip();
  }

  // expand returns what each token of the page's form is: {i: position, piece, id, special, source, logp}.
  function expand(t) {
    const sources = [...t.sources.matchAll(/([pmt])(\d+)/g)].flatMap(([, s, n]) => Array(+n).fill(s));
    let k = 0;
    return t.t.map((j, n) => {
      const i = t.gap[0] < t.gap[1] && n >= t.gap[0] ? n + t.gap[1] - t.gap[0] : n;
      const [id, piece, special] = D.tokens[j];
      return { i, id, piece, special: !!special, source: sources[i], logp: sources[i] === "m" ? t.l[k++] : null };
    });
  }
  const heat = (logp) => logp >= -.01 ? 0 : logp > -.105 ? 1 : logp > -.36 ? 2 : logp > -.69 ? 3 : logp > -1.6 ? 4 : logp > -3 ? 5 : 6;
  const sourceName = { p: "prompt: not scored", m: "sampled by the policy: trained on", t: "tool output: masked" };

  function pane(t) {
    const tokens = expand(t);
    const number = { p: 0, m: 0, t: 0 };
    for (const [, s, n] of t.sources.matchAll(/([pmt])(\d+)/g)) number[s] += +n;
    const value = (name, v, small, cls) => el("div", { class: cls }, el("div", { class: "name" }, name), el("div", { class: "value" }, v), small ? el("div", { class: "small" }, small) : null);
    const sampled = tokens.filter((k) => k.source === "m");
    const mean = sampled.length ? sampled.reduce((s, k) => s + k.logp, 0) / sampled.length : NaN;
    const text = el("div", { class: "tokens" + (state.prob ? " prob" : "") + (state.split ? " split" : "") });
    let before = -1;
    for (const k of tokens) {
      if (k.i !== before + 1) text.append(el("span", { class: "gap" }, `${count(k.i - before - 1)} tokens are left out here; trajectories.jsonl has them`));
      before = k.i;
      const span = el("span", { "data-i": k.i, class: [k.source, k.special ? "special" : "", state.prob && k.source === "m" ? "q" + heat(k.logp) : ""].join(" ") });
      visible(k.piece).split("\n").forEach((part, n) => { if (n) span.append(el("span", { class: "nl", "aria-hidden": "true" }, "↵"), "\n"); span.append(part); });
      span.token = k;
      text.append(span);
    }
    text.addEventListener("mousemove", (e) => tip(e, t));
    text.addEventListener("mouseleave", hideTip);
    const lists = state.prob
      ? [el("span", {}, "sampled tokens, by probability: 1 ", el("span", { class: "scale" }, [0, 1, 2, 3, 4, 5, 6].map((q) => el("i", { class: "q" + q }))), " below 0.05"), el("span", {}, "prompt and tool output are not scored")]
      : [["p", `prompt, ${count(number.p)}`], ["m", `policy: trained on, ${count(number.m)}`], ["t", `tool output: masked, ${count(number.t)}`]].map(([s, name]) => el("span", {}, el("i", { class: "box " + s }), name));
    const ribbon = el("div", { class: "ribbon", role: "img", "aria-label": "sources of the tokens in order" }, [...t.sources.matchAll(/([pmt])(\d+)/g)].map(([, s, n]) => { const i = el("i", { class: s, title: `${n} ${sourceName[s]}` }); i.style.flexGrow = n; return i; }));
    const calls = t.calls.map((c, i) => call(t, c, i));
    return el("article", { class: "pane" },
      el("div", {}, el("h2", {}, visible(t.question)),
        el("div", { class: "badges" }, el("span", { class: "badge " + kind(t) }, words(t.outcome)), el("span", { class: "badge" }, t.label), t.family ? el("span", { class: "badge" }, words(t.family)) : null, el("span", { class: "badge" }, "ended: " + words(t.finish)),
          t.fixed ? el("span", { class: "badge ok" }, "error, then fixed") : null, t.passed_wrong ? el("span", { class: "badge other" }, "last code passed, answer wrong") : null, t.evicted ? el("span", { class: "badge" }, `evicted ${t.evicted} ×`) : null,
          el("span", { class: "soft mono id" }, visible(t.problem), " · ", t.key))),
      t.error ? el("div", { class: "card t-wrong" }, visible(t.error)) : null,
      el("div", { class: "card facts" },
        value("Answer", el("span", { class: "mono t-" + kind(t) }, visible(t.answer) || "none")), value("Truth", el("span", { class: "mono" }, visible(t.truth))),
        value("Reward", signed(t.reward)), value("Advantage", t.phase === "train" ? signed(t.advantage) : "–", t.phase === "train" ? "mean" : ""),
        value("All rewards", t.rewards.map(signed).join(" / "), "paper / DAPO strict / tool shaped"),
        value("Largest |Δlogp|", t.checked ? sig(t.difference) : "–", t.checked ? (t.difference === 0 ? "training equals rollout" : "training ≠ rollout") : "not compared"),
        value("Tokens", count(t.length), finite(mean) ? `mean log-prob ${sig(mean)}` : "")),
      el("div", {}, ribbon, el("div", { class: "legend" }, lists)),
      el("div", { class: "body" + (calls.length ? " calls" : "") }, text, calls.length ? el("div", {}, calls,
        t.calls_all > t.calls.length ? el("div", { class: "soft" }, `${t.calls_all - t.calls.length} further calls are left out here; trajectories.jsonl has them.`) : null) : null));
  }

  function call(t, c, i) {
    const scale = Math.max(...t.calls.map((c) => Math.max(c.wait, c.queue + c.seconds)), 1e-9);
    const part = (cls, s) => { const e = el("i", { class: cls }); e.style.width = (100 * s / scale).toFixed(3) + "%"; return e; };
    const rest = Math.max(0, c.wait - c.queue - c.seconds);
    const status = c.status === "ok" ? "ok" : c.status === "exception" || c.status.startsWith("timeout") || c.status.startsWith("mem") ? "exception" : "other";
    const out = [];
    if (c.stdout) out.push(el("div", { class: "what" }, "output"), el("pre", {}, visible(c.stdout)));
    if (c.traceback) out.push(el("div", { class: "what" }, "error"), el("pre", { class: "bad" }, visible(c.traceback)));
    if (!out.length) out.push(el("div", { class: "what" }, "output"), el("div", { class: "soft" }, c.status === "ok" ? "printed nothing" : "none"));
    return el("div", { class: "call" },
      el("div", { class: "head" }, el("b", {}, `Call ${i + 1}`), el("span", { class: "badge " + status }, words(c.status)),
        el("span", {}, `tokens ${c.from}–${c.to - 1}`), el("span", {}, c.reply_to > c.reply_from ? `reply ${c.reply_from}–${c.reply_to - 1}` : "no reply"), el("span", {}, `${c.prefilled} prefilled`)),
      el("div", { class: "cols" }, el("div", {}, el("div", { class: "what" }, "code"), c.code ? el("pre", {}, visible(c.code)) : el("div", { class: "soft" }, "no code in the call")), el("div", {}, out)),
      el("div", { class: "lane" }, el("div", { class: "track", role: "img", "aria-label": "time of the call" }, part("queue", c.queue), part("run", c.seconds), part("rest", rest)),
        [["queue", "queue " + ms(c.queue)], ["run", `run ${ms(c.seconds)} (CPU ${ms(c.cpu)})`], ["rest", "until resumed " + ms(rest)]].map(([cls, text]) => el("span", { class: "part" }, el("i", { class: "sw " + cls }), text)), el("span", { class: "part" }, "waited " + ms(c.wait))));
  }

  function tip(e, t) {
    const span = e.target.closest("[data-i]");
    if (!span) return hideTip();
    const k = span.token, box = $("tip");
    box.textContent = [
      `${k.special ? "special " : ""}${JSON.stringify(visible(k.piece))}   id ${k.id}   position ${k.i}`, sourceName[k.source],
      k.source === "m" ? `log-prob ${sig(k.logp, 4)} in the rollout   p ${sig(Math.exp(k.logp))}` : null,
      k.source === "m" && t.checked ? (t.difference === 0 ? `log-prob ${sig(k.logp, 4)} in training: the same bits` : `training differs by at most ${sig(t.difference)} in this trajectory`) : null,
    ].filter(Boolean).join("\n");
    box.hidden = false;
    const w = box.offsetWidth, h = box.offsetHeight;
    box.style.left = Math.min(e.clientX + 14, innerWidth - w - 8) + "px";
    box.style.top = (e.clientY + 20 + h > innerHeight ? e.clientY - h - 12 : e.clientY + 20) + "px";
  }
  const hideTip = () => { $("tip").hidden = true; };

  // ---- the two views -----------------------------------------------------------------------------------------------------------
  function nav() {
    const parts = [["results", "Results"], ["curves", "Curves"], ["ranks", "Ranks"], ["behaviour", "Behaviour"]].filter(([id]) => $(id));
    const links = parts.map(([id, name]) => el("a", { href: "#" + id }, name));
    links.push(el("a", { href: "#trajectories" }, "Trajectories"));
    $("nav").replaceChildren(...links);
  }
  function route() {
    const hash = location.hash.slice(1);
    const m = /^t(\d+)$/.exec(hash);
    const view = hash === "trajectories" || (m && +m[1] < T.length);
    $("viewer").hidden = !view;
    page.hidden = !!view;
    for (const a of $("nav").children) {
      if (view ? a.hash === "#trajectories" : a.hash === "#" + (hash || "results")) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
    }
    if (m && view) open(+m[1], true); else if (view) draw();
    if (!view && hash && $(hash)) $(hash).scrollIntoView();
    else if (!view) scrollTo(0, 0);
    hideTip();
  }
  addEventListener("hashchange", route);
  addEventListener("keydown", (e) => {
    if ($("viewer").hidden || e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (e.key === "Escape" && typing) { e.target.blur(); return; }
    if (typing && e.target.type !== "checkbox") return;
    const keys = {
      j: () => move(1), k: () => move(-1), ArrowRight: () => move(1), ArrowLeft: () => move(-1), "/": () => filters.search.node.focus(),
      c: () => { state.prob = !state.prob; draw(); }, Escape: () => { state.compare = null; draw(); },
    };
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });

  header();
  curves();
  behaviour();
  viewer();
  nav();
  apply();
  route();
})();
