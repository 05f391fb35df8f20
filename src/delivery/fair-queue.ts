/**
 * A queue that serves its flows in turn (round-robin). A flow with many items does not delay a flow
 * with few items. The items of one flow are served in their order.
 */
export class FairQueue<Item> {
  /** Flows in the order of their turns. The flow that was served last is at the end. */
  readonly #flows = new Map<string, Item[]>();
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(flow: string, item: Item): void {
    const items = this.#flows.get(flow);
    if (items) items.push(item);
    else this.#flows.set(flow, [item]);
    this.#length++;
  }

  /**
   * Removes and returns the first item of the next flow.
   *
   * @param isReady a flow that is not ready keeps its turn. Default: every flow is ready
   * @returns `undefined` if no ready flow has an item
   */
  shift(isReady: (flow: string) => boolean = () => true): Item | undefined {
    for (const [flow, items] of this.#flows) {
      if (!isReady(flow)) continue;
      const item = items.shift();
      // Move the flow behind the other flows.
      if (items.length === 0 || this.#flows.size > 1) this.#flows.delete(flow);
      if (items.length > 0) this.#flows.set(flow, items);
      this.#length--;
      return item;
    }
    return undefined;
  }

  /** Returns the item that {@link shift} would remove. */
  peek(): Item | undefined {
    for (const items of this.#flows.values()) return items[0];
    return undefined;
  }

  /** Removes an item from the queue. */
  remove(flow: string, item: Item): void {
    const items = this.#flows.get(flow);
    const index = items?.indexOf(item) ?? -1;
    if (!items || index < 0) return;
    items.splice(index, 1);
    this.#length--;
    if (items.length === 0) this.#flows.delete(flow);
  }
}
