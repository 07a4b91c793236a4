/** Runs asynchronous tasks in the order they came, a few at a time. */
export class Queue {
  #free;
  #waiting = [];

  /** @param {number} most - Tasks at a time. */
  constructor(most) {
    this.#free = most;
  }

  /** @param {function(): Promise<void>} task - Must not reject. */
  add(task) {
    this.#waiting.push(task);
    this.#startNext();
  }

  #startNext() {
    if (!this.#free || !this.#waiting.length) return;
    this.#free -= 1;
    const task = this.#waiting.shift();
    task().finally(() => {
      this.#free += 1;
      this.#startNext();
    });
  }
}
