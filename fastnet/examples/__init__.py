"""Programs that use fastnet as a client would: python -m fastnet.examples.NAME."""
