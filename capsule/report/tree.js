// The process tree: rows are programs; siblings that repeat one program are folded into one row.

const FOLD_FROM = 4;
const OPEN_UNTIL = 40;

class ProcessTree {
  /** `select(node)` is called for a click; node null takes the selection away. */
  constructor(el, model, select) {
    Object.assign(this, { model, select, open: new Set(), selected: null });
    this.kin = new Map();
    this.list = new VirtualList(el, (i) => this.draw(this.rows[i]), (i, event) => this.clicked(i, event));
    this.list.key = (i, event) => this.key(i, event);
    this.unfold();
  }

  /** The children of a node (null: the roots) as entries: a node, or a fold of several. */
  entries(node) {
    if (this.kin.has(node)) return this.kin.get(node);
    const found = [];
    const children = node ? node.children : this.model.roots;
    for (let from = 0; from < children.length;) {
      let to = from + 1;
      while (to < children.length && children[to].name === children[from].name) to++;
      const members = children.slice(from, to).map((child) => ({ node: child, kids: null, of: child }));
      if (members.length >= FOLD_FROM) found.push({ fold: members, of: children[from] });
      else found.push(...members);
      from = to;
    }
    this.kin.set(node, found);
    return found;
  }

  below(entry) {
    return entry.fold || this.entries(entry.node);
  }

  /** Open level after level until the rows fill a pane. */
  unfold() {
    let level = this.entries(null);
    let shown = level.length;
    while (level.length) {
      const next = [];
      for (const entry of level) {
        const kids = this.below(entry);
        if (!kids.length || entry.fold || shown + kids.length > OPEN_UNTIL) continue;
        this.open.add(entry);
        shown += kids.length;
        next.push(...kids);
      }
      level = next;
    }
    this.flatten();
  }

  flatten(keep) {
    this.rows = [];
    const stack = [];
    const push = (entries, depth) => {
      for (let i = entries.length - 1; i >= 0; i--) stack.push([entries[i], depth, i + 1, entries.length]);
    };
    push(this.entries(null), 0);
    while (stack.length) {
      const [entry, depth, position, total] = stack.pop();
      this.rows.push({ entry, depth, position, total });
      if (this.open.has(entry)) push(this.below(entry), depth + 1);
    }
    this.list.set(this.rows.length, keep);
  }

  draw({ entry, depth, position, total }) {
    const kids = this.below(entry);
    const open = this.open.has(entry);
    const node = entry.node;
    const of = entry.fold ? entry.fold.map((one) => one.node) : [node];
    const bad = of.filter((one) => isBad(one.end));
    const tags = new Set(of.flatMap((one) => [...one.tags]));
    const words = harmless(entry.fold ? entry.of.name : node.words);
    const row = h("div", {
      class: "row", role: "treeitem", "aria-level": depth + 1, "aria-posinset": position, "aria-setsize": total,
      "aria-expanded": kids.length ? String(open) : null,
      "aria-selected": String(node !== undefined && node === this.selected),
    },
    h("span", { class: "twist", "aria-hidden": "true" }, kids.length ? (open ? "▾" : "▸") : ""),
    entry.fold ? null : h("span", { class: "pid" }, String(node.pid ?? "–")),
    h("span", { class: `words${node?.forked ? " forked" : ""}`, title: words }, entry.fold ? h("b", {}, words) : this.words(node)),
    entry.fold ? h("span", { class: "times" }, `× ${number(of.length)}`) : null,
    tags.size ? h("span", { class: "tag", title: [...tags].join(" ") }, tags.size === 1 ? [...tags][0] : `${tags.size} tags`) : null,
    h("span", { class: `end${bad.length ? " bad" : ""}` }, entry.fold ? (bad.length ? `${number(bad.length)} ended badly` : "") : isBad(node.end) ? node.end : ""),
    h("span", { class: "took" }, entry.fold ? "" : duration(node.last - node.first)));
    row.firstChild.style.marginLeft = `${Math.min(depth, 24) * 14}px`;
    return row;
  }

  /** The program's name stands out from its words. */
  words(node) {
    const [name, ...rest] = node.argv.length ? node.argv.map((word) => harmless(quoted(word))) : [harmless(node.name)];
    const span = h("bdi", {}, h("b", {}, name), rest.length ? ` ${rest.join(" ")}` : "");
    return node.forked ? h("span", {}, "(", span, ")") : span;
  }

  toggle(i, open = !this.open.has(this.rows[i].entry)) {
    const { entry } = this.rows[i];
    if (!this.below(entry).length) return;
    if (open) this.open.add(entry);
    else this.open.delete(entry);
    this.flatten(true);
  }

  clicked(i, event) {
    const { entry } = this.rows[i];
    if (entry.fold || event.target.classList?.contains("twist")) this.toggle(i);
    else this.select(entry.node === this.selected ? null : entry.node);
  }

  key(i, event) {
    const { entry, depth } = this.rows[i];
    const open = this.open.has(entry);
    if (event.key === "ArrowRight") {
      if (open) this.list.go(i + 1);
      else this.toggle(i, true);
    } else if (event.key === "ArrowLeft") {
      if (open) this.toggle(i, false);
      else for (let at = i; at >= 0; at--) if (this.rows[at].depth < depth) { this.list.go(at); break; }
    } else if (event.key === " ") this.toggle(i);
    else return false;
    return true;
  }

  every(open) {
    this.open.clear();
    const pending = open ? [...this.entries(null)] : [];
    while (pending.length) {
      const entry = pending.pop();
      const kids = this.below(entry);
      if (kids.length) this.open.add(entry);
      for (const kid of kids) pending.push(kid);
    }
    this.flatten();
  }

  /** Mark a node as selected, open what it is in, and bring it into view. */
  mark(node, move) {
    this.selected = node;
    if (node && move) {
      const path = [];
      for (let at = node; at; at = this.model.nodes[at.parent]) path.unshift(at);
      let parent = null;
      for (const step of path) {
        for (const entry of this.entries(parent)) {
          if (!(entry.fold || [entry]).some((one) => one.node === step)) continue;
          if (entry.fold) this.open.add(entry);
          const own = (entry.fold || [entry]).find((one) => one.node === step);
          if (step !== node) this.open.add(own);
        }
        parent = step;
      }
      this.flatten(true);
      this.list.go(this.rows.findIndex(({ entry }) => entry.node === node));
    } else this.list.render();
  }
}
