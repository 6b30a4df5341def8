// The explorer of rows: inflates what the page carries, filters, searches, sorts, and shows a row side by side.
// Everything that users wrote reaches the page as text (textContent), never as markup.

const PAGE_ROWS = 50;
const WORST = 200;
const EXCERPT = 140;
const KINDS = { rows: "Evaluated rows", pairs: "Training pairs", probes: "Bias probes" };

function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "data") Object.assign(node.dataset, value);
    else if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function drawn(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

const icon = (state) => document.getElementById(`icon-${state}`).content.firstElementChild.cloneNode(true);

const number = (value, digits = 2) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

async function inflated(element) {
  const packed = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const pause = () => new Promise((done) => (window.requestIdleCallback ?? setTimeout)(done, { timeout: 200 }));

class Explorer {
  constructor(section, rows) {
    this.section = section;
    this.form = section.querySelector("form");
    this.table = section.querySelector("table");
    this.body = this.table.tBodies[0];
    this.status = section.querySelector("[role=status]");
    this.pages = section.querySelector(".pager");
    this.rows = rows;
    this.count = rows.id.length;
    this.texts = [];
    this.lower = [];
    this.best = rows.rewards.map((rewards, i) => (rewards.length ? extreme(Math.min, rewards.slice(0, rows.chosen[i])) : null));
    this.other = rows.rewards.map((rewards, i) => (rewards.length ? extreme(Math.max, rewards.slice(rows.chosen[i])) : null));
    this.order = { key: "margin", down: false };
    this.page = 0;
    const sizes = Float64Array.from(rows.margin, (margin) => Math.abs(margin ?? 0)).sort();
    this.reach = sizes[Math.floor(0.95 * (sizes.length - 1))] || 1; // a few extremes do not flatten all bars
    this.fill();
    this.listen();
    this.form.hidden = false;
    this.update();
  }

  // What the filters offer: only what is there, with how many rows it has.
  fill() {
    const { rows } = this;
    const option = (value, label, count) => make("option", { value }, `${label} (${count.toLocaleString("en")})`);
    const counted = (values) => values.reduce((counts, value) => counts.set(value, (counts.get(value) ?? 0) + 1), new Map());
    const mistakes = rows.mistake.reduce((sum, one) => sum + one, 0);
    const flagged = rows.flagged.filter(Boolean).length;
    const { show, source, subset } = this.form.elements;
    show.append(
      make("option", { value: "worst" }, `Worst ${Math.min(WORST, mistakes).toLocaleString("en")} mistakes`),
      option("mistakes", "All mistakes", mistakes),
      option("right", "Rows that are right", this.count - mistakes),
      option("all", "All rows", this.count),
    );
    if (flagged) {
      const group = make("optgroup", { label: "Flagged" }, option("flagged", "Any flag", flagged));
      rows.flags.forEach((title, bit) => {
        const n = rows.flagged.filter((flags) => flags & (1 << bit)).length;
        if (n) group.append(option(`flag${bit}`, title, n));
      });
      show.append(group);
    }
    const bySource = counted(rows.source);
    for (const [kind, label] of Object.entries(KINDS)) {
      const group = make("optgroup", { label });
      rows.sources.forEach((one, i) => one.kind === kind && group.append(option(String(i), one.title, bySource.get(i) ?? 0)));
      const { length } = group.children;
      if (!length) continue;
      const all = [...group.children].reduce((sum, one) => sum + bySource.get(Number(one.value)), 0);
      if (length > 1) group.prepend(option(kind, `All ${label.toLowerCase()}`, all));
      source.append(group);
    }
    source.prepend(option("", "Everything", this.count));
    source.options[Math.min(1, source.options.length - 1)].defaultSelected = true; // what was evaluated comes first
    subset.append(option("", "All subsets", this.count));
    const bySubset = counted(rows.subset);
    rows.subsets
      .map((title, i) => [title, i])
      .sort(([a], [b]) => a.localeCompare(b))
      .forEach(([title, i]) => subset.append(option(String(i), title || "no subset", bySubset.get(i) ?? 0)));
  }

  listen() {
    this.form.addEventListener("input", () => this.changed());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => this.changed()));
    this.table.tHead.addEventListener("click", (event) => {
      const key = event.target.closest("button")?.dataset.sort;
      if (!key) return;
      this.order = { key, down: this.order.key === key ? !this.order.down : false };
      this.changed();
    });
    this.body.addEventListener("click", (event) => {
      const button = event.target.closest("button.row");
      if (button) this.toggle(button);
    });
    this.body.addEventListener("keydown", (event) => this.moved(event));
    this.pages.addEventListener("click", (event) => {
      const step = Number(event.target.closest("button")?.dataset.step);
      if (!step) return;
      this.page += step;
      this.show();
      this.status.scrollIntoView({ block: "nearest" });
    });
    document.addEventListener("click", (event) => {
      const link = event.target.closest("a[data-rows]");
      if (link) this.jump(link.dataset);
    });
  }

  // From a place elsewhere on the page: the mistakes of one source and subset.
  jump({ source, subset }) {
    const { rows, form } = this;
    form.reset();
    const sourceNumber = rows.sources.findIndex((one) => one.kind === "rows" && one.key === source);
    const subsetNumber = subset === undefined ? -1 : rows.subsets.indexOf(subset);
    form.elements.show.value = "mistakes";
    form.elements.source.value = sourceNumber < 0 ? "" : String(sourceNumber);
    form.elements.subset.value = subsetNumber < 0 ? "" : String(subsetNumber);
    this.changed();
  }

  changed() {
    this.page = 0;
    this.update();
  }

  update() {
    this.found = this.sorted(this.filtered());
    this.show();
  }

  filtered() {
    const { rows } = this;
    const { show, source, subset, low, high, query } = Object.fromEntries(new FormData(this.form));
    const bit = show.startsWith("flag") && show !== "flagged" ? 1 << Number(show.slice(4)) : 0;
    const from = low === "" ? -Infinity : Number(low), to = high === "" ? Infinity : Number(high);
    const ofKind = source in KINDS;
    const bounded = low !== "" || high !== "";
    const has = this.matcher(query.trim().toLowerCase());
    const kept = [];
    for (let i = 0; i < this.count; i++) {
      if ((show === "worst" || show === "mistakes") && !rows.mistake[i]) continue;
      if (show === "right" && rows.mistake[i]) continue;
      if (show === "flagged" && !rows.flagged[i]) continue;
      if (bit && !(rows.flagged[i] & bit)) continue;
      if (ofKind ? rows.sources[rows.source[i]].kind !== source : source !== "" && rows.source[i] !== Number(source)) continue;
      if (subset !== "" && rows.subset[i] !== Number(subset)) continue;
      if (bounded && (rows.margin[i] === null || rows.margin[i] < from || rows.margin[i] > to)) continue;
      if (!has(i)) continue;
      kept.push(i);
    }
    // The page has rows in the order of their badness: the first ones are the worst.
    return show === "worst" ? kept.slice(0, WORST) : kept;
  }

  // Whether a row holds what is searched for: every text is looked at once, however many rows share it.
  matcher(query) {
    this.query = query;
    if (!query) return () => true;
    const { rows } = this;
    const hits = this.texts.map((text, i) => (this.lower[i] ??= text.toLowerCase()).includes(query));
    return (i) => rows.id[i].toLowerCase().includes(query) || rows.texts[i].some((text) => hits[text]);
  }

  sorted(found) {
    const { key, down } = this.order;
    const { rows } = this;
    const sign = down ? -1 : 1;
    const values = { margin: rows.margin, chosen: this.best, rejected: this.other, id: rows.id };
    if (key === "subset") {
      const name = (i) => `${rows.sources[rows.source[i]].title} ${rows.subsets[rows.subset[i]]}`;
      return found.sort((a, b) => sign * name(a).localeCompare(name(b)));
    }
    const column = values[key];
    if (key === "id") {
      const order = new Intl.Collator("en", { numeric: true });
      return found.sort((a, b) => sign * order.compare(column[a], column[b]));
    }
    // What is missing stands last, whichever way the rest goes.
    return found.sort((a, b) => (column[a] === null) - (column[b] === null) || sign * (column[a] - column[b]) || a - b);
  }

  show() {
    const pages = Math.max(1, Math.ceil(this.found.length / PAGE_ROWS));
    this.page = Math.min(Math.max(this.page, 0), pages - 1);
    const first = this.page * PAGE_ROWS;
    this.body.replaceChildren(...this.found.slice(first, first + PAGE_ROWS).map((i) => this.row(i)));
    for (const head of this.table.tHead.rows[0].cells) {
      const key = head.querySelector("button")?.dataset.sort;
      if (!key) continue;
      if (key === this.order.key) head.setAttribute("aria-sort", this.order.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    const [back, place, on] = this.pages.children;
    this.pages.hidden = pages === 1;
    back.disabled = this.page === 0;
    on.disabled = this.page === pages - 1;
    place.textContent = `Page ${this.page + 1} of ${pages}`;
    const rows = this.found.length === 1 ? "row" : "rows";
    this.status.textContent = this.found.length
      ? `${this.found.length.toLocaleString("en")} ${rows} of ${this.count.toLocaleString("en")}`
      : "No row fits these filters.";
  }

  row(i) {
    const { rows } = this;
    const button = make("button", { type: "button", className: "row", ariaExpanded: "false", data: { row: i } });
    button.append(make("bdi", {}, rows.id[i]));
    const right = rows.mistake[i] ? "bad" : "good";
    const sign = make("span", { className: "hidden" }, rows.mistake[i] ? "mistake" : "right");
    const where = make("td", { className: "where", data: { label: "Of" } }, make("bdi", {}, rows.subsets[rows.subset[i]]));
    where.append(make("small", {}, rows.sources[rows.source[i]].title));
    const prompt = make("td", { className: "prompt", data: { label: "Prompt" } }, this.excerpt(i));
    rows.flags.forEach((title, bit) => {
      if (rows.flagged[i] & (1 << bit)) prompt.append(make("small", { className: "flag" }, title));
    });
    const cell = (label, value) => make("td", { className: "n", data: { label } }, value);
    const margin = cell("Margin", number(rows.margin[i]));
    margin.append(this.bar(rows.margin[i]));
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, icon(right), sign, button),
      where,
      prompt,
      cell("Chosen", number(this.best[i])),
      cell("Rejected", number(this.other[i])),
      margin,
    );
  }

  // The prompt's beginning, or the first place where what is searched for stands.
  excerpt(i) {
    const text = make("bdi", { className: "excerpt" });
    const numbers = this.rows.texts[i];
    if (!numbers.length || this.texts[numbers[0]] === undefined) {
      text.append(numbers.length ? "…" : "text not here");
      text.classList.add("none");
      return text;
    }
    const { query } = this;
    const place = query ? numbers.find((text) => this.lower[text]?.includes(query)) ?? numbers[0] : numbers[0];
    const whole = this.texts[place];
    const at = query ? whole.toLowerCase().indexOf(query) : -1;
    const start = at > EXCERPT - query.length ? Math.max(0, at - 40) : 0;
    const cut = whole.slice(start, start + EXCERPT);
    text.append(start ? "…" : "");
    if (at < 0) text.append(cut);
    else text.append(cut.slice(0, at - start), make("mark", {}, cut.slice(at - start, at - start + query.length)), cut.slice(at - start + query.length));
    if (whole.length > start + EXCERPT) text.append("…");
    return text;
  }

  // The margin as a bar left or right of zero; 95 % of all rows fit the scale.
  bar(margin) {
    const svg = drawn("svg", { viewBox: "0 0 80 8", class: "chart margin", "aria-hidden": "true" });
    svg.append(drawn("line", { x1: 40, x2: 40, y1: 0, y2: 8, class: "axis" }));
    if (margin !== null) {
      const width = Math.max(0.8, 39 * Math.min(1, Math.abs(margin) / this.reach));
      svg.append(drawn("rect", { x: margin < 0 ? 40 - width : 40, y: 1.5, width, height: 5, rx: 1, class: margin < 0 ? "rejected" : "chosen" }));
    }
    return svg;
  }

  toggle(button) {
    const line = button.closest("tr");
    const open = button.ariaExpanded === "true";
    button.ariaExpanded = String(!open);
    if (open) line.nextElementSibling.remove();
    else line.after(this.detail(Number(button.dataset.row)));
  }

  moved(event) {
    if (event.key === "Escape") {
      const line = event.target.closest("tr.detail")?.previousElementSibling ?? event.target.closest("tr");
      const button = line?.querySelector("button.row");
      if (button?.ariaExpanded === "true") this.toggle(button);
      button?.focus();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches("button.row")) return;
    const buttons = [...this.body.querySelectorAll("button.row")];
    const next = buttons[buttons.indexOf(event.target) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  }

  detail(i) {
    const { rows } = this;
    const cell = make("td", { colSpan: 6 });
    if (rows.notes[rows.note[i]]) cell.append(make("p", { className: "note" }, make("bdi", {}, rows.notes[rows.note[i]])));
    const numbers = rows.texts[i];
    if (!numbers.length || numbers.some((text) => this.texts[text] === undefined)) {
      cell.append(make("p", { className: "note" }, numbers.length ? "The texts are still being read." : "The texts of this row are not on this page."));
      cell.append(this.ladder(i));
    } else {
      cell.append(this.texts_of(i, numbers.map((text) => this.texts[text])));
      const lengths = numbers.map((text) => rows.cut[text]).filter(Boolean);
      if (lengths.length) cell.append(this.cut(i, cell));
    }
    if (!numbers.length && document.documentElement.dataset.served && rows.key[i]) cell.append(this.cut(i, cell));
    return make("tr", { className: "detail" }, cell);
  }

  // Prompt, then chosen and rejected beside each other; where there are several, the reader picks which.
  texts_of(i, texts) {
    const { rows } = this;
    const n = rows.chosen[i];
    const responses = texts.slice(1);
    const prompt = make("div", { className: "text", dir: "auto" }, texts[0] || "no prompt");
    const sides = make("div", { className: "sides" });
    const pick = { chosen: worstOf(rows.rewards[i].slice(0, n), -1), rejected: n + worstOf(rows.rewards[i].slice(n), 1) };
    const draw = () => {
      const [left, right] = differences(responses[pick.chosen] ?? "", responses[pick.rejected] ?? "");
      sides.replaceChildren(
        this.side(i, "chosen", 0, n, pick, left, draw),
        this.side(i, "rejected", n, responses.length, pick, right, draw),
      );
    };
    draw();
    const box = make("div", { className: "texts" }, make("h3", { className: "small" }, "Prompt"), prompt, sides);
    return box;
  }

  side(i, name, from, to, pick, parts, draw) {
    const rewards = this.rows.rewards[i];
    const probe = this.rows.sources[this.rows.source[i]].kind === "probes";
    const title = probe ? { chosen: "As it was", rejected: "Edited" }[name] : { chosen: "Chosen", rejected: "Rejected" }[name];
    const head = make("div", { className: "side-head" }, make("h3", { className: `small ${name}` }, title));
    if (to - from > 1) {
      const select = make("select", { ariaLabel: `Which ${name} response` });
      for (let place = from; place < to; place++) {
        const label = `${place - from + 1} of ${to - from}: ${number(rewards[place] ?? null)}`;
        select.append(make("option", { value: String(place), selected: place === pick[name] }, label));
      }
      select.addEventListener("change", () => {
        pick[name] = Number(select.value);
        draw();
        this.body.querySelector(`select[aria-label="Which ${name} response"]`)?.focus();
      });
      head.append(select);
    } else if (rewards.length) head.append(make("span", {}, "reward ", make("b", {}, number(rewards[pick[name]] ?? null))));
    const text = make("div", { className: `text ${name}`, dir: "auto" });
    for (const [part, differs] of parts) text.append(differs ? make("mark", {}, part) : part);
    if (!parts.length) text.append(make("span", { className: "none" }, "empty"));
    return make("div", {}, head, text);
  }

  // Rewards alone, where there are no texts.
  ladder(i) {
    const rewards = this.rows.rewards[i];
    const list = make("p", { className: "note" });
    const n = this.rows.chosen[i];
    if (rewards.length) list.append(`Chosen: ${rewards.slice(0, n).map((one) => number(one)).join(", ")}. Rejected: ${rewards.slice(n).map((one) => number(one)).join(", ")}.`);
    return list;
  }

  // Texts that are longer than the page carries: from the server where one runs.
  cut(i, cell) {
    const served = document.documentElement.dataset.served;
    if (!served) return make("p", { className: "note" }, "Cut at 2,000 characters. ", make("code", {}, "rewardsmith open"), " shows the whole.");
    const button = make("button", { type: "button" }, "Show the whole texts");
    button.addEventListener("click", async () => {
      const answer = await fetch(`text/${encodeURIComponent(this.rows.key[i])}`);
      if (!answer.ok) return button.replaceWith(make("p", { className: "note" }, "The texts are not at hand."));
      const whole = await answer.json();
      cell.replaceChildren(this.texts_of(i, [whole.prompt, ...whole.chosen, ...whole.rejected]));
    });
    return make("p", {}, button);
  }

  async read(pieces) {
    for (const piece of pieces) {
      const texts = await inflated(piece);
      for (const text of texts) this.texts.push(text);
      if (this.texts.length === texts.length) this.show(); // the first piece has the worst rows
      await pause();
    }
    if (pieces.length > 1 || this.query) this.update();
    this.section.dataset.texts = "read";
    for (let i = 0; i < this.texts.length; i++) {
      if (i % 2000 === 0) await pause();
      this.lower[i] ??= this.texts[i].toLowerCase();
    }
  }
}

function extreme(choose, values) {
  return values.length && !values.includes(null) ? choose(...values) : null;
}

// The place of the reward that decides: the highest (1) or the lowest (-1); the first where none is known.
function worstOf(values, sign) {
  let best = 0;
  values.forEach((value, i) => {
    if (value !== null && (values[best] === null || sign * value > sign * values[best])) best = i;
  });
  return best;
}

async function explore() {
  const section = document.getElementById("explorer");
  const index = document.getElementById("rows-index");
  if (!section || !index) return;
  const pieces = [...document.querySelectorAll("script.rows-texts")];
  const explorer = new Explorer(section, await inflated(index));
  section.dataset.rows = "read";
  await explorer.read(pieces);
}
