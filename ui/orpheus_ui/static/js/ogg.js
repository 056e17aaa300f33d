// Opus packets out of an Ogg stream (RFC 3533, RFC 7845), as its bytes come.

const HEADER_BYTES = 27;
const ENDS = 4; // the flag of a stream's last page

/** Takes bytes in any pieces; what it knows of the stream are its samples at 48 kHz. */
export class OggOpus {
  /** Samples in front that are not to be heard; null until the head has come. */
  preSkip = null;
  /** How many are to be heard in all; null until the last page has come. */
  total = null;
  #rest = new Uint8Array(0);
  #open = []; // the pieces of a packet that goes on on the next page
  #headers = 2; // packets before the sound: OpusHead and OpusTags

  /** The packets that are complete with `bytes`. Throws where it is no Ogg stream. */
  push(bytes) {
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    const packets = [];
    let at = 0;
    for (let size = pageSize(all, at); size; size = pageSize(all, at)) {
      this.#page(all.subarray(at, at + size), packets);
      at += size;
    }
    this.#rest = all.slice(at);
    return packets;
  }

  #page(page, packets) {
    const segments = page[HEADER_BYTES - 1];
    let at = HEADER_BYTES + segments;
    let from = at;
    for (let i = 0; i < segments; i += 1) {
      const length = page[HEADER_BYTES + i];
      at += length;
      if (length === 255) continue; // the packet goes on
      this.#open.push(page.slice(from, at));
      from = at;
      this.#packet(joined(this.#open), packets);
      this.#open = [];
    }
    if (from < at) this.#open.push(page.slice(from, at));
    if (page[5] & ENDS) this.total = Number(view(page).getBigInt64(6, true)) - (this.preSkip ?? 0);
  }

  #packet(packet, packets) {
    if (this.#headers === 0) packets.push(packet);
    else if (this.#headers === 2) this.preSkip = view(packet).getUint16(10, true);
    this.#headers = Math.max(0, this.#headers - 1);
  }
}

/** The bytes of the page at a place; 0 while it is not there as a whole. */
function pageSize(bytes, at) {
  if (bytes.length - at < HEADER_BYTES) return 0;
  if (String.fromCharCode(...bytes.subarray(at, at + 4)) !== "OggS") throw new TypeError("Ogg");
  const segments = bytes[at + HEADER_BYTES - 1];
  if (bytes.length - at < HEADER_BYTES + segments) return 0;
  const body = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + segments).reduce((sum, each) => sum + each, 0);
  const size = HEADER_BYTES + segments + body;
  return bytes.length - at < size ? 0 : size;
}

const view = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function joined(pieces) {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(pieces.reduce((sum, each) => sum + each.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
