// A call from Chromium, in a page of another site than the relay's: driven by a line of JSON a step.
// usage: node call.mjs CHROMIUM URL KEY CODEC CLIENT, with playwright-core where NODE_PATH says
//   CODEC   a MIME type (audio/opus, audio/PCMU ...)
//   CLIENT  "page", a page's own lines, or "whip-whep", the library of that name, unchanged
// in:  {"do": "dtmf", "keys": "12#"} | {"do": "stats"} | {"do": "end"}    out: {"was": ..., ...}
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';

const require = createRequire(`${process.env.NODE_PATH}/`);
const { chromium } = require('playwright-core');
const [executablePath, url, key, codec, client] = process.argv.slice(2);
const say = (fact) => console.log(JSON.stringify(fact));

const library = readFileSync(`${process.env.NODE_PATH}/whip-whep/whip.js`);
const site = createServer(({ url }, answer) => {
  const isLibrary = url === '/whip.js';
  answer.setHeader('content-type', isLibrary ? 'text/javascript' : 'text/html');
  answer.end(isLibrary ? library : '<p>');
});
await new Promise((done) => site.listen(0, '127.0.0.1', done));
const browser = await chromium.launch({
  executablePath,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--allow-loopback-in-peer-connection',
    '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required', '--disable-features=WebRtcHideLocalIpsWithMdns',
  ],
});
const page = await browser.newPage();
await page.goto(`http://127.0.0.1:${site.address().port}/`);

// In the page: what a web developer would write.
const place = async ([url, key, codec, client]) => {
  const peer = new RTCPeerConnection();
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  const sender = peer.addTrack(microphone.getTracks()[0], microphone);
  // The one wanted first; keys and the others behind it.
  const { codecs } = RTCRtpSender.getCapabilities('audio');
  const isWanted = ({ mimeType }) => mimeType.toLowerCase() === codec.toLowerCase();
  const preferred = [...codecs.filter(isWanted), ...codecs.filter((one) => !isWanted(one))];
  peer.getTransceivers()[0].setCodecPreferences(preferred);
  const track = new Promise((found) => peer.addEventListener('track', found, { once: true }));
  const connected = new Promise((done, failed) => {
    peer.addEventListener('connectionstatechange', () => {
      if (peer.connectionState === 'connected') done();
      if (peer.connectionState === 'failed') failed(new Error('the connection has failed'));
    });
  });
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/sdp' };
  const hear = async () => {
    await Promise.all([connected, track]);
    const audio = new Audio();
    audio.srcObject = (await track).streams[0] ?? new MediaStream([(await track).track]);
    await audio.play();
    return audio;
  };
  if (client === 'whip-whep') {
    const { WHIPClient } = await import('/whip.js');
    const whip = new WHIPClient();
    await whip.publish(peer, url, key);
    globalThis.phone = { peer, sender, headers, audio: await hear(), call: whip.resourceURL.href };
    globalThis.phone.stop = () => whip.stop();
    return { call: globalThis.phone.call, canInsertDTMF: sender.dtmf.canInsertDTMF };
  }
  await peer.setLocalDescription();
  const offer = { method: 'POST', headers, body: peer.localDescription.sdp };
  const answer = await fetch(url, offer);
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  const call = new URL(answer.headers.get('location'), url).href;
  const session = answer.headers.get('etag');
  await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  const audio = await hear();
  // A client that trickles late: taken, and of no consequence.
  const fragment = 'a=end-of-candidates\r\n';
  const trickle = { ...headers, 'content-type': 'application/trickle-ice-sdpfrag', 'if-match': session };
  const patched = await fetch(call, { method: 'PATCH', headers: trickle, body: fragment });
  globalThis.phone = { peer, sender, call, headers, audio };
  return { call, patched: patched.status, canInsertDTMF: sender.dtmf.canInsertDTMF };
};
const dtmf = (keys) => new Promise((done) => {
  const tones = [];
  const { sender } = globalThis.phone;
  sender.dtmf.addEventListener('tonechange', (event) => {
    if (event.tone) tones.push(event.tone);
    else done(tones.join(''));
  });
  sender.dtmf.insertDTMF(keys, 100, 70);
});
const stats = async () => {
  const { peer } = globalThis.phone;
  const found = {};
  for (const report of (await peer.getStats()).values()) {
    const { type, packetsSent, packetsReceived, totalAudioEnergy, packetsLost } = report;
    if (type === 'outbound-rtp') Object.assign(found, { packetsSent });
    if (type === 'inbound-rtp') Object.assign(found, { packetsReceived, totalAudioEnergy, packetsLost });
    if (type === 'transport') Object.assign(found, { dtls: report.tlsVersion, srtp: report.srtpCipher });
    if (type === 'codec') found.codec = report.mimeType;
  }
  return found;
};
const end = async () => {
  const { peer, call, headers, stop } = globalThis.phone;
  if (stop) {
    await stop();
    return (await fetch(call, { method: 'DELETE', headers })).status;
  }
  const ended = await fetch(call, { method: 'DELETE', headers });
  peer.close();
  return ended.status;
};

say({ was: 'placed', ...(await page.evaluate(place, [url, key, codec, client])) });
for await (const line of createInterface({ input: process.stdin })) {
  const step = JSON.parse(line);
  if (step.do === 'dtmf') say({ was: 'dtmf', tones: await page.evaluate(dtmf, step.keys) });
  if (step.do === 'stats') say({ was: 'stats', ...(await page.evaluate(stats)) });
  if (step.do === 'end') {
    say({ was: 'ended', status: await page.evaluate(end) });
    break;
  }
}
await browser.close();
site.close();
