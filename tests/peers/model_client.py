"""The official client of the Model Context Protocol, led line by line by `model.py`.

usage: model_client.py URL TOKEN MODE
"""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url, token, mode):
    """Tells what the server has, then calls what each line names."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            tools = (await client.list_tools()).tools
            plan = tools[0].input_schema["properties"]["plan"]
            tell({"tools": [tool.name for tool in tools], "plans": plan["enum"]})
            while line := await asyncio.to_thread(sys.stdin.readline):
                tool, arguments = json.loads(line)
                result = await client.call_tool(tool, arguments)
                refused = bool(result.is_error)
                answer = result.content[0].text if refused else result.structured_content
                tell({"refused": refused, "answer": answer})


def tell(what):
    """One line to the scenario."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
