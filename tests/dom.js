// As much of a browser as the page of a report needs: elements by their ids, events, and a clock that stands still.
"use strict";

class Element {
  constructor(tag, { hidden, max, value } = {}) {
    Object.assign(this, { tag, hidden: hidden !== undefined, textContent: "", className: "", title: "" });
    Object.assign(this, { style: {}, children: [], listeners: {}, limit: Number(max ?? 100), current: value ?? "" });
    Object.assign(this, { scrollHeight: 0, clientHeight: 0 });
  }

  get max() { return String(this.limit); }
  set max(value) { this.limit = Number(value); this.value = this.current; }

  get value() { return this.current; }
  set value(value) { this.current = this.tag === "input" ? String(Math.min(Number(value), this.limit)) : String(value); }

  replaceChildren(...children) {
    this.children = children;
    if (this.tag === "select") this.current = children[0].value;
  }

  addEventListener(name, listener) { this.listeners[name] = listener; }
}

class Option {
  constructor(text, value) { Object.assign(this, { text, value }); }
}

const elements = {}, timers = new Map();
const document = {
  getElementById: (id) => elements[id] ?? null,
  createElement: (tag) => new Element(tag),
};
let lastTimer = 0;
const setInterval = (action) => { timers.set(++lastTimer, action); return lastTimer; };
const clearInterval = (timer) => { timers.delete(timer); };

// For tests.
const tick = () => { for (const action of [...timers.values()]) action(); return timers.size; };
const set = (id, value, event) => { elements[id].value = value; elements[id].listeners[event](); };
const click = (id) => { elements[id].listeners.click(); };
const shown = () => JSON.stringify({
  hidden: elements.samples.hidden,
  sets: elements.set.children.map((option) => option.text),
  prompt: elements.prompt.children.map((block) => block.children.map((e) => e.textContent)),
  columns: elements.columns.children.map((e) => e.textContent),
  kinds: elements.kind.children.map((option) => option.text),
  note: elements.note.textContent,
  place: elements.place.textContent,
  count: elements.count.textContent,
  step: Number(elements.step.value),
  play: elements.play.textContent,
  answers: elements.answers.children.map(({ children: [head, text] }) => ({
    head: head.textContent,
    tokens: text.children.map((e) => [e.textContent, e.className, e.style.background ?? "", e.title]),
  })),
});
