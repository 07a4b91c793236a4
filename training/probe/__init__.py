"""What an exported model goes by: its answers on altered images, and how much of the source its features hold."""
