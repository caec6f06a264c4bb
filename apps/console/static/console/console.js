// The console's behaviour. No inline scripts and no eval of our own: it also runs under a strict policy.
// Unfold loads it in the head, without `defer`: it begins when the page is there.
document.addEventListener("DOMContentLoaded", () => {
  "use strict";
  const say = (text) => { const live = document.getElementById("console-live"); if (live) live.textContent = text; };

  // The browser's zone, for instants of who has chosen none.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.includes(`console_zone=${encodeURIComponent(zone)}`)) {
    document.cookie = `console_zone=${encodeURIComponent(zone)}; path=/admin; max-age=31536000; samesite=lax`;
  }

  document.addEventListener("click", (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      navigator.clipboard.writeText(copy.dataset.copy).then(() => say("Copied"), () => say("Could not copy. Select the text instead."));
      return;
    }
    const part = event.target.closest("[data-copy-of]");
    if (part) {
      navigator.clipboard.writeText(document.getElementById(part.dataset.copyOf).textContent).then(() => say("Copied"), () => say("Could not copy. Select the text instead."));
      return;
    }
    const show = event.target.closest("[data-show]");
    if (show) {
      const masked = document.getElementById(show.dataset.show).classList.toggle("c-masked");
      show.textContent = masked ? "Show" : "Hide";
      return;
    }
    if (event.target.closest("[data-open-search]")) openSearch();
  });

  // A form is sent once; the server would answer a second time with the first result.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("[data-once]")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    const button = event.submitter || form.querySelector("button[type=submit]");
    if (button) { button.setAttribute("aria-disabled", "true"); button.textContent = form.dataset.busy || "Working…"; }
  });
  // Back to a page that was kept by the browser: it may be sent again, and answers with the first result.
  window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

  // Previews follow what is typed.
  document.querySelectorAll("form[data-live]").forEach((form) => {
    let timer, running;
    const ask = async () => {
      if (running) running.abort();
      running = new AbortController();
      const data = new FormData(form);
      data.append("preview", "1");
      try {
        const answer = await fetch(window.location.href, { method: "POST", body: data, signal: running.signal, credentials: "same-origin" });
        if (answer.ok) document.getElementById("console-preview").innerHTML = await answer.text();
      } catch (error) { if (error.name !== "AbortError") say("Could not load the preview."); }
    };
    form.addEventListener("input", (event) => {
      if (event.target.name === "reason") return;
      clearTimeout(timer);
      timer = setTimeout(ask, 250);
    });
    form.addEventListener("change", ask);
  });

  // An id follows the name it is proposed from, until somebody types another.
  document.querySelectorAll("[data-proposed-from]").forEach((field) => {
    const source = field.form.elements[field.dataset.proposedFrom];
    let own = field.value !== "";
    field.addEventListener("input", (event) => { if (event.isTrusted) own = field.value !== ""; });
    source.addEventListener("input", () => {
      if (own) return;
      const id = source.value.toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "").replace(/[^a-z0-9._:@-]+/g, "-").replace(/^[^a-z0-9]+|-+$/g, "");
      field.value = id && `${id}${field.dataset.proposedEnd || ""}`;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
  });

  // A secret that was not stored: leaving asks.
  const stored = document.querySelector("[data-stored]");
  if (stored) {
    const ask = (event) => { event.preventDefault(); event.returnValue = ""; };
    window.addEventListener("beforeunload", ask);
    stored.addEventListener("change", () => (stored.checked ? window.removeEventListener : window.addEventListener).call(window, "beforeunload", ask));
  }

  const problem = document.querySelector("[data-focus]");
  if (problem) problem.focus();

  // Search
  const dialog = document.getElementById("console-search");
  const term = document.getElementById("console-search-term");
  const results = document.getElementById("console-search-results");
  const hits = () => Array.from(results.querySelectorAll("a"));
  let at = -1;
  function openSearch() { if (dialog && !dialog.open) { dialog.showModal(); term.select(); } }
  function mark(index) {
    const all = hits();
    if (!all.length) return;
    at = (index + all.length) % all.length;
    all.forEach((each, i) => each.setAttribute("aria-selected", String(i === at)));
    term.setAttribute("aria-activedescendant", all[at].id);
    all[at].scrollIntoView({ block: "nearest" });
  }
  if (dialog) {
    let timer, running, wanted = "";
    const form = dialog.querySelector("form");
    let pending = Promise.resolve();
    // Enter waits for the answer that is under way: the same term is not asked for twice.
    const load = () => {
      const asked = term.value.trim();
      if (asked !== wanted) {
        wanted = asked;
        pending = ask(asked);
      }
      return pending;
    };
    const ask = async (asked) => {
      if (running) running.abort();
      running = new AbortController();
      const data = new FormData(form);
      data.append("fragment", "1");
      try {
        const answer = await fetch(form.action, { method: "POST", body: data, signal: running.signal, credentials: "same-origin" });
        const shown = answer.ok ? await answer.text() : "<p>Search did not answer. Try again.</p>";
        if (asked !== wanted) return;
        results.innerHTML = shown;
        hits().forEach((each, i) => { each.id = `console-hit-${i}`; each.setAttribute("role", "option"); });
        term.setAttribute("aria-expanded", String(hits().length > 0));
        at = -1;
        if (hits().length) mark(0);
      } catch (error) { if (error.name !== "AbortError") results.textContent = "Search did not answer. Try again."; }
    };
    term.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(load, 150); });
    term.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") { event.preventDefault(); mark(at + 1); }
      if (event.key === "ArrowUp") { event.preventDefault(); mark(at - 1); }
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      clearTimeout(timer);
      await load();
      const all = hits();
      if (all.length) window.location.assign(all[Math.max(at, 0)].href);
    });
  }

  // Keys: Ctrl or Cmd K everywhere; single ones never in fields, and not when switched off.
  let waitingForG = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); openSearch(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
    if (localStorage.getItem("consoleSingleKeys") === "off") return;
    const goes = { d: "/admin/", j: "/admin/jobs/job/", t: "/admin/teams/team/", l: "/admin/credits/entry/", r: "/admin/limits/decision/" };
    if (Date.now() - waitingForG < 1500 && goes[event.key]) { window.location.assign(goes[event.key]); return; }
    waitingForG = event.key === "g" ? Date.now() : 0;
    if (event.key === "/") { const box = document.querySelector(".c-search input[type=search]"); if (box) { event.preventDefault(); box.focus(); } }
    if (event.key === "n" || event.key === "p") { const link = document.querySelector(`[data-page="${event.key === "n" ? "older" : "newer"}"]`); if (link) link.click(); }
  });

  // Panels that refresh while they are seen: <div data-poll="url" data-every="60">
  document.querySelectorAll("[data-poll]").forEach((panel) => {
    let every = Number(panel.dataset.every || 60) * 1000;
    const load = async () => {
      if (document.visibilityState === "visible" && panel.isConnected) {
        try {
          const answer = await fetch(panel.dataset.poll, { credentials: "same-origin", headers: { "X-Background": "1" } });
          if (answer.status === 200) { panel.innerHTML = await answer.text(); draw(panel); }
          if (answer.status >= 500) every = Math.min(every * 2, 600000);
        } catch { every = Math.min(every * 2, 600000); }
      }
      if (panel.isConnected && !panel.querySelector("[data-poll-end]")) setTimeout(load, every);
    };
    setTimeout(load, panel.hasAttribute("data-now") ? 0 : every);
  });

  // Panels that load by themselves when they come into view, four at once, each failing alone:
  // <div data-panel="url" data-label="latency" data-every="60">. `data-every` loads again while the page is seen.
  let loading = 0;
  const queue = [];
  function next() {
    while (loading < 4 && queue.length) { loading += 1; queue.shift()().finally(() => { loading -= 1; next(); }); }
  }
  async function loadPanel(panel, url) {
    panel.setAttribute("aria-busy", "true");
    try {
      const answer = await fetch(url, { credentials: "same-origin", headers: { "X-Background": "1" } });
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      panel.innerHTML = await answer.text();
      draw(panel);
    } catch {
      panel.replaceChildren();
      const line = document.createElement("p");
      line.className = "c-error";
      line.textContent = `Could not load ${panel.dataset.label}. `;
      const again = document.createElement("button");
      again.type = "button"; again.className = "c-button"; again.textContent = "Retry";
      again.addEventListener("click", () => loadPanel(panel, url));
      line.append(again);
      panel.append(line);
    }
    panel.removeAttribute("aria-busy");
  }
  const ask = (panel) => { queue.push(() => loadPanel(panel, panel.dataset.panel)); next(); };
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) { seen.unobserve(entry.target); ask(entry.target); }
  }), { rootMargin: "200px" });
  document.querySelectorAll("[data-panel]").forEach((panel) => {
    if (!panel.hasAttribute("data-loaded")) seen.observe(panel);
    if (panel.dataset.every) setInterval(() => { if (document.visibilityState === "visible") ask(panel); }, Number(panel.dataset.every) * 1000);
  });
  document.addEventListener("click", (event) => {
    const sort = event.target.closest("[data-load]");
    if (sort) loadPanel(sort.closest("[data-panel]"), sort.dataset.load);
  });

  // Charts
  const palette = { light: ["#4338ca", "#0f766e", "#b45309", "#be123c", "#0369a1", "#6d28d9", "#4d7c0f", "#475569", "#9a3412"], dark: ["#a5b4fc", "#5eead4", "#fcd34d", "#fda4af", "#7dd3fc", "#c4b5fd", "#bef264", "#cbd5e1", "#fdba74"] };
  const dashes = [[], [6, 4], [2, 3], [10, 3, 2, 3], [4, 2], [8, 8], [1, 4], [12, 4], []];
  const drawn = new Map();
  function draw(root) {
    if (!window.Chart) return;
    const isDark = document.documentElement.classList.contains("dark");
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--c-text").trim(), grid = style.getPropertyValue("--c-line").trim();
    (root || document).querySelectorAll("canvas[data-chart]").forEach((canvas) => {
      const source = document.getElementById(canvas.dataset.chart);
      if (!source) return;
      const chart = JSON.parse(source.textContent);
      if (drawn.has(canvas)) drawn.get(canvas).destroy();
      canvas.parentElement.style.height = `${canvas.parentElement.dataset.height}px`;
      const isLine = chart.kind === "line" || chart.kind === "step";
      const colors = palette[isDark ? "dark" : "light"];
      drawn.set(canvas, new window.Chart(canvas, {
        type: isLine ? "line" : "bar",
        data: { labels: chart.labels, datasets: chart.series.map((series) => {
          const color = colors[(series.color - 1) % colors.length];
          return { label: series.label, data: series.values, backgroundColor: color, borderColor: color, borderWidth: isLine ? 2 : 0, borderDash: isLine ? dashes[(series.color - 1) % dashes.length] : [], pointRadius: isLine && series.values.length > 40 ? 0 : 2, stepped: chart.kind === "step", spanGaps: true, maxBarThickness: 36 };
        }) },
        options: {
          animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
          scales: { x: { stacked: chart.kind === "stacked", ticks: { color: ink, maxRotation: 0, autoSkip: true }, grid: { display: false } }, y: { stacked: chart.kind === "stacked", beginAtZero: true, ticks: { color: ink }, grid: { color: grid } } },
          plugins: { legend: { display: chart.series.length > 1, labels: { color: ink, boxWidth: 14 } }, tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${chart.series[item.datasetIndex].shown[item.dataIndex]}` } } },
          onClick: (event, items) => { if (items.length && chart.links[items[0].index]) window.location.assign(chart.links[items[0].index]); },
        },
      }));
    });
  }
  draw();
  new MutationObserver(() => draw()).observe(document.documentElement, { attributes: true, attributeFilter: ["class"] });
});
