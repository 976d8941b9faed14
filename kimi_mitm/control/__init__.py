"""The control endpoint: an HTTP API with live events and a page, served by the engine.

`service.Service` is what it needs from the engine, `app.create_app` makes the application, and
`listener.serve` puts it on a socket.
"""
