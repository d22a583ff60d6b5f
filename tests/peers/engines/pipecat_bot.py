"""A bot of Pipecat's, as its documentation has one behind Twilio: nothing of the library is changed.

Lines of JSON out tell what the pipeline sees, the port first; a line in is a command: `say SECONDS`,
`interrupt`, `end`. Usage: pipecat_bot.py HERTZ ACCOUNT PASSWORD BASE_URL
"""

import array
import asyncio
import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    TTSAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.utils import parse_telephony_websocket
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.transports.websocket.fastapi import (
    FastAPIWebsocketParams,
    FastAPIWebsocketTransport,
)
from pipecat.workers.runner import WorkerRunner

from told import Ear, g711, tell

RATE = 8000
LOUD = 500  # mean of a frame's samples, from which on it is speech for this bot
VOICE = 1000  # Hz of what the bot says


class Loudness(VADAnalyzer):
    """Speech is what is loud: a telephone's test tone is no voice to a model of voices."""

    def num_frames_required(self):
        """Samples looked at at a time: 20 ms."""
        return RATE // 50

    def voice_confidence(self, buffer):
        """1 for what is loud."""
        samples = array.array("h", buffer)
        return float(sum(map(abs, samples)) > LOUD * len(samples))


class Bot(FrameProcessor):
    """Tells what comes through the pipeline, and says a tone when it is asked to."""

    def __init__(self, hertz):
        super().__init__()
        self.ear = Ear(hertz)

    async def process_frame(self, frame, direction):
        """Looks at a frame and lets it on, what the caller has said aside."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.ear.hear(array.array("h", frame.audio))
            return
        if isinstance(frame, InputDTMFFrame):
            tell("key", key=frame.button.value)
        elif isinstance(frame, VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame):
            tell("speech", begins=isinstance(frame, VADUserStartedSpeakingFrame))
        await self.push_frame(frame, direction)

    async def say(self, seconds):
        """A tone, at once as a model's speech comes, for the transport to pace."""
        tone = array.array("h", g711.tone([VOICE], 8000, RATE // 10)).tobytes()
        for _ in range(int(seconds * 10)):
            await self.push_frame(TTSAudioRawFrame(tone, RATE, 1))

    async def interrupt(self):
        """What a strategy for turns does when the caller barges in."""
        await self.broadcast_interruption()


async def talk(websocket, hertz, account, password, base_url):
    """One call, from its first message to its end."""
    kind, call = await parse_telephony_websocket(websocket)
    tell("call", kind=kind, call=call["call_id"], stream=call["stream_id"], body=call.get("body"))
    serializer = TwilioFrameSerializer(
        stream_sid=call["stream_id"], call_sid=call["call_id"], account_sid=account,
        auth_token=password, base_url=base_url,
    )  # fmt: skip
    params = FastAPIWebsocketParams(
        audio_in_enabled=True, audio_out_enabled=True, serializer=serializer
    )
    transport = FastAPIWebsocketTransport(websocket=websocket, params=params)
    bot = Bot(hertz)
    # The volume is judged by the analyzer itself.
    analyzer = Loudness(sample_rate=RATE, params=VADParams(min_volume=0.0))
    vad = VADProcessor(vad_analyzer=analyzer)
    rates = PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE)
    worker = PipelineWorker(
        Pipeline([transport.input(), vad, bot, transport.output()]), params=rates
    )

    @transport.event_handler("on_client_disconnected")
    async def gone(_transport, _client):
        tell("gone")
        await worker.cancel()

    commands = asyncio.create_task(obey(bot, worker))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    commands.cancel()
    bot.ear.end_run()
    tell("over")


async def obey(bot, worker):
    """Does what lines in ask for."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *words = line.split()
        if command == "say":
            await bot.say(float(words[0]))
        elif command == "interrupt":
            await bot.interrupt()
        elif command == "end":
            await worker.queue_frame(EndFrame())


def main(hertz, *account):
    """Serves until the process is ended."""
    app = FastAPI()

    @app.websocket("/ws")
    async def stream(websocket: WebSocket):
        await websocket.accept()
        await talk(websocket, int(hertz), *account)

    logger.remove()
    logger.add(lambda line: tell("warning", text=line), level="WARNING", format="{message}")
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)

    async def serve():
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        tell("port", port=server.servers[0].sockets[0].getsockname()[1])
        await serving

    asyncio.run(serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
