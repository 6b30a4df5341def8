"""The reward server: rewards over HTTP, the same numbers that evaluation saw. It receives engines; it never builds one.

    app = RewardApp(ServerSettings(…), Models([Served("helpful", engine, reload, batcher)]))
    run_server(app, host="127.0.0.1", port=8000)          # until SIGTERM; what was accepted is answered

What a request goes through, in order:

wire.py      bytes → requests, within bounds: heads, requests sent ahead, trailers, clients that do not read
gate.py      host, token, body with its limits, disconnects, errors as JSON, one log line
routes.py    the table of paths; a dialect reads the request
models.py    the model that it names; reload by name
queue.py     MicroBatcher: a bounded queue, one batch at a time in a worker thread, one answer per request
admission.py who may wait in the queue, and who before it
batching.py  which texts make the next batch (pure)
dialects/    the request and answer of each framework, one file each

engine.py    what the server drives: tokens of a conversation, rewards of a batch
limits.py    what is accepted, and reading a body within it
access.py    tokens, host names
refusals.py  every refusal: status, code, message, fix
metrics.py   Prometheus; counted_router.py: decisions of a router among them
logs.py      JSON lines without texts
openapi.py   the OpenAPI document, made from the dialects
server.py    uvicorn, signals, drain
ray_serve.py the same on several machines: fronts that speak HTTP, replicas (ray_replica.py) that hold the models,
             and the way between them (ray_spread.py)

The layers below the web (queue, admission, batching, limits) know no HTTP and are tested without sockets.
"""
