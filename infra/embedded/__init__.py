"""How the models that ship with Kvorum are made; nothing here runs in the server."""
