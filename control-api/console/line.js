// One call from this browser to the relay, by WHIP (RFC 9725).

import { ask } from './api.js';

// Each key and the pause behind it, in milliseconds: as a person would press them.
const KEY_MS = 100;
const PAUSE_MS = 70;
// Far from the frequencies of keys, so that no detector takes it for one.
const TONE_HZ = 440;
const TONE_GAIN = 0.2;
// Time to be connected in: on a network that lets it, it takes a second.
const PATIENCE_MS = 15_000;

/** A call; `changed` is told `connected` and `lost`. */
export class Line {
  #peer = new RTCPeerConnection();
  #audio = new AudioContext();
  #meter = this.#audio.createAnalyser();
  #stream;
  #sender;
  #path = '';

  /** Takes the microphone, or makes a tone. Throws an Error in words where it can't be had. */
  async listen(voice) {
    // Not waited for: without a loudspeaker it may never be done, and nothing here needs one.
    this.#audio.resume().catch(() => {});
    this.#stream = voice === 'tone' ? this.#tone() : await microphone();
    this.#audio.createMediaStreamSource(this.#stream).connect(this.#meter);
  }

  /** Places the call to `echo` or an address; `far` plays what comes back. The call's id. */
  async place(engine, far, changed) {
    const [track] = this.#stream.getAudioTracks();
    this.#sender = this.#peer.addTrack(track, this.#stream);
    this.#peer.addEventListener('track', (event) => {
      far.srcObject = new MediaStream([event.track]);
      far.play().catch(() => {});
    });
    this.#peer.addEventListener('connectionstatechange', () => {
      if (this.#peer.connectionState === 'connected') changed('connected');
      if (this.#peer.connectionState === 'failed') changed('lost');
    });
    await this.#peer.setLocalDescription();
    const answer = await ask('POST', `/v1/whip?engine=${encodeURIComponent(engine)}`, {
      body: this.#peer.localDescription.sdp, type: 'application/sdp',
    });
    this.#path = answer.headers.get('location');
    await this.#peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
    setTimeout(() => {
      if (['new', 'connecting'].includes(this.#peer.connectionState)) changed('lost');
    }, PATIENCE_MS);
    return this.#path.split('/').at(-1);
  }

  /** Whether keys can be sent: the relay has agreed to telephone-event. */
  get sendsKeys() {
    return Boolean(this.#sender?.dtmf?.canInsertDTMF);
  }

  /** Sends a key, behind those that are still being sent. */
  press(key) {
    const { dtmf } = this.#sender;
    dtmf.insertDTMF(dtmf.toneBuffer + key, KEY_MS, PAUSE_MS);
  }

  /** Forgets the keys that wait to be sent. */
  forgetKeys() {
    if (this.sendsKeys) this.#sender.dtmf.insertDTMF('');
  }

  /** Sends silence instead, or no longer. */
  mute(is) {
    for (const track of this.#stream.getAudioTracks()) track.enabled = !is;
  }

  /** How loud we are, in decibels below the loudest; -Infinity is silence. */
  level() {
    const samples = new Float32Array(this.#meter.fftSize);
    this.#meter.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    return 10 * Math.log10(power);
  }

  /** Hangs up; `leaving` where the page is on its way out. */
  async end(leaving = false) {
    const path = this.#path;
    this.#path = '';
    this.release();
    if (path) await ask('DELETE', path, { keepalive: leaving });
  }

  /** Gives the microphone back. */
  release() {
    this.#peer.close();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#audio.state !== 'closed') this.#audio.close();
  }

  #tone() {
    const tone = new OscillatorNode(this.#audio, { frequency: TONE_HZ });
    const out = this.#audio.createMediaStreamDestination();
    tone.connect(new GainNode(this.#audio, { gain: TONE_GAIN })).connect(out);
    tone.start();
    return out.stream;
  }
}

const REFUSALS = {
  NotAllowedError: 'The browser was not allowed to use the microphone. Allow it beside the address, '
    + 'and call again.',
  NotFoundError: 'This machine has no microphone. Choose the test tone instead.',
  NotReadableError: 'The microphone is in use by another program, or broken. Choose the test tone '
    + 'instead.',
};

async function microphone() {
  if (!navigator.mediaDevices) {
    throw new Error('Browsers give a microphone to pages of localhost and of https addresses alone. '
      + 'Open this page by one of them, or choose the test tone.');
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? `The microphone can’t be used (${error.name}).`);
  }
}
