// A WHIP client (RFC 9725): one offer, one answer, ICE restarts when the network changes.

import { LOST, NO_CONNECTION, UNREACHABLE, ofAnswer } from "./words.js";

const CONNECT_MS = 12_000;
const RESTART_AFTER_MS = 3_000;
const FRAGMENT = "application/trickle-ice-sdpfrag";

/** Something to be shown as it is. `status` is that of the server's answer, if it gave one. */
export class WhipError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class Whip {
  /** Called with a message when the connection is lost for good. */
  onlost = () => {};

  #url;
  #token;
  #pc;
  #session = "";
  #timer = 0;
  #was_lost = false;

  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /** Sends the stream; returns when media flows. Raises WhipError. */
  async start(stream) {
    this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    for (const track of stream.getTracks()) {
      this.#pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    }
    try {
      await this.#pc.setLocalDescription();
      const answer = await this.#post(this.#pc.localDescription.sdp);
      await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
      await this.#connected();
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.#pc.addEventListener("connectionstatechange", () => this.#changed());
  }

  /** Ends the session. The server learns of it even when the page is being closed. */
  async stop() {
    clearTimeout(this.#timer);
    const session = this.#session;
    this.#session = "";
    if (session) {
      const headers = this.#authorization();
      await fetch(session, { method: "DELETE", headers, keepalive: true }).catch(() => {});
    }
    this.#pc?.close();
  }

  async #post(offer) {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/sdp", ...this.#authorization() },
      body: offer,
    }).catch(() => {
      throw new WhipError(UNREACHABLE);
    });
    if (response.status !== 201) throw new WhipError(await ofAnswer(response), response.status);
    this.#session = new URL(response.headers.get("location"), response.url).href;
    return response.text();
  }

  #authorization() {
    return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
  }

  #connected() {
    const pc = this.#pc;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new WhipError(NO_CONNECTION)), CONNECT_MS);
      const look = () => {
        if (pc.connectionState === "connected") resolve();
        else if (pc.connectionState === "failed") reject(new WhipError(NO_CONNECTION));
        else return;
        clearTimeout(timer);
        pc.removeEventListener("connectionstatechange", look);
      };
      pc.addEventListener("connectionstatechange", look);
      look();
    });
  }

  #changed() {
    clearTimeout(this.#timer);
    const state = this.#pc.connectionState;
    if (state === "connected") {
      this.#was_lost = false;
    } else if (this.#session && state === "disconnected") {
      this.#timer = setTimeout(() => this.#restart(), RESTART_AFTER_MS);
    } else if (this.#session && state === "failed") {
      if (this.#was_lost) this.#lose();
      else this.#restart();
    }
  }

  /** A new way to the server for the same session (RFC 9725 4.3.3); tried once each time it is lost. */
  async #restart() {
    this.#was_lost = true;
    try {
      await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: true }));
      const response = await fetch(this.#session, {
        method: "PATCH",
        headers: { "content-type": FRAGMENT, "if-match": "*", ...this.#authorization() },
        body: credentials(this.#pc.localDescription.sdp),
      });
      if (response.status !== 200) throw new WhipError(await ofAnswer(response), response.status);
      const answer = renewed(this.#pc.remoteDescription.sdp, await response.text());
      await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch {
      this.#lose();
    }
  }

  #lose() {
    this.#session = "";
    this.#pc.close();
    this.onlost(LOST);
  }
}

function credentials(sdp) {
  const lines = ["ice-ufrag", "ice-pwd"].map((name) => sdp.match(new RegExp(`^a=${name}:.*$`, "m"))[0].trim());
  return lines.join("\r\n") + "\r\n";
}

/** The server's description with the ICE credentials of a fragment. */
function renewed(sdp, fragment) {
  let result = sdp;
  for (const name of ["ice-ufrag", "ice-pwd"]) {
    const [line] = fragment.match(new RegExp(`^a=${name}:[^\r\n]*`, "m"));
    result = result.replace(new RegExp(`^a=${name}:[^\r\n]*`, "gm"), () => line);
  }
  return result;
}
