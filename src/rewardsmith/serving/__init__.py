"""The reward server: rewards over HTTP, the same numbers that evaluation saw. It receives engines; it never builds one.

    models = Models([ServedModel("helpful", MicroBatcher(engine, worker), reload)])
    application = reward_app(models, access, limits, metrics, state)
    RewardServer(application, bind("127.0.0.1", 8000), state).run()     # until SIGTERM; what was accepted is answered

What a request goes through, in order:

server.py    uvicorn, signals, drain; bytes → requests, within bounds: heads, requests sent ahead, trailers, clients
             that do not read
gate.py      host and token, the body with its limits, disconnects, errors as JSON, one log line
access.py    who may ask: tokens, host names
routes.py    the table of paths, and the OpenAPI document of it; a dialect reads the request
models.py    the model that it names; reload by name
queue.py     MicroBatcher: who may wait, which texts make the next batch, one answer per request
dialects/    the request and answer of each framework, a file each

engine.py    what the server drives: tokens of a conversation, rewards of a batch
limits.py    what is accepted, reading a body within it, and every refusal
metrics.py   Prometheus
logs.py      JSON lines without texts
stream.py    JSON lines with texts and their rewards, where asked for: what `watch` reads
ray_serve.py the same on several machines: fronts that speak HTTP, replicas that hold the models, the way between them

The layers below the web (queue, limits) know no HTTP and are tested without sockets.
"""
