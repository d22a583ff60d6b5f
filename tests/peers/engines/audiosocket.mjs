// An engine over AudioSocket by the npm package asterisk-audiosocket, unchanged.
// Usage: node audiosocket.mjs NODE_MODULES HERTZ

import { Ear, obey, tell, tone } from './told.mjs';

const VOICE = 1000; // Hz of what it says
const [modules, hertz] = process.argv.slice(2);
const { AudioSocketServer } = await import(`${modules}/asterisk-audiosocket/dist/index.js`);

const server = new AudioSocketServer({ port: 0 });
let call;
server.on('connection', (connection) => {
  call = connection;
  const ear = new Ear(Number(hertz));
  call.on('id', (id) => tell('call', { call: id }));
  call.on('audio', (samples) => ear.hear(samples));
  call.on('error', (error) => tell('warning', { text: String(error) }));
  call.on('hangup', () => {
    ear.endRun();
    tell('over');
  });
});
await server.listen();
tell('port', { port: server.address.port });

obey({
  say: (seconds) => call.play(tone(VOICE, Number(seconds))),
  interrupt: () => call.flushPlayback(),
  end: () => call.hangup(),
});
