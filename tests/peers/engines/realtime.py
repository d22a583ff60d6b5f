"""A model behind OpenAI's Realtime API, as its published events have it, without a model in it.

What the client sends must be what OpenAI's own Python package has types for, with nothing besides.
Lines of JSON out tell what comes, the port first. A line in is a command: `say SECONDS` gives a
response of so much tone at once, `barge` finds that the caller speaks, `collect PLAN` calls the
function, `hang` closes. Usage: realtime.py HERTZ KEY
"""

import asyncio
import base64
import itertools
import json
import sys

import websockets
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter
from told import Ear, g711, tell

VOICE = 1000  # Hz of what the model says
DELTA = 0.1  # seconds in an event
CLIENT, SERVER = TypeAdapter(RealtimeClientEvent), TypeAdapter(RealtimeServerEvent)
SESSION = {"type": "realtime", "output_modalities": ["audio"], "model": "gpt-realtime"}


def unknown(model, path=""):
    """Paths of what a parsed event has that its type doesn't."""
    found = [f"{path}.{name}" for name in model.model_extra or ()]
    for name in model.model_fields_set:
        value = getattr(model, name, None)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                found += unknown(one, f"{path}.{name}")
    return found


class Conversation:
    """One connection: the session, what is said by either side, and what is asked for."""

    def __init__(self, socket, hertz):
        self._socket, self.ear = socket, Ear(hertz)
        self._numbers = itertools.count(1)
        self._responses = set()

    async def talk(self):
        """From the session's creation until the client goes."""
        await self.send("session.created", session=SESSION)
        try:
            async for message in self._socket:
                await self._take(message)
        except websockets.ConnectionClosed:
            pass
        self.ear.end_run()
        tell("over", code=self._socket.close_code)

    async def _take(self, message):
        try:
            event = json.loads(message)
            strange = unknown(CLIENT.validate_python(event))
        except ValueError as error:
            strange = str(error)[:500]
        if strange:
            tell("warning", text=f"{strange} in {message[:200]}")
            return
        if event["type"] == "input_audio_buffer.append":
            self.ear.hear(g711.decode(base64.b64decode(event["audio"])))
            return
        tell("event", event=event)
        await self._answer(event)

    async def _answer(self, event):
        match event["type"]:
            case "session.update":
                await self.send("session.updated", session=SESSION | event["session"])
            case "input_audio_buffer.clear":
                await self.send("input_audio_buffer.cleared")
            case "conversation.item.truncate":
                fields = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
                await self.send("conversation.item.truncated", **fields)
            case "conversation.item.create":
                item = event["item"] | {"id": self._id("item")}
                await self.send("conversation.item.added", item=item)
                await self.send("conversation.item.done", item=item)
            case "response.cancel":
                for response in list(self._responses):
                    await self._end(response, "cancelled")

    async def send(self, kind, **fields):
        """One event, of which OpenAI's package knows the type."""
        event = {"type": kind, "event_id": self._id("event"), **fields}
        SERVER.validate_python(event)
        await self._socket.send(json.dumps(event))

    async def say(self, seconds):
        """A response of tone, all of it at once, which stays active until it is cancelled or done."""
        response, item = await self._begin(), self._id("item")
        tone = g711.encode(g711.tone([VOICE], 8000, int(8000 * DELTA)))
        place = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
        tell("said", item=item)
        for _ in range(int(float(seconds) / DELTA)):
            delta = base64.b64encode(tone).decode()
            await self.send("response.output_audio.delta", delta=delta, **place)
        await self.send("response.output_audio.done", **place)
        await self._end(response, "completed")

    async def barge(self):
        """The caller speaks."""
        item = self._id("item")
        await self.send("input_audio_buffer.speech_started", audio_start_ms=1000, item_id=item)

    async def collect(self, plan):
        """The model calls its function."""
        response, item, call = await self._begin(), self._id("item"), self._id("call")
        arguments = json.dumps({"plan": plan})
        place = {"response_id": response, "output_index": 0}
        said = {"call_id": call, "name": "collect_payment", "arguments": arguments}
        await self.send(
            "response.function_call_arguments.done", item_id=item, **place, **said
        )  # fmt: skip
        done = {"id": item, "type": "function_call", "status": "completed", **said}
        await self.send("response.output_item.done", item=done, **place)
        await self._end(response, "completed")
        tell("called", call=call)

    async def hang(self):
        """The server closes."""
        await self._socket.close()

    async def _begin(self):
        response = self._id("resp")
        self._responses.add(response)
        body = {"id": response, "object": "realtime.response", "status": "in_progress"}
        await self.send("response.created", response=body)
        return response

    async def _end(self, response, status):
        if response in self._responses:
            self._responses.remove(response)
            body = {"id": response, "object": "realtime.response", "status": status}
            await self.send("response.done", response=body)

    def _id(self, kind):
        return f"{kind}_{next(self._numbers)}"


async def main(hertz, key):
    """Serves one conversation after the other."""
    current = []

    async def serve(socket):
        authorization = socket.request.headers.get("Authorization")
        tell("call", path=socket.request.path, known=authorization == f"Bearer {key}")
        current[:] = [Conversation(socket, int(hertz))]
        await current[0].talk()

    async with websockets.serve(serve, "127.0.0.1", 0) as server:
        tell("port", port=server.sockets[0].getsockname()[1])
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, *words = line.split()
            await getattr(current[0], command)(*words)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
