"""OpenAI's own Python client against `fmflow serve`, and every text against `fmflow generate`, byte for byte.

    cargo build --release --locked
    python3 -m venv /tmp/client && /tmp/client/bin/pip install openai pydantic
    fmflow run FILE --until FLOW
    /tmp/client/bin/python benches/client.py target/release/fmflow FILE FLOW AR

FILE is a pipeline that ran, FLOW the name of one of its flow checkpoints that was trained on conversations and AR that of an autoregressive
one; in the quickstart `sft` and `ar`. In this order, each with servers that the script starts and stops:

1. Models, completions (`n`, `seed`, `stop`, `suffix`, `logprobs`, streams with usage) and conversations (streams, `response_format`, `parse`,
   `logprobs`): the client reads them, and their texts are those of `generate`.
2. Errors: 400 is `BadRequestError` with `param`, 401 `AuthenticationError`, 404 `NotFoundError`, 429 `RateLimitError` with `Retry-After`.
3. A client that leaves in the middle of a stream ends its work.
4. 64 clients at once, of which some leave at random: the others get their bytes, and afterwards nothing waits and nothing is at work.

The script ends with 1 at the first difference.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai

CLIENTS, SEED = 64, 13
SCHEMA = {
    "type": "object",
    "properties": {"size": {"type": "integer", "minimum": 1, "maximum": 12}, "name": {"type": "string", "maxLength": 5}},
    "required": ["size", "name"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
DRAWN = {"sampler": "threshold", "threshold": 0.3, "block": 4}
DRAWN_WORDS = ["--sampler", "threshold", "threshold=0.3", "temp=1", "block=4"]
NEXT_WORDS = ["--sampler", "autoregressive cache=exact temperature=1"]


class Server:
    """A server, from its first answer to its end."""

    def __init__(self, program, arguments):
        # A file and no pipe: nobody has to read what it goes on saying.
        self.said = tempfile.TemporaryFile()
        self.process = subprocess.Popen([program, "serve", *arguments, "--port", "0"], stderr=self.said)
        self.address = self.find_address()

    def find_address(self):
        while True:
            ended = self.process.poll() is not None
            # From the beginning, without moving the place where the server writes.
            text = os.pread(self.said.fileno(), 1 << 20, 0).decode()
            if found := re.search(r"^listening at (\S+) .*\n", text, re.MULTILINE):
                return found[1]
            if ended:
                raise SystemExit(f"the server did not start: {text}")
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.said.close()
        if sys.exc_info()[0] is None:
            same("the exit code of a server that was asked to stop", code, 0)

    def client(self, kind=openai.OpenAI, key="none", **more):
        return kind(base_url=f"{self.address}/v1", api_key=key, max_retries=0, timeout=120, **more)

    def metric(self, name):
        text = urllib.request.urlopen(f"{self.address}/metrics").read().decode()
        return sum(int(line.split()[-1]) for line in text.splitlines() if line.startswith(f"fmflow_{name}"))

    def rests(self):
        """Waits until nothing waits and nothing is at work; returns the seconds."""
        begun = time.monotonic()
        while any(self.metric(name) for name in ("requests", "waiting", "answers")):
            if time.monotonic() - begun > 30:
                raise SystemExit("FAULT: work goes on after everybody has left")
            time.sleep(0.01)
        return time.monotonic() - begun


def same(what, found, expected):
    if found != expected:
        raise SystemExit(f"FAULT: {what}\n  found    {found!r}\n  expected {expected!r}")


def holds(what, truth):
    same(what, bool(truth), True)


def refused(what, kind, ask, param=None):
    """The error of a request that is refused."""
    try:
        ask()
    except openai.APIStatusError as error:
        same(f"{what}: the error", type(error), kind)
        same(f"{what}: `param`", error.param, param)
        return error
    raise SystemExit(f"FAULT: {what} is answered")


def generate(program, place, arguments):
    """The texts that `fmflow generate` writes."""
    command = [program, "generate", *place, *arguments, "--json", "--no-twin"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"FAULT: {' '.join(command)}\n{ran.stderr}")
    return [answer["text"] for answer in json.loads(ran.stdout)["answers"]]


def choices(reply):
    return [choice.text if hasattr(choice, "text") else choice.message.content for choice in reply.choices]


def pieces(stream, count):
    """The texts of a stream, why they ended, and the usage if it came."""
    texts, ends, usage = [""] * count, [None] * count, None
    for event in stream:
        usage = event.usage or usage
        for choice in event.choices:
            piece = choice.text if hasattr(choice, "text") else choice.delta.content
            texts[choice.index] += piece or ""
            ends[choice.index] = choice.finish_reason or ends[choice.index]
    return texts, ends, usage


class Case:
    """A request, and what `generate` writes for the same."""

    def __init__(self, name, ask, body, expected):
        self.name, self.ask, self.body, self.expected = name, ask, body, expected


def list_cases(program, file, flow, ar, folder):
    """Requests for both checkpoints, in both forms."""
    schema = f"{folder}/order.schema.json"
    with open(schema, "w") as out:
        json.dump(SCHEMA, out)

    def wrote(stage, *arguments):
        return generate(program, [file, stage], [str(word) for word in arguments])

    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "first: a b c"}]
    chat = ["--chat", "--prompt", "first: a b c", "--system", "Be brief."]
    text = "The river"
    drawn = {"temperature": 1, "extra_body": DRAWN}
    whole = wrote(flow, "--prefix", "The ", "--suffix", " end", "--length", 6)[0]
    return [
        Case("three answers of a seed", "text", {"model": flow, "prompt": text, "max_tokens": 9, "n": 3, "seed": 4, **drawn},
             wrote(flow, "--prompt", text, "--new-tokens", 9, "-n", 3, "--seed", 4, *DRAWN_WORDS)),
        Case("a seed of 64 bits", "text", {"model": flow, "prompt": text, "max_tokens": 30, "seed": 2**64 - 1, **drawn},
             wrote(flow, "--prompt", text, "--new-tokens", 30, "--seed", 2**64 - 1, *DRAWN_WORDS)),
        Case("from left to right", "text", {"model": ar, "prompt": text, "max_tokens": 20, "temperature": 1, "top_p": 0.9},
             wrote(ar, "--prompt", text, "--new-tokens", 20, "--sampler", "autoregressive cache=exact temperature=1 top-p=0.9")),
        Case("nothing but a prompt", "text", {"model": ar, "prompt": "The"}, wrote(ar, "--prompt", "The")),
        Case("a gap", "text", {"model": flow, "prompt": "The ", "suffix": " end", "max_tokens": 6}, [whole[len("The "):-len(" end")]]),
        Case("a conversation", "chat", {"model": flow, "messages": turns, "max_completion_tokens": 12, "n": 2, **drawn},
             wrote(flow, *chat, "--new-tokens", 12, "-n", 2, *DRAWN_WORDS)),
        Case("a conversation in JSON", "chat", {"model": flow, "messages": turns, "max_tokens": 60, "seed": 3, "response_format": FORMAT, **drawn},
             wrote(flow, *chat, "--new-tokens", 60, "--seed", 3, "--json-schema", schema, *DRAWN_WORDS)),
        Case("a regular expression", "text", {"model": ar, "prompt": "The", "max_tokens": 14, "temperature": 1, "seed": 2,
                                              "extra_body": {"response_format": {"type": "regex", "regex": "[0-9]{2,9}"}}},
             wrote(ar, "--prompt", "The", "--new-tokens", 14, "--seed", 2, "--regex", "[0-9]{2,9}", *NEXT_WORDS)),
    ]


def find_method(client, case):
    return client.completions.create if case.ask == "text" else client.chat.completions.create


def check_texts(server, cases):
    client = server.client()
    for case in cases:
        create = find_method(client, case)
        reply = create(**case.body)
        same(case.name, choices(reply), case.expected)
        usage = {"include_usage": True}
        texts, ends, counted = pieces(create(**case.body, stream=True, stream_options=usage), len(case.expected))
        same(f"{case.name}, in pieces", texts, case.expected)
        same(f"{case.name}: how it ended", ends, [choice.finish_reason for choice in reply.choices])
        same(f"{case.name}: usage", counted, reply.usage)
        if "response_format" in case.body:
            order = json.loads(case.expected[0])
            holds(f"{case.name}: the schema", set(order) == {"size", "name"} and 1 <= order["size"] <= 12)
    print(f"{len(cases)} requests, whole and in pieces: the texts of generate")


def check_models(server, names):
    client = server.client()
    same("the models", [model.id for model in client.models.list()], names)
    for name in names:
        same("a model", client.models.retrieve(name).id, name)
    refused("a model that is not there", openai.NotFoundError, lambda: client.models.retrieve("nobody"), "model")


def check_stops(server, ar):
    client = server.client()
    body = {"model": ar, "prompt": "The river", "max_tokens": 30}
    whole = client.completions.create(**body).choices[0].text
    middle = len(whole) // 2
    stop = whole[middle : middle + 3]
    cut = whole[: whole.index(stop)]
    for stops in (stop, [stop], [stop + "\0", stop]):
        reply = client.completions.create(**body, stop=stops)
        same("a stop", (reply.choices[0].text, reply.choices[0].finish_reason), (cut, "stop"))
        texts, ends, _ = pieces(client.completions.create(**body, stop=stops, stream=True), 1)
        same("a stop, in pieces", (texts, ends), ([cut], ["stop"]))
    print("stop strings: what stands before them")


def check_laws(server, ar):
    client = server.client()
    reply = client.completions.create(model=ar, prompt="The river", max_tokens=12, logprobs=3, temperature=0).choices[0]
    laws = reply.logprobs
    same("the tokens of the law", "".join(laws.tokens), reply.text)
    for top, own in zip(laws.top_logprobs, laws.token_logprobs):
        same("greedy takes the most probable", max(top.values()), own)
    turns = [{"role": "user", "content": "first: a b c"}]
    body = {"model": ar, "messages": turns, "max_tokens": 8, "logprobs": True, "top_logprobs": 2, "temperature": 0}
    told = client.chat.completions.create(**body).choices[0].logprobs.content
    streamed = [law for event in client.chat.completions.create(**body, stream=True) for choice in event.choices
                for law in (choice.logprobs.content if choice.logprobs else [])]
    same("laws in pieces", streamed, told)
    holds("two of the most probable", all(len(law.top_logprobs) == 2 and law.top_logprobs[0].logprob >= law.logprob for law in told))
    print("logprobs: of each token, whole and in pieces")


def check_helpers(server, flow):
    """What the client does with a reply beyond reading it."""
    import pydantic

    class Order(pydantic.BaseModel):
        size: int
        name: str

    client = server.client()
    turns = [{"role": "user", "content": [{"type": "text", "text": "first: a b c"}]}]
    body = {"model": flow, "messages": turns, "max_tokens": 60, "temperature": 1, "seed": 3, "extra_body": DRAWN}
    found = client.chat.completions.create(**body, response_format=FORMAT).choices[0].message.content
    same("parse", Order.model_validate_json(found).model_dump(), json.loads(found))
    with client.chat.completions.stream(**body, response_format=FORMAT) as stream:
        for _ in stream:
            pass
        same("the client's own collector", stream.get_final_completion().choices[0].message.content, found)
    raw = client.chat.completions.with_raw_response.create(**body, response_format=FORMAT)
    same("the raw answer", raw.parse().choices[0].message.content, found)
    print("the client's own helpers read the answers")


def check_errors(server, flow, ar):
    client = server.client()
    bad, turns = openai.BadRequestError, [{"role": "user", "content": "first: a"}]

    def text(**more):
        return lambda: client.completions.create(**{"model": flow, "prompt": "The", "max_tokens": 4, **more})

    def chat(**more):
        return lambda: client.chat.completions.create(**{"model": flow, "messages": turns, "max_tokens": 4, **more})

    never = {"type": "json_schema", "json_schema": {"name": "x", "schema": False}}
    for what, ask, param in [
        ("n beyond the bound", text(n=1000), "n"),
        ("a list of prompts", text(prompt=["a", "b"]), "prompt"),
        ("a penalty", text(frequency_penalty=1), "frequency_penalty"),
        ("a field that nobody knows", text(extra_body={"colour": "red"}), "colour"),
        ("tools", chat(tools=[{"type": "function", "function": {"name": "f"}}]), "tools"),
        ("an image", chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]), "messages"),
        ("too many logprobs", chat(logprobs=True, top_logprobs=99), "top_logprobs"),
        ("a schema that nothing matches", chat(response_format=never), "response_format"),
        ("an answer too short for its schema", chat(response_format=FORMAT), "response_format"),
        ("an expression that is none", chat(extra_body={"response_format": {"type": "regex", "regex": "("}}), "response_format"),
        ("the same in pieces", chat(response_format=FORMAT, stream=True), "response_format"),
    ]:
        holds(f"{what}: a reason", len(refused(what, bad, ask, param).message) > 20)
    refused("a model that is not there", openai.NotFoundError, text(model="gpt-4"), "model")
    refused("another path", openai.NotFoundError, lambda: client.embeddings.create(model=ar, input="x"))
    print("errors: each with its class and its field")


def check_keys(program, place, folder):
    with open(f"{folder}/keys", "w") as out:
        out.write(hashlib.sha256(b"secret").hexdigest() + "\n")
    with Server(program, [*place, "--keys", f"{folder}/keys"]) as server:
        for key in ("wrong", "secret2"):
            refused("a wrong key", openai.AuthenticationError, lambda key=key: server.client(key=key).models.list())
        same("the key", len(server.client(key="secret").models.list().data), 1)
    print("keys: 401 without, answers with")


def check_queue(program, place, flow):
    """A server that is full says so, and answers afterwards."""
    body = {"model": flow, "prompt": "The river", "max_tokens": 60, "n": 16, "extra_body": {"sampler": "confidence", "passes": 60}}
    with Server(program, [*place, "--queue", "1"]) as server:
        client = server.client()

        async def flood():
            many = server.client(openai.AsyncOpenAI)
            asked = [asyncio.ensure_future(many.completions.create(**body)) for _ in range(160)]
            replies = await asyncio.gather(*asked, return_exceptions=True)
            await many.close()
            return replies

        replies = asyncio.run(flood())
        full = [reply for reply in replies if isinstance(reply, openai.RateLimitError)]
        texts = {tuple(choices(reply)) for reply in replies if not isinstance(reply, Exception)}
        same("answers and refusals", len(full) + sum(not isinstance(reply, Exception) for reply in replies), len(replies))
        holds("some are refused", full)
        same("all answers are alike", len(texts), 1)
        same("when to come back", {reply.response.headers["retry-after"] for reply in full}, {"1"})
        server.rests()
        same("afterwards", tuple(choices(client.completions.create(**body))), texts.pop())
    print(f"a full queue: {len(full)} of {len(replies)} were told to come back, the others answered")


def check_leaving(server, flow):
    body = {"model": flow, "prompt": "The river", "max_tokens": 60, "n": 8, "extra_body": {"sampler": "confidence", "passes": 60, "block": 4}}
    client, before = server.client(), server.metric("passes_total")
    client.completions.create(**body)
    server.rests()
    whole = server.metric("passes_total") - before
    stream = client.completions.create(**body, stream=True)
    next(iter(stream))
    stream.close()
    waited = server.rests()
    # Only passes of answers that were finished are counted.
    done = server.metric("passes_total") - before - whole
    holds(f"its work ended early: {done} of {whole} passes", done < whole)
    print(f"a client that left: its work ended after {waited:.2f} s, with {done} of {whole} passes of finished answers")


async def ask_and_leave(server, case, number):
    """One of many clients. It may leave before its answer begins, or in the middle of it; returns whether it stayed."""
    draws = random.Random(SEED * 1000 + number)
    client = server.client(openai.AsyncOpenAI)
    create, fate = find_method(client, case), draws.randrange(4)
    await asyncio.sleep(draws.random())
    try:
        if fate == 0:
            try:
                reply = await asyncio.wait_for(create(**case.body), draws.random() * 0.3)
            except asyncio.TimeoutError:
                return False
            same(f"{case.name}, just in time", choices(reply), case.expected)
        elif fate == 1:
            stream, left = await create(**case.body, stream=True), draws.randrange(1, 4)
            while left and await anext(stream, None):
                left -= 1
            await stream.close()
            return False
        elif fate == 2:
            same(f"{case.name} among many", choices(await create(**case.body)), case.expected)
        else:
            texts = [""] * len(case.expected)
            async for event in await create(**case.body, stream=True):
                for choice in event.choices:
                    texts[choice.index] += (choice.text if case.ask == "text" else choice.delta.content) or ""
            same(f"{case.name} among many, in pieces", texts, case.expected)
        return True
    finally:
        await client.close()


def check_many(server, cases):
    async def many():
        return await asyncio.gather(*(ask_and_leave(server, cases[at % len(cases)], at) for at in range(CLIENTS)))

    stayed = sum(asyncio.run(many()))
    waited = server.rests()
    check_texts(server, cases)
    print(f"{CLIENTS} clients at once, of which {CLIENTS - stayed} left: the others got their bytes; at rest after {waited:.2f} s")


def main():
    program, file, flow, ar = sys.argv[1:]
    print(f"openai {openai.__version__}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        cases = list_cases(program, file, flow, ar, folder)
        place = [file, flow, file, ar]
        with Server(program, place) as server:
            check_models(server, [flow, ar])
            check_texts(server, cases)
            check_stops(server, ar)
            check_laws(server, ar)
            check_helpers(server, flow)
            check_errors(server, flow, ar)
            check_leaving(server, flow)
            check_many(server, cases)
        check_keys(program, [file, flow], folder)
        check_queue(program, [file, flow], flow)


if __name__ == "__main__":
    main()
