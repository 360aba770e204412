"""The option that says how much is done at a time."""

from __future__ import annotations

import os
from typing import Annotated

import typer

JOBS = min(max(2, os.cpu_count() or 1), 8)
JobsOption = Annotated[int, typer.Option("--jobs", "-j", help="How many tables and indexes at a time.", min=1)]
