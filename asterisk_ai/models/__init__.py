"""Models for the local engines: what there is, what suits a machine, fetching and keeping them.

Engines need one thing of it::

    store = store_of(config)            # asterisk_ai.models.store
    file_or_folder = store.path("vosk-model-small-en-us-0.15")

which raises :class:`~asterisk_ai.errors.ModelError` with the command that
mends it where the model is missing or damaged. Nothing is fetched but by
``asterisk-ai models fetch``.
"""
