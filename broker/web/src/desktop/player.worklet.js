// Plays s16le stereo of 48 kHz as it comes: some 60 ms are kept, more than 300 ms are let go.
const KEPT = 2_880;
const MOST = 14_400;

registerProcessor(
  "desk-player",
  class extends AudioWorkletProcessor {
    constructor() {
      super();
      this.parts = [];
      this.frames = 0;
      this.at = 0; // in the first part, in frames
      this.playing = false;
      this.port.onmessage = ({ data }) => this.take(data);
    }

    take(samples) {
      this.parts.push(samples);
      this.frames += samples.length / 2;
      while (this.frames > MOST) {
        this.frames -= this.parts.shift().length / 2 - this.at;
        this.at = 0;
      }
    }

    process(_inputs, [[left, right]]) {
      if (!this.playing) this.playing = this.frames >= KEPT;
      for (let n = 0; this.playing && n < left.length; n += 1) {
        const [part] = this.parts;
        if (part === undefined) {
          this.playing = false;
          break;
        }
        left[n] = part[2 * this.at] / 32_768;
        if (right) right[n] = part[2 * this.at + 1] / 32_768;
        this.at += 1;
        this.frames -= 1;
        if (2 * this.at >= part.length) {
          this.parts.shift();
          this.at = 0;
        }
      }
      return true;
    }
  },
);
