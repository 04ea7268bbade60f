"use strict";
const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

// The readout follows the pointer, or stands beside what has the focus.
const readout = document.getElementById("readout");
function say(text, x, y) {
  readout.textContent = text;
  readout.hidden = !text;
  const { width, height } = readout.getBoundingClientRect();
  readout.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - width - 8))}px`;
  readout.style.top = `${y - height - 14 > 0 ? y - height - 14 : y + 20}px`;
}
document.addEventListener("pointermove", (event) => {
  if (event.target.closest?.("[data-chart] .plot")) return;
  const tip = event.target.closest?.("[data-tip]");
  say(tip ? tip.dataset.tip : "", event.clientX, event.clientY);
});
document.addEventListener("pointerdown", (event) => {
  const tip = event.target.closest?.("[data-tip]");
  if (tip) say(tip.dataset.tip, event.clientX, event.clientY);
});
document.addEventListener("focusin", (event) => {
  const tip = event.target.closest?.("[data-tip]");
  if (!tip) return;
  const box = tip.getBoundingClientRect();
  say(tip.dataset.tip, box.left + box.width / 2, box.top);
});
document.addEventListener("focusout", () => say("", 0, 0));
document.addEventListener("scroll", () => say("", 0, 0), { passive: true });

// Charts: a crosshair that reads every visible line, a legend that hides lines, a class picker.
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
function nearest(values, wanted) {
  let best = 0;
  values.forEach((value, index) => {
    if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = index;
  });
  return best;
}
for (const chart of every("[data-chart]")) {
  const data = JSON.parse(chart.querySelector("script").textContent);
  const plot = chart.querySelector(".plot");
  const cross = chart.querySelector(".cross");
  const paths = every("path", chart);
  const names = every("[data-line]:not(path), [data-pick] option:not([value=''])", chart).map((named) => named.textContent.trim());
  let picked = "";
  const place = data.log_x ? Math.log2 : Number;
  const at = (line, x) => nearest(line.x.map((value) => place(value)), x);
  const read = (event) => {
    const box = plot.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const x = data.x[0] + share * (data.x[1] - data.x[0]);
    const shown = data.lines.map((line, index) => ({ line, index }))
      .filter(({ index }) => !paths[index].matches(".off") && (picked === "" || Number(picked) === index));
    const rows = shown.slice(0, 8).map(({ line, index }) => {
      const y = line.y[at(line, x)];
      return y === null || y === undefined ? "" : `${names[index]}: ${digits.format(y)}`;
    });
    const first = shown[0]?.line;
    const where = first ? digits.format(first.x[at(first, x)]) : "";
    if (shown.length > 8) rows.push(`and ${shown.length - 8} more`);
    cross.hidden = false;
    cross.style.left = `${100 * share}%`;
    say([`${chart.querySelector(".axis").textContent} ${where}`, ...rows].filter(Boolean).join("\n"), event.clientX, event.clientY);
  };
  plot.addEventListener("pointermove", read);
  plot.addEventListener("pointerdown", read);
  plot.addEventListener("pointerleave", () => { cross.hidden = true; say("", 0, 0); });
  for (const button of every(".legend button", chart)) {
    button.addEventListener("click", () => {
      const off = paths[button.dataset.line].classList.toggle("off");
      button.setAttribute("aria-pressed", String(!off));
    });
  }
  chart.querySelector("[data-pick]")?.addEventListener("change", (event) => {
    picked = event.target.value;
    paths.forEach((path, index) => path.classList.toggle("picked", picked === String(index)));
  });
}

// Tables: sorted by a click on a heading; long ones are cut, filtered and shown whole on request.
for (const table of every("[data-sortable]")) {
  const body = table.tBodies[0];
  const limit = Number(table.dataset.rows);
  let wanted = "";
  let whole = body.rows.length <= limit + 5;
  const more = make("button", { type: "button", className: "more" });
  const update = () => {
    let shown = 0;
    for (const row of body.rows) {
      const fits = row.cells[0].textContent.toLowerCase().includes(wanted);
      row.hidden = !fits || (!whole && shown >= limit);
      if (!row.hidden) shown += 1;
    }
    more.hidden = whole;
    more.textContent = `Show all ${body.rows.length.toLocaleString("en")}`;
  };
  if (!whole) {
    const filter = make("input", { type: "search", className: "filter", placeholder: "Find a class" });
    filter.setAttribute("aria-label", "Find a class");
    filter.addEventListener("input", () => { wanted = filter.value.toLowerCase(); update(); });
    more.addEventListener("click", () => { whole = true; update(); });
    table.parentElement.before(filter);
    table.parentElement.after(more);
  }
  every("th", table).forEach((heading, column) => {
    const button = make("button", { type: "button", textContent: heading.textContent });
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") !== "descending";
      every("th", table).forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      const numeric = body.rows[0]?.cells[column].dataset.value !== undefined;
      const rows = [...body.rows].sort(numeric ? (a, b) => key(a) - key(b) : order);
      body.append(...(down === numeric ? rows.reverse() : rows));
      update();
    });
  });
  update();
}

// Panels of which one is shown at a time.
for (const group of every("[data-switch]")) {
  const panels = every(".panel", group);
  const bar = make("div", { className: "segments" });
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", group.dataset.switch);
  const show = (chosen) => panels.forEach((panel, index) => {
    panel.hidden = index !== chosen;
    bar.children[index].setAttribute("aria-pressed", String(index === chosen));
  });
  panels.forEach((panel, index) => {
    const button = make("button", { type: "button", textContent: panel.dataset.name });
    button.addEventListener("click", () => show(index));
    bar.append(button);
  });
  if (panels.length > 1) { group.prepend(bar); show(0); }
}

// Images enlarge on a tap.
const enlarged = document.getElementById("enlarged");
for (const button of every(".thumb")) {
  button.addEventListener("click", () => {
    enlarged.querySelector("img").src = button.querySelector("img").src;
    enlarged.querySelector("p").textContent = button.dataset.caption;
    say("", 0, 0);
    enlarged.showModal();
  });
}
// No form: a sandboxed frame, such as that of a Kubeflow Pipelines server, sends none.
enlarged.addEventListener("click", (event) => {
  if (event.target === enlarged || event.target.closest("button")) enlarged.close();
});

// In a frame without an address of its own a link to a section would be one to the page around it.
if (location.protocol === "about:") {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    document.getElementById(link.getAttribute("href").slice(1))?.scrollIntoView();
  });
}

// The section in view is marked in the navigation.
const links = new Map(every("nav a").map((link) => [link.hash.slice(1), link]));
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    links.forEach((link) => link.classList.remove("here"));
    links.get(entry.target.id)?.classList.add("here");
  }
}, { rootMargin: "-20% 0px -75% 0px" });
every("main > section").forEach((section) => watch.observe(section));
