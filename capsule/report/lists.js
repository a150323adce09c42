// Lists that hold a million rows and draw forty: VirtualList, and a table made of one.

const ROW = 22;
const TALLEST = 8e6; // browsers lay out no element much higher than this, in pixels

class VirtualList {
  /** `draw(index)` makes the element of a row; `open(index)` is for a click or Enter. */
  constructor(el, draw, open) {
    Object.assign(this, { el, draw, open, count: 0, active: -1 });
    this.space = h("div", { class: "space" });
    this.rows = h("div", { class: "rows", role: "presentation" });
    this.el.replaceChildren(this.space, this.rows);
    this.el.addEventListener("scroll", () => this.later());
    this.el.addEventListener("click", (event) => this.clicked(event));
    this.el.addEventListener("keydown", (event) => this.pressed(event));
    new ResizeObserver(() => this.later()).observe(this.el);
  }

  set(count, keep) {
    this.count = count;
    const height = count * ROW;
    this.scale = height > TALLEST ? TALLEST / height : 1;
    this.space.style.height = `${Math.min(height, TALLEST)}px`;
    if (!keep) {
      this.active = -1;
      this.el.scrollTop = 0;
    }
    this.render();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.render();
    });
  }

  render() {
    const fit = Math.ceil(this.el.clientHeight / ROW) + 1;
    const top = this.el.scrollTop / this.scale / ROW;
    const from = Math.max(0, Math.min(Math.floor(top), this.count - fit + 1));
    const made = [];
    for (let i = from; i < Math.min(from + fit + 1, this.count); i++) {
      const row = this.draw(i);
      row.dataset.index = i;
      row.id = `${this.el.id}-${i}`;
      if (i === this.active) row.classList.add("active");
      made.push(row);
    }
    this.rows.replaceChildren(...made);
    const shift = this.scale === 1 ? from * ROW : this.el.scrollTop - (top - from) * ROW;
    this.rows.style.transform = `translateY(${Math.max(0, shift)}px)`;
    if (this.active >= 0) this.el.setAttribute("aria-activedescendant", `${this.el.id}-${this.active}`);
    else this.el.removeAttribute("aria-activedescendant");
  }

  go(index) {
    this.active = Math.max(0, Math.min(index, this.count - 1));
    const top = this.active * ROW * this.scale;
    const high = this.el.clientHeight - ROW;
    if (top < this.el.scrollTop) this.el.scrollTop = top;
    else if (top > this.el.scrollTop + high) this.el.scrollTop = top - high + ROW;
    this.render();
  }

  clicked(event) {
    const row = event.target.closest("[data-index]");
    if (!row || !this.rows.contains(row)) return;
    this.active = Number(row.dataset.index);
    this.open(this.active, event);
    this.render();
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.el.clientHeight / ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by !== undefined && this.count && !event.ctrlKey && !event.metaKey) this.go(this.active + by);
    else if (event.key === "Enter" && this.active >= 0) this.open(this.active, event);
    else if (!this.key || this.active < 0 || !this.key(this.active, event)) return;
    event.preventDefault();
  }
}

/** A table: `columns` of {title, css, num, text(row), sort(row)}; `rows` any array. */
class Table {
  constructor(host, id, label, columns, open) {
    Object.assign(this, { columns, source: [], order: null });
    this.head = h("div", { class: "thead", role: "row" }, ...columns.map((column, at) =>
      h("button", { type: "button", role: "columnheader", class: `cell ${column.css}`, "aria-sort": "none", onclick: () => this.sort(at) }, column.title)));
    this.body = h("div", { id, class: "list", tabindex: "0", role: "grid", "aria-label": label });
    host.replaceChildren(this.head, this.body);
    this.list = new VirtualList(this.body, (i) => this.row(i), (i, event) => open(this.rows[i], event));
  }

  row(i) {
    const cells = this.columns.map((column) => {
      const value = column.text(this.rows[i]);
      const cell = h("span", { class: `cell ${column.css}`, role: "gridcell" });
      if (value instanceof Node) cell.append(value);
      else {
        cell.textContent = value;
        if (column.long) cell.title = value;
      }
      return cell;
    });
    const row = h("div", { class: "row", role: "row", "aria-rowindex": i + 1 }, ...cells);
    if (this.mark) row.classList.add(...this.mark(this.rows[i]));
    return row;
  }

  set(rows) {
    this.source = rows;
    this.body.setAttribute("aria-rowcount", rows.length);
    this.arrange();
  }

  sort(at) {
    const column = this.columns[at];
    const down = this.order?.at === at ? !this.order.down : Boolean(column.num);
    this.order = { at, down };
    [...this.head.children].forEach((cell, n) => cell.setAttribute("aria-sort", n !== at ? "none" : down ? "descending" : "ascending"));
    this.arrange();
  }

  arrange() {
    this.rows = this.source;
    if (this.order) {
      const { at, down } = this.order;
      const key = this.columns[at].sort || this.columns[at].text;
      const keyed = Array.from(this.source, (row) => [key(row), row]);
      keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
      this.rows = keyed.map(([, row]) => row);
    }
    this.list.set(this.rows.length);
  }
}
