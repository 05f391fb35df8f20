/**
 * What is under way, many thousand items a second, few at a time.
 *
 * In place of a Set, whose outgrown tables hold on to what was in them until the next full collection of garbage: each post would be copied
 * twice, with all that it refers to.
 */
export class FreeList<Item> {
  readonly #items: (Item | undefined)[] = [];
  readonly #free: number[] = [];

  /** @returns the number of its slot, for {@link remove} */
  add(item: Item): number {
    const slot = this.#free.pop() ?? this.#items.length;
    this.#items[slot] = item;
    return slot;
  }

  get(slot: number): Item | undefined {
    return this.#items[slot];
  }

  remove(slot: number): void {
    this.#items[slot] = undefined;
    this.#free.push(slot);
  }

  get isEmpty(): boolean {
    return this.#free.length === this.#items.length;
  }

  *[Symbol.iterator](): Generator<Item> {
    for (const item of this.#items) if (item !== undefined) yield item;
  }
}
