"""``python -m app.client.intake`` is the command ``cxr-intake``."""

from app.client.intake.cli import main

main()
