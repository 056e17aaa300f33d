import assert from "node:assert/strict";
import { test } from "node:test";

import { Drafts } from "../../../ui/orpheus_ui/static/js/drafts.js";
import { GoneError, History, MOST_SPEECHES } from "../../../ui/orpheus_ui/static/js/history.js";
import { Keeping } from "../../../ui/orpheus_ui/static/js/keeping.js";
import { Recording } from "../../../ui/orpheus_ui/static/js/recording.js";
import { Remembered } from "../../../ui/orpheus_ui/static/js/remembered.js";
import { Memory } from "../../../ui/orpheus_ui/static/js/stored.js";

const HOUR = 3600_000;

/** As the browser's own: what is kept are its own properties. */
class Storage {
  getItem(key) {
    return this[key] ?? null;
  }
  setItem(key, value) {
    this[key] = value;
  }
  removeItem(key) {
    delete this[key];
  }
}

const remembering = (storage = new Storage()) => new Remembered(() => storage);

test("a tab that is loaded anew has its own text again, and a closed one's goes to the next", () => {
  const everywhere = remembering();
  const [first, second, third] = [remembering(), remembering(), remembering()];
  const one = new Drafts(everywhere, first);
  const two = new Drafts(everywhere, second);
  assert.equal(one.open(), "");
  assert.equal(two.open(), "");
  one.keep("one");
  two.keep("two");
  one.release("one");
  assert.equal(new Drafts(everywhere, first).open(), "one");
  assert.equal(new Drafts(everywhere, third).open(), "");
  two.release("two");
  assert.equal(new Drafts(everywhere, remembering()).open(), "two");
});

test("a copy of a tab begins with its text, and each goes on with its own", () => {
  const everywhere = remembering();
  const here = new Storage();
  const one = new Drafts(everywhere, remembering(here));
  one.open();
  one.keep("one");
  const copied = Object.assign(new Storage(), here);
  const copy = new Drafts(everywhere, remembering(copied));
  assert.equal(copy.open(), "one");
  copy.keep("another");
  one.release("one");
  copy.release("another");
  assert.equal(new Drafts(everywhere, remembering(here)).open(), "one");
  assert.equal(new Drafts(everywhere, remembering(copied)).open(), "another");
});

test("what a tab that died had is found again after a while", () => {
  let now = 0;
  const everywhere = remembering();
  const dead = new Drafts(everywhere, remembering(), () => now);
  dead.open();
  dead.keep("unsaved");
  assert.equal(new Drafts(everywhere, remembering(), () => now).open(), "");
  now = 13 * HOUR;
  assert.equal(new Drafts(everywhere, remembering(), () => now).open(), "unsaved");
});

test("without storage, or with one that is full, a value is remembered until the page is left", () => {
  const full = new Storage();
  full.setItem("orpheus.voice", '"tara"');
  full.setItem = () => {
    throw new Error("full");
  };
  for (const open of [() => full, () => { throw new Error("forbidden"); }]) {
    const remembered = new Remembered(open);
    remembered.remember("voice", "leo");
    assert.equal(remembered.recall("voice", null), "leo");
    assert.deepEqual(remembered.names("voi"), ["voice"]);
    remembered.forget("voice");
    assert.equal(remembered.recall("voice", "none"), "none");
  }
});

const speech = (created, seconds = 1) => ({ text: "Hello.", voice: "tara", created, facts: { audioSeconds: seconds } });

async function add(history, made) {
  const id = history.begin();
  await history.finish(id, made, new Int16Array(8), 0);
  return id;
}

async function filled(count, { seconds = 1, now = () => 0 } = {}) {
  let changes = 0;
  const history = new History(() => (changes += 1), async () => new Memory(), now);
  const ids = [];
  for (let i = 0; i < count; i += 1) ids.push(await add(history, speech(i, seconds)));
  return { history, ids, changes: () => changes };
}

test("the oldest make room, and before that it is said", async () => {
  const { history, ids } = await filled(MOST_SPEECHES - 11);
  assert.equal((await history.room()).nearlyFull, false);
  await add(history, speech(1_000));
  assert.equal((await history.room()).nearlyFull, true);
  for (let i = 0; i < 11; i += 1) await add(history, speech(2_000 + i));
  const kept = await history.list();
  assert.equal(kept.length, MOST_SPEECHES);
  assert.ok(!kept.some(({ id }) => id === ids[0]));
  await assert.rejects(history.samples(ids[0]), GoneError);
});

test("a speech that is longer than all the room there is, is kept alone", async () => {
  const { history } = await filled(2, { seconds: 9_000 });
  assert.equal((await history.list()).length, 1);
});

test("what was deleted can be restored with its sound, for five minutes", async () => {
  let now = 1;
  const { history, ids, changes } = await filled(2, { now: () => now });
  await history.remove(ids);
  assert.deepEqual(await history.list(), []);
  await history.restore([ids[1]]);
  assert.deepEqual((await history.list()).map(({ id }) => id), [ids[1]]);
  assert.equal((await history.samples(ids[1])).length, 8);
  now += 6 * 60_000;
  await add(history, speech(9));
  await history.restore([ids[0]]);
  assert.equal((await history.list()).length, 2);
  assert.ok(changes() >= 5);
});

test("a name stays with a speech", async () => {
  const { history, ids } = await filled(1);
  await history.rename(ids[0], "The opening");
  assert.equal((await history.list())[0].name, "The opening");
});

test("a speech that is being made stands in the history of other tabs, and once in all when it has ended", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const store = new Memory();
  const [here, elsewhere] = [1, 2].map(() => new History(() => {}, async () => store));
  const recording = new Recording();
  const made = () => ({ ...speech(1, recording.length / 24_000), partial: "unfinished" });
  const keeping = new Keeping(here, made, () => recording.samples);
  const step = async () => {
    t.mock.timers.tick(250);
    await new Promise((resolve) => setImmediate(resolve));
  };
  await step();
  assert.deepEqual(await elsewhere.list(), []);
  for (const piece of [[1, 2], [3], []]) {
    recording.push(Int16Array.from(piece));
    await step();
  }
  assert.deepEqual(await here.list(), []);
  const [unfinished] = await elsewhere.list();
  assert.equal(unfinished.partial, "unfinished");
  assert.deepEqual([...(await elsewhere.samples(unfinished.id))], [1, 2, 3]);
  await elsewhere.rename(unfinished.id, "The opening");
  recording.push(Int16Array.from([4]));
  await keeping.end({ ...made(), partial: null });
  const [whole, ...others] = await here.list();
  assert.deepEqual(others, []);
  assert.deepEqual([whole.partial, whole.name], [null, "The opening"]);
  assert.deepEqual([...(await here.samples(whole.id))], [1, 2, 3, 4]);
});

test("what has come is written at once when the page is hidden, frozen or left", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [page, tab] = [new EventTarget(), new EventTarget()];
  const { addEventListener, removeEventListener } = globalThis;
  Object.assign(globalThis, { document: page, addEventListener: tab.addEventListener.bind(tab), removeEventListener: tab.removeEventListener.bind(tab) });
  t.after(() => {
    Object.assign(globalThis, { addEventListener, removeEventListener });
    delete globalThis.document;
  });
  const store = new Memory();
  const recording = new Recording();
  const keeping = new Keeping(new History(() => {}, async () => store), () => speech(1), () => recording.samples);
  for (const [target, event, sample] of [[page, "visibilitychange", 1], [page, "freeze", 2], [tab, "pagehide", 3]]) {
    recording.push(Int16Array.from([sample]));
    target.dispatchEvent(new Event(event));
    await new Promise((resolve) => setImmediate(resolve));
    const [{ id }] = await store.all();
    assert.equal((await store.samples(id)).at(-1), sample);
  }
  keeping.drop();
});

test("a speech that another tab deletes while it is made stays deleted, and comes back whole", async () => {
  const store = new Memory();
  const [here, elsewhere] = [1, 2].map(() => new History(() => {}, async () => store));
  const id = here.begin();
  await here.write(id, speech(1), Int16Array.from([1]), 0);
  await elsewhere.remove([id]);
  await here.finish(id, speech(1), Int16Array.from([2]), 1);
  assert.deepEqual(await here.list(), []);
  await elsewhere.restore([id]);
  assert.deepEqual([...(await here.samples(id))], [1, 2]);
});

test("a recording grows and loses nothing", () => {
  const recording = new Recording();
  const piece = Int16Array.from({ length: 100_000 }, (_, i) => i % 1_000);
  for (let i = 0; i < 5; i += 1) recording.push(piece);
  assert.equal(recording.length, 500_000);
  assert.deepEqual(recording.samples.slice(400_000), piece);
});
