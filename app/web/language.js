/** The page's language: which one it is, and every text in it, so that a switch leaves the rest of the page alone. */

import { MESSAGES } from "./messages.js";

const STORED = "language";

/** Where a message can stand on an element, by the data attribute that names it. */
const PLACES = {
  say: (element, text) => (element.textContent = text),
  sayLabel: (element, text) => element.setAttribute("aria-label", text),
  sayValue: (element, text) => element.setAttribute("aria-valuetext", text),
  sayAlt: (element, text) => (element.alt = text),
};

const valuesOf = new WeakMap();
let language = "en";

/** Return a message in the page's language, its {places} filled from `values`. */
export function message(key, values = {}) {
  return MESSAGES[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/**
 * Put messages on an element, now and after every switch of the language.
 *
 * @param {Element} element
 * @param {string | Object<string, string>} keys - Of its text, or by place: `{say, sayLabel, sayValue, sayAlt}`.
 * @param {Object<string, string | number>} values - For the messages' {places}.
 */
export function say(element, keys, values = {}) {
  Object.assign(element.dataset, typeof keys === "string" ? { say: keys } : keys);
  if (element.dataset.say) element.removeAttribute("lang");
  valuesOf.set(element, values);
  translate(element);
}

/** Put a text on an element that is not the page's own: the service's, always English, or a file's name. */
export function quote(element, text, textLanguage = "") {
  delete element.dataset.say;
  element.textContent = text;
  element.lang = textLanguage;
}

/** Start in the language chosen before, else in the browser's first that the page speaks, else in English. */
export function startLanguage() {
  const wanted = [stored(), ...navigator.languages.map((tag) => tag.split("-")[0])];
  show(wanted.find((name) => name && Object.hasOwn(MESSAGES, name)) ?? "en");
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      store(button.dataset.language);
      show(button.dataset.language);
    });
  }
}

function show(name) {
  language = name;
  document.documentElement.lang = name;
  document.title = message("title");
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === name));
  }
  translateAll(document);
}

/** Put the messages that a part of the page names into the page's language. */
export function translateAll(root) {
  const places = Object.keys(PLACES).map((place) => `[data-${place.replace(/[A-Z]/, (c) => `-${c.toLowerCase()}`)}]`);
  root.querySelectorAll(places.join()).forEach(translate);
}

function translate(element) {
  for (const [place, put] of Object.entries(PLACES)) {
    const key = element.dataset[place];
    if (key) put(element, message(key, valuesOf.get(element)));
  }
}

// A browser can forbid storage: the choice then lasts as long as the page.
function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function store(name) {
  try {
    localStorage.setItem(STORED, name);
  } catch {
    // As above.
  }
}
