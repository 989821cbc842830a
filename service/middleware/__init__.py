"""Pure ASGI middleware; `service.app` lists them in order."""
