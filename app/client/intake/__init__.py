"""The intake: send many images to the service, and record each answer once.

The command is ``cxr-intake`` (or ``python -m app.client.intake``). It needs httpx, Typer and Rich alone.
"""
