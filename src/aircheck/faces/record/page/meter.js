// The level meter: peaks of the sound, from -60 dB to full scale.

const FLOOR_DB = -60;
const LOUD_DB = -9;
const CLIPPING_DB = -1;
const FALL_DB_PER_FRAME = 0.8;
const SPOKEN_EVERY_MS = 500;

export class Meter {
  #element;
  #bar;
  #context = null;
  #frame = 0;
  #shown_db = FLOOR_DB;
  #spoken_at = 0;

  constructor(element) {
    this.#element = element;
    this.#bar = element.firstElementChild;
  }

  /** Shows the sound of a stream; one without sound shows an empty meter. */
  follow(stream) {
    this.stop();
    const has_sound = stream.getAudioTracks().length > 0;
    this.#element.classList.toggle("absent", !has_sound);
    if (!has_sound) return;
    this.#context = new AudioContext();
    // Browsers let sound be looked at only after somebody has touched the page.
    if (this.#context.state === "suspended") {
      const context = this.#context;
      const resume = () => context.state === "suspended" && context.resume();
      for (const touch of ["pointerdown", "keydown"]) addEventListener(touch, resume, { once: true });
    }
    const analyser = new AnalyserNode(this.#context, { fftSize: 2048 });
    this.#context.createMediaStreamSource(stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const look = (now_ms) => {
      analyser.getFloatTimeDomainData(samples);
      this.#show(peak_db(samples), now_ms);
      this.#frame = requestAnimationFrame(look);
    };
    this.#frame = requestAnimationFrame(look);
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    // Not twice: its state says so only when it is done.
    this.#context?.close();
    this.#context = null;
    this.#show(FLOOR_DB, 0);
  }

  #show(level_db, now_ms) {
    this.#shown_db = Math.max(level_db, this.#shown_db - FALL_DB_PER_FRAME);
    const part = Math.min(1, Math.max(0, 1 - this.#shown_db / FLOOR_DB));
    this.#bar.style.transform = `scaleX(${part.toFixed(3)})`;
    this.#element.classList.toggle("loud", this.#shown_db > LOUD_DB);
    this.#element.classList.toggle("clipping", this.#shown_db > CLIPPING_DB);
    if (now_ms - this.#spoken_at > SPOKEN_EVERY_MS) {
      this.#spoken_at = now_ms;
      this.#element.setAttribute("aria-valuenow", Math.round(part * 100));
      this.#element.setAttribute("aria-valuetext", `${Math.round(this.#shown_db)} decibels`);
    }
  }
}

function peak_db(samples) {
  let peak = 0;
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
  return peak > 0 ? Math.max(FLOOR_DB, 20 * Math.log10(peak)) : FLOOR_DB;
}
