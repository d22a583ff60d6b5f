// An engine over jambonz' listen by the npm package @jambonz/sdk, unchanged.
// Usage: node jambonz.mjs NODE_MODULES HERTZ

import http from 'node:http';
import { Ear, obey, tell, tone } from './told.mjs';

const VOICE = 1000; // Hz of what it says
const [modules, hertz] = process.argv.slice(2);
const { createEndpoint } = await import(`${modules}/@jambonz/sdk/dist/websocket/index.js`);

const server = http.createServer();
const service = createEndpoint({ server }).audio({ path: '/audio' });
let stream;
service.on('error', (error) => tell('warning', { text: String(error) }));
service.on('connection', (connection) => {
  stream = connection;
  const ear = new Ear(Number(hertz));
  tell('call', { call: stream.callSid, body: stream.metadata });
  stream.on('audio', (samples) => ear.hear(samples));
  stream.on('dtmf', ({ digit }) => tell('key', { key: digit }));
  stream.on('mark', (mark) => tell('mark', mark));
  stream.on('error', (error) => tell('warning', { text: String(error) }));
  stream.on('close', (code) => {
    ear.endRun();
    tell('over', { code });
  });
});
server.listen(0, '127.0.0.1', () => tell('port', { port: server.address().port }));

obey({
  say: (seconds) => stream.sendAudio(tone(VOICE, Number(seconds))),
  mark: (name) => stream.sendMark(name),
  interrupt: () => stream.killAudio(),
  end: () => stream.disconnect(),
});
