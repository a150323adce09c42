// The timeline: activity as a histogram, below it a bar for each program, in as few lanes as fit.

const AXIS = 18;
const ACTIVITY = 30;
const LANE = 15;
const LANES_HIGH = 165;

class Timeline {
  /** `select(node)`: a bar was clicked. `ranged([from, to] | null)`: the view is zoomed. */
  constructor(host, model, select, ranged) {
    Object.assign(this, { host, model, select, ranged, selected: null });
    this.canvas = host.querySelector("canvas");
    this.tip = host.querySelector(".tip");
    this.view = [0, model.span];
    this.lanes();
    this.canvas.setAttribute("aria-label", `Timeline of ${number(model.nodes.length)} programs over ${duration(model.span)}`);
    const high = Math.min(LANES_HIGH, Math.max(this.high * LANE, 2 * LANE));
    this.laneHeight = Math.max(1, Math.min(LANE, high / Math.max(this.high, 1)));
    this.canvas.style.height = `${AXIS + ACTIVITY + high + 4}px`;
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", (event) => this.up(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("dblclick", () => this.zoom(0, model.span));
    new ResizeObserver(() => this.later()).observe(this.canvas);
  }

  /** Give each bar the lowest lane that is free when it begins. */
  lanes() {
    this.bars = this.model.nodes.filter((node) => !Number.isNaN(node.first)).sort((a, b) => a.first - b.first || a.index - b.index);
    const free = []; // sorted descending, so that the lowest is popped
    const busy = []; // a heap by end
    let count = 0;
    for (const node of this.bars) {
      while (busy.length && busy[0].last <= node.first) {
        const { lane } = heapPop(busy);
        let at = free.length;
        while (at > 0 && free[at - 1] < lane) at--;
        free.splice(at, 0, lane);
      }
      node.lane = free.length ? free.pop() : count++;
      heapPush(busy, node);
    }
    this.high = count;
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  colours() {
    const names = ["--ink", "--dim", "--line", "--accent", "--bad", "--warn", "--panel", "--bar0", "--bar1", "--bar2", "--bar3", "--bar4", "--bar5"];
    const probe = this.host.appendChild(h("i"));
    const found = {};
    for (const name of names) {
      probe.style.color = `var(${name})`;
      found[name.slice(2)] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  }

  x(us) {
    return (us - this.view[0]) / (this.view[1] - this.view[0]) * this.width;
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width) return;
    this.width = width;
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    this.ink = this.colours();
    this.axis(pen, height);
    this.activity(pen);
    const last = new Map();
    for (const node of this.bars) this.bar(pen, node, last);
  }

  axis(pen, height) {
    const span = this.view[1] - this.view[0];
    const rough = span / Math.max(2, this.width / 110);
    const ten = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * ten).find((n) => n >= rough);
    pen.strokeStyle = this.ink.line;
    pen.fillStyle = this.ink.dim;
    for (let at = Math.ceil(this.view[0] / step) * step; at <= this.view[1]; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      pen.beginPath();
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
      pen.stroke();
      const label = step >= 1e5 ? `${(at / 1e6).toFixed(step >= 1e6 ? 0 : 1)} s` : step >= 1e3 ? `${number(Math.round(at / 1e3))} ms` : `${number(Math.round(at))} µs`;
      pen.fillText(label, x + 4, AXIS / 2);
    }
  }

  /** Actions begun per two pixels; the part of those that failed in red. */
  activity(pen) {
    const bins = new Float64Array(Math.ceil(this.width / 2));
    const failed = new Float64Array(bins.length);
    const { first, failures, size: rows } = this.model;
    for (let i = 0; i < rows; i++) {
      const bin = Math.floor(this.x(first[i]) / 2);
      if (!(bin >= 0 && bin < bins.length)) continue;
      bins[bin]++;
      if (failures[i] > 0) failed[bin]++;
    }
    const most = Math.sqrt(bins.reduce((a, b) => Math.max(a, b), 1));
    const base = AXIS + ACTIVITY;
    for (let bin = 0; bin < bins.length; bin++) {
      if (!bins[bin]) continue;
      const high = Math.max(1, Math.sqrt(bins[bin]) / most * (ACTIVITY - 4));
      pen.fillStyle = this.ink.accent;
      pen.fillRect(bin * 2, base - high, 1.6, high);
      pen.fillStyle = this.ink.bad;
      const part = high * failed[bin] / bins[bin];
      if (part) pen.fillRect(bin * 2, base - part, 1.6, part);
    }
  }

  bar(pen, node, last) {
    const from = Math.max(this.x(node.first), -2);
    const to = Math.min(this.x(node.last), this.width + 2);
    if (to < 0 || from > this.width) return;
    const chosen = node === this.selected;
    if (!chosen && to < (last.get(node.lane) ?? -9)) return; // nothing of it would be seen
    const y = AXIS + ACTIVITY + 3 + node.lane * this.laneHeight;
    const high = Math.max(1, this.laneHeight - 1.5);
    const wide = Math.max(to - from, 1);
    last.set(node.lane, Math.ceil(from + wide - 0.6));
    pen.fillStyle = this.ink[`bar${hue(node.name)}`];
    pen.fillRect(from, y, Math.max(wide - 0.5, 0.8), high);
    if (isBad(node.end)) {
      pen.fillStyle = this.ink.bad;
      pen.fillRect(from, y + high - 2, wide, 2);
    }
    if (node.tags.size && high > 6) {
      pen.fillStyle = this.ink.warn;
      pen.fillRect(from, y, Math.min(3, wide), high);
    }
    if (chosen) {
      pen.strokeStyle = this.ink.ink;
      pen.lineWidth = 1.5;
      pen.strokeRect(from, y - 0.5, wide, high + 1);
      pen.lineWidth = 1;
    }
    if (wide > 34 && high >= 11) {
      pen.save();
      pen.beginPath();
      pen.rect(from, y, wide - 3, high);
      pen.clip();
      pen.fillStyle = this.ink.ink;
      pen.fillText(harmless(node.argv.length ? node.argv.join(" ").slice(0, 200) : node.name), Math.max(from, 0) + 5, y + high / 2 + 0.5);
      pen.restore();
    }
  }

  zoom(from, to) {
    const all = this.model.span;
    const span = Math.max(Math.min(to - from, all), Math.min(20, all));
    const begin = Math.max(0, Math.min(from, all - span));
    this.view = [begin, begin + span];
    this.later();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.ranged(span >= all * 0.999 ? null : this.view), 120);
  }

  by(factor, at = (this.view[0] + this.view[1]) / 2) {
    this.zoom(at - (at - this.view[0]) * factor, at + (this.view[1] - at) * factor);
  }

  pan(part) {
    const shift = (this.view[1] - this.view[0]) * part;
    this.zoom(this.view[0] + shift, this.view[1] + shift);
  }

  /** The pointer's time, and the bar below it. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left;
    const lane = Math.floor((event.clientY - box.top - AXIS - ACTIVITY - 3) / this.laneHeight);
    const us = this.view[0] + x / this.width * (this.view[1] - this.view[0]);
    const near = (this.view[1] - this.view[0]) / this.width * 2;
    let node = null;
    if (lane >= 0) for (const bar of this.bars) if (bar.lane === lane && bar.first - near <= us && us <= bar.last + near) node = bar;
    return { us, node, x, y: event.clientY - box.top };
  }

  wheel(event) {
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan((event.deltaX || event.deltaY) / 600);
    else if (event.deltaY > 0 && this.view[1] - this.view[0] >= this.model.span) return; // let the page scroll
    else this.by(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) / 250), this.at(event).us);
    event.preventDefault();
  }

  key(event) {
    const does = {
      "+": () => this.by(0.6), "=": () => this.by(0.6), "-": () => this.by(1.7),
      ArrowLeft: () => this.pan(-0.2), ArrowRight: () => this.pan(0.2), 0: () => this.zoom(0, this.model.span),
    }[event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    does();
    event.preventDefault();
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.grip = { x: event.clientX, view: [...this.view], moved: false };
  }

  move(event) {
    if (this.grip) {
      const by = event.clientX - this.grip.x;
      if (Math.abs(by) > 3) this.grip.moved = true;
      const shift = by / this.width * (this.grip.view[1] - this.grip.view[0]);
      if (this.grip.moved) this.zoom(this.grip.view[0] - shift, this.grip.view[1] - shift);
      return;
    }
    const { us, node, x, y } = this.at(event);
    const tip = this.tip;
    tip.hidden = false;
    tip.replaceChildren(h("span", { class: "dim" }, `${seconds(us)} s`));
    if (node) {
      tip.prepend(h("bdi", {}, harmless(node.words).slice(0, 300)), h("br"));
      tip.append(` pid ${node.pid ?? "–"} · ${duration(node.last - node.first)} · ${number(node.actions)} Actions · ${node.end || "still running"}`);
    }
    tip.style.left = `${Math.max(4, Math.min(x + 12, this.width - tip.offsetWidth - 8))}px`;
    tip.style.top = `${y + 16}px`;
  }

  up(event) {
    const moved = this.grip?.moved;
    this.grip = null;
    const { node } = this.at(event);
    if (!moved && node) this.select(node === this.selected ? null : node);
  }

  mark(node) {
    this.selected = node;
    this.later();
  }
}

function hue(name) {
  let sum = 7;
  for (const char of name) sum = (sum * 31 + char.codePointAt(0)) % 9973;
  return sum % 6;
}

function heapPush(heap, node) {
  let at = heap.push(node) - 1;
  while (at > 0) {
    const up = (at - 1) >> 1;
    if (heap[up].last <= node.last) break;
    heap[at] = heap[up];
    at = up;
  }
  heap[at] = node;
}

function heapPop(heap) {
  const top = heap[0];
  const node = heap.pop();
  if (!heap.length) return top;
  let at = 0;
  for (let kid = 1; kid < heap.length; kid = 2 * at + 1) {
    if (kid + 1 < heap.length && heap[kid + 1].last < heap[kid].last) kid++;
    if (heap[kid].last >= node.last) break;
    heap[at] = heap[kid];
    at = kid;
  }
  heap[at] = node;
  return top;
}
