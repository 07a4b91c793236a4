/** One image of the page: its progress, and then its answer or why there is none. */

import { drawHeatmap } from "./heatmap.js";
import { message, quote, say, translateAll } from "./language.js";

/** Places in a probability's percentage; more where it would else look equal to the threshold. */
const PLACES = 1;
const MOST_PLACES = 4;

/** Of the two labels the one that the threshold belongs to: the model's second, COVID-19. */
const POSITIVE = 1;

/** Statuses that the page has a title for. */
const TITLED = new Set([400, 401, 403, 408, 413, 415, 422, 429, 500, 503, 504]);

/** What the input gate says, which the page has titles for. */
const UNLIKE_TRAINING = new Set([
  "blank_image",
  "inverted_image",
  "rotated_image",
  "not_a_chest_radiograph",
  "colour_image",
]);

/** Refusals that are not for what was sent: another try can end otherwise. */
const PASSING = new Set([401, 408, 429]);

const template = document.getElementById("result");
const barTemplate = document.getElementById("bar");

export class Result {
  /** "open", "answered" or "failed". */
  state = "open";
  /** Of the last try, where it failed. */
  problem = null;
  #localPreview = null;

  /**
   * @param {File} file
   * @param {{onRemove: function(Result): void, onAgain: function(Result): void}} actions
   */
  constructor(file, { onRemove, onAgain }) {
    this.file = file;
    this.element = template.content.firstElementChild.cloneNode(true);
    translateAll(this.element);
    quote(this.#find(".name"), file.name);
    say(this.#find(".remove"), { sayLabel: "removeThis" }, { name: file.name });
    say(this.#find(".again"), { sayLabel: "tryThisAgain" }, { name: file.name });
    this.#find(".remove").addEventListener("click", () => onRemove(this));
    this.#find(".again").addEventListener("click", () => onAgain(this));
    this.#find("input").addEventListener("input", () => this.#setOpacity());
    this.#setOpacity();
  }

  /** It stands in the queue. */
  wait() {
    this.state = "open";
    this.problem = null;
    this.abort = new AbortController();
    this.#show(".state");
    say(this.#find(".state"), "waiting");
  }

  /** It is on its way: show what the browser itself can show of it. */
  send() {
    say(this.#find(".state"), "computing");
    this.#localPreview = URL.createObjectURL(this.file);
    const image = this.#find(".film img");
    image.addEventListener("load", () => this.state === "open" && this.#show(".state", ".answer"), { once: true });
    image.src = this.#localPreview;
  }

  /** The service is to be tried again in some seconds. */
  postpone(seconds) {
    say(this.#find(".state"), "busy", { seconds });
  }

  /** @param {Object} answer - Of `POST /predict?explain=true&preview=true`. */
  async answer(answer) {
    this.state = "answered";
    this.element.classList.add("is-answered");
    this.#showReading(answer);
    this.#show(".answer");
    const image = this.#find(".film img");
    image.src = `data:image/png;base64,${answer.preview}`;
    say(image, { sayAlt: "preview" });
    await image.decode();
    this.#release();
    const canvas = this.#find(".heatmap");
    drawHeatmap(canvas, answer.heatmap, image, answer.input);
    say(canvas, { sayLabel: "heatmap" });
    this.#outline(answer.input);
  }

  /** @param {Problem} problem */
  fail(problem) {
    this.state = "failed";
    this.problem = problem;
    this.#release();
    const title = titleOf(problem);
    say(this.#find(".refusal-title"), title);
    const detail = this.#find(".refusal-detail");
    if (problem.detail) quote(detail, problem.detail, "en");
    else say(detail, problem.status ? "statusOnly" : `${problem.code}Detail`, { status: problem.status });
    const code = this.#find(".refusal-code");
    code.hidden = !problem.request;
    say(code, "codeAndRequest", { code: problem.code, request: problem.request });
    this.#show(".refusal");
    this.#find(".again").hidden = problem.status >= 400 && problem.status < 500 && !PASSING.has(problem.status);
  }

  /** Take it off the page. */
  remove() {
    this.abort.abort();
    this.#release();
    this.element.remove();
  }

  /** What a screen reader says of it, in the page's language. */
  spoken() {
    const name = this.file.name;
    if (this.problem) {
      const detail = this.#find(".refusal-detail").textContent;
      return `${message("refused", { name, title: message(titleOf(this.problem)) })}. ${detail}`;
    }
    const count = this.#find(".warnings").childElementCount;
    const warned = count ? ` ${message("announcedWarnings", { count })}` : "";
    return message("announced", { name, ...this.summary }) + warned;
  }

  #showReading({ label, probabilities, threshold, model, input, warnings, request_id: request }) {
    const [positive, probability] = Object.entries(probabilities)[POSITIVE];
    const places = placesFor(probability, threshold);
    this.summary = { label, positive, probability: percent(probability, places), threshold: percent(threshold, places) };
    quote(this.#find(".decision strong"), label);
    say(this.#find(".comparison"), label === positive ? "above" : "below", { label: positive });
    const bars = Object.entries(probabilities).map(([name, value]) =>
      bar(name, value, percent(value, places), name === positive ? threshold : null, this.summary.threshold),
    );
    this.#find(".bars").replaceChildren(...bars.reverse());
    this.#find(".warnings").replaceChildren(...warnings.map(warningItem));
    const facts = { ...input, interpretation: input.photometric_interpretation };
    say(this.#find(".fact-image"), facts.interpretation ? "dicomFacts" : "imageFacts", facts);
    say(this.#find(".fact-model"), "modelVersion", model);
    quote(this.#find(".fact-request"), request);
  }

  /** Where the model saw a part of the image alone, show which; the film is a square with the image in its middle. */
  #outline({ width, height, seen_region: seen }) {
    if (seen.width === width && seen.height === height) return;
    const side = Math.max(width, height);
    const percentages = {
      left: seen.left + (side - width) / 2,
      top: seen.top + (side - height) / 2,
      width: seen.width,
      height: seen.height,
    };
    const outline = this.#find(".seen");
    for (const [name, pixels] of Object.entries(percentages)) outline.style[name] = `${(100 * pixels) / side}%`;
    outline.hidden = this.#find(".seen-note").hidden = false;
  }

  #setOpacity() {
    const slider = this.#find("input");
    this.#find("output").textContent = `${slider.value}%`;
    this.element.style.setProperty("--opacity", slider.value / 100);
  }

  #release() {
    if (this.#localPreview) URL.revokeObjectURL(this.#localPreview);
    this.#localPreview = null;
  }

  #show(...parts) {
    for (const part of [".state", ".answer", ".refusal"]) this.#find(part).hidden = !parts.includes(part);
    this.#find(".again").hidden = true;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

function titleOf({ status, code }) {
  if (!status || UNLIKE_TRAINING.has(code)) return code;
  return TITLED.has(status) ? `http${status}` : "httpOther";
}

/** As few places as keep a probability apart from the threshold. */
function placesFor(probability, threshold) {
  let places = PLACES;
  while (places < MOST_PLACES && probability !== threshold && percent(probability, places) === percent(threshold, places)) {
    places += 1;
  }
  return places;
}

/** Write a probability as a percentage; one that is not certain never looks so. */
export function percent(probability, places = PLACES) {
  const least = 10 ** -places;
  if (probability > 0 && 100 * probability < least) return `<${least}%`;
  if (probability < 1 && 100 * probability > 100 - least) return `>${(100 - least).toFixed(places)}%`;
  return `${(100 * probability).toFixed(places)}%`;
}

function bar(name, probability, text, threshold, thresholdText) {
  const element = barTemplate.content.firstElementChild.cloneNode(true);
  quote(element.querySelector(".bar-label"), name);
  quote(element.querySelector(".bar-value"), text);
  element.style.setProperty("--probability", probability);
  const track = element.querySelector(".bar-track");
  track.setAttribute("aria-valuenow", (100 * probability).toFixed(2));
  const value = threshold === null ? "probability" : "probabilityAndThreshold";
  say(track, { sayLabel: "probabilityOf", sayValue: value }, { label: name, probability: text, threshold: thresholdText });
  if (threshold === null) return element;
  element.style.setProperty("--threshold", threshold);
  const note = element.querySelector(".bar-note");
  say(note, "thresholdAt", { threshold: thresholdText });
  element.querySelector(".bar-threshold").hidden = note.hidden = false;
  return element;
}

function warningItem(warning) {
  const item = document.createElement("li");
  const label = item.appendChild(document.createElement("strong"));
  say(label, "warning");
  const text = document.createElement("span");
  quote(text, warning.message, "en");
  item.append(" ", text);
  return item;
}
