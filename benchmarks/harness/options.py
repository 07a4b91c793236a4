"""Options that the benchmarks of the service share."""

import argparse
from pathlib import Path
from typing import get_args

from app.settings import SHIPPED_MODEL
from benchmarks.harness.radiographs import ImageFormat


def option_parser(description: str, *, seconds: int, rounds: int) -> argparse.ArgumentParser:
    """Make a parser with the model, the images and the length of the measurement.

    Args:
        description: Its first line is shown.
        seconds: Default of ``--seconds``, of one measure in one round.
        rounds: Default of ``--rounds``.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="Model folder; default: the shipped one.")
    parser.add_argument("--format", choices=get_args(ImageFormat), default="jpeg", help="Of the uploads.")
    parser.add_argument("--size", type=int, default=1024, help="Width and height of the uploads in pixels.")
    parser.add_argument("--seconds", type=int, default=seconds, help=f"Of one measure in a round; default {seconds}.")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"Default {rounds}.")
    return parser


def add_body_option(parser: argparse.ArgumentParser) -> None:
    """Add what a request is."""
    parser.add_argument(
        "--body",
        choices=("multipart", "bytes"),
        default="multipart",
        help="How an image is sent; peers take a form alone.",
    )


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """Add what decides the load of several callers."""
    add_body_option(parser)
    parser.add_argument("--callers", type=int, default=16, help="Requests in flight at a time; default 16.")
