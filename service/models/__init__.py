"""The models that may be served, and which of them are loaded.

- ``registry``   names and aliases, and what is known of each without its weights
- ``register``   from the settings to a registry
- ``residency``  which model comes or goes next: a pure decision
- ``manager``    the task that loads and unloads, and lets requests wait
- ``progress``   a load or an unload as events
"""
