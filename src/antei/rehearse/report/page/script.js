"use strict";
// The page is whole without this script; it adds the choice of light or dark, and what is under the pointer.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (prefersDark.matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); });
  prefersDark.addEventListener("change", label);
  label();
  // Paper is light.
  let onScreen;
  addEventListener("beforeprint", () => { onScreen = root.dataset.theme; root.dataset.theme = "light"; });
  addEventListener("afterprint", () => { if (onScreen) root.dataset.theme = onScreen; else delete root.dataset.theme; });

  const tip = document.getElementById("tip");
  const seconds = (value) => value >= 1 ? value.toFixed(value < 10 ? 2 : 1) + " s" : Math.round(value * 1000) + " ms";

  function lastBefore(steps, at) {
    let found = null;
    for (const step of steps) { if (step[0] > at) break; found = step; }
    return found;
  }

  function aboutLane(lane, at, reach) {
    const lines = [lane.pod + (lane.node ? " on " + lane.node : "")];
    const span = lane.spans.find(([start, end]) => start <= at && at < end);
    const effective = lane.effective.some(([start, end]) => start <= at && at < end);
    lines.push((span ? span[2] : "not there") + (effective ? ", gets new connections" : ", gets no new connections"));
    const near = lane.marks.filter(([when]) => Math.abs(when - at) <= reach);
    near.sort((a, b) => Math.abs(a[0] - at) - Math.abs(b[0] - at));
    for (const [when, text] of near.slice(0, 6)) lines.push(when.toFixed(2) + " s  " + text);
    return lines;
  }

  function aboutRequests(data, at) {
    const bin = data.bins[Math.floor(at / data.width)];
    if (!bin) return [];
    const lines = [bin.sent + " requests due in " + data.width + " s, " + bin.lost + " lost"];
    for (const [outcome, count] of Object.entries(bin.outcomes)) if (outcome !== "ok") lines.push("  " + count + " " + outcome);
    if (bin.ok) lines.push("p50 " + seconds(bin.p50) + ", p99 " + seconds(bin.p99) + ", most " + seconds(bin.max));
    return lines;
  }

  function describe(data, row, at, reach) {
    const since = data.fault === null ? "" : at >= data.fault ? ", " + (at - data.fault).toFixed(2) + " s after the fault" : ", before the fault";
    const lines = [at.toFixed(2) + " s" + since];
    if (row.dataset.lane !== undefined) return lines.concat(aboutLane(data.lanes[Number(row.dataset.lane)], at, reach)).join("\n");
    const ready = lastBefore(data.ready, at);
    if (ready) lines.push(ready[1] + " ready");
    return lines.concat(aboutRequests(data, at)).join("\n");
  }

  for (const charts of document.querySelectorAll(".charts")) {
    const data = JSON.parse(charts.querySelector("script").textContent);
    const cursor = charts.querySelector(".cursor");
    const hide = () => { tip.hidden = true; cursor.hidden = true; };
    const show = (event) => {
      const row = event.target.closest(".row[data-row]");
      const plot = row && row.querySelector("svg.plot");
      if (!plot) return hide();
      const box = plot.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      if (share < 0 || share > 1) return hide();
      tip.textContent = describe(data, row, share * data.end, 7 / box.width * data.end);
      tip.hidden = cursor.hidden = false;
      cursor.style.left = event.clientX - charts.getBoundingClientRect().left + "px";
      const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      const below = event.clientY + 18;
      tip.style.left = Math.max(8, left) + "px";
      tip.style.top = (below + tip.offsetHeight > innerHeight ? Math.max(4, event.clientY - tip.offsetHeight - 12) : below) + "px";
    };
    charts.addEventListener("pointermove", show);
    charts.addEventListener("pointerdown", show);
    charts.addEventListener("pointerleave", hide);
  }
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
