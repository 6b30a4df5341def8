// A served page follows its run: stages, progress and curves once a second; new records load the page again.

const live = {
  metrics: -1,
  last: "",
  section: document.getElementById("live"),
  stamp: document.documentElement.dataset.served,

  async follow() {
    const now = await this.ask();
    if (!now) this.say("The server does not answer: this page stays as it is.");
    setTimeout(() => this.follow(), now ? this.show(now) : 5000);
  },

  async ask() {
    try {
      const answer = await fetch(`live.json?metrics=${this.metrics}`);
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  },

  show(now) {
    const ended = !now.running && now.stages.every((stage) => stage.state !== "open");
    this.section.hidden = ended && now.stamp === this.stamp;
    this.section.querySelector("ol").replaceChildren(...now.stages.map((stage) => this.stage(stage)));
    this.say(now.status);
    this.announce(now.stages.find((stage) => stage.state === "now"));
    const bar = this.section.querySelector("progress");
    bar.hidden = !now.total;
    bar.max = now.total || 1;
    bar.value = now.done;
    this.draw(now.charts);
    const curves = this.section.querySelector(".curves");
    curves.hidden = !now.running || !curves.querySelector("svg");
    this.metrics = now.metrics;
    // Two looks that agree: records that are being written in a row load the page once.
    if (now.stamp !== this.stamp && now.stamp === this.last) this.renew();
    this.last = now.stamp;
    return now.running || now.stamp !== this.stamp ? 1000 : 3000; // milliseconds until the next look
  },

  stage({ title, state, word }) {
    const sign = document.getElementById(`icon-${state === "now" ? "open" : state}`);
    const item = make("li", {}, sign.content.firstElementChild.cloneNode(true), `${title}: ${word}`);
    if (state === "now") item.setAttribute("aria-current", "step");
    return item;
  },

  say(status) {
    this.section.querySelector(".doing").textContent = status;
  },

  // A screen reader hears of a new stage, not of every second.
  announce(stage) {
    const line = this.section.querySelector("[role=status]");
    const words = stage ? `${stage.title}: ${stage.word}` : "";
    if (line.textContent !== words) line.textContent = words;
  },

  // The server's own drawings, of numbers alone; parsed as XML, where nothing runs.
  draw(charts) {
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      const source = charts[figure.dataset.chart];
      if (!source) continue;
      const drawing = new DOMParser().parseFromString(source, "image/svg+xml").documentElement;
      figure.querySelector("svg")?.remove();
      figure.append(document.importNode(drawing, true));
    }
  },

  // Whoever reads rows is not thrown out of them.
  renew() {
    const reading = document.activeElement?.closest("#explorer") || document.querySelector("#explorer tr.detail");
    if (!reading) return location.reload();
    this.section.hidden = false;
    const more = this.section.querySelector(".more");
    more.hidden = false;
    more.querySelector("button").onclick = () => location.reload();
  },
};

live.follow();
