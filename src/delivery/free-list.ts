/**
 * A set of items in flight: many thousand per second, but few at a time.
 *
 * It replaces a Set. A Set keeps outgrown tables with their items until the next major garbage
 * collection, so each post and its references would be copied twice.
 */
export class FreeList<Item> {
  readonly #items: (Item | undefined)[] = [];
  readonly #free: number[] = [];

  /** Adds an item. @returns its slot number, for {@link remove} */
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
