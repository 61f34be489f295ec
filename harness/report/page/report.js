"use strict";
(() => {
  const data = JSON.parse(document.getElementById("points").textContent);
  const svg = document.getElementById("hero"), tip = document.getElementById("tip"), hair = document.getElementById("hair");
  const plot = document.getElementById("plot"), view = svg.viewBox.baseVal;
  const left = +svg.dataset.left, width = +svg.dataset.plot, end = +svg.dataset.end;
  const three = (value) => String(+value.toPrecision(3));
  const duration = (s) => (s < 0.001 ? three(s * 1e6) + "us" : s < 1 ? three(s * 1e3) + "ms" : three(s) + "s");
  const clock = (s) => Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0");
  const shown = (value, say) => (value === null || value === undefined ? "not recorded" : say(value));
  const between = (corners, t) => {
    const next = corners.findIndex(([at]) => at > t);
    if (next <= 0) return next === 0 ? corners[0][1] : corners[corners.length - 1][1];
    const [t0, v0] = corners[next - 1], [t1, v1] = corners[next];
    return v0 + ((v1 - v0) * (t - t0)) / (t1 - t0);
  };
  const latest = (steps, t) => steps.reduce((ready, [at, count]) => (at <= t ? count : ready), null);

  const rowsAt = (t, n) => {
    const rows = [
      ["offered", three(between(data.offered, t)) + "/s"],
      ["answered ok", shown(data.ok[n], (v) => three(v) + "/s")],
      ["p50", shown(data.p50[n], duration)],
      ["p95", shown(data.p95[n], duration)],
      ["p99", shown(data.p99[n], duration)],
      ["errors", shown(data.bad[n], (v) => three(v * 100) + "%")],
    ];
    return data.pods.length ? [...rows, ["ready pods", shown(latest(data.pods, t), String)]] : rows;
  };

  const hide = () => { tip.hidden = true; hair.classList.remove("on"); };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * view.width;
    const t = ((x - left) / width) * end, n = Math.floor(t / data.step);
    if (t < 0 || t >= end) return hide();
    const at = left + (((n + 0.5) * data.step) / end) * width;
    hair.setAttribute("x1", at);
    hair.setAttribute("x2", at);
    hair.classList.add("on");
    tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: clock(n * data.step) }));
    for (const [name, value] of rowsAt((n + 0.5) * data.step, n)) {
      const row = tip.appendChild(document.createElement("div"));
      row.appendChild(Object.assign(document.createElement("span"), { textContent: name }));
      row.append(value);
    }
    tip.hidden = false;
    const px = event.clientX - plot.getBoundingClientRect().left + plot.scrollLeft, py = event.clientY - plot.getBoundingClientRect().top;
    tip.style.left = (px > box.width / 2 ? px - tip.offsetWidth - 18 : px + 18) + "px";
    tip.style.top = Math.max(0, py - 30) + "px";
  });
})();
