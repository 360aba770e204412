"""Texts inside other people's formats: GitHub's workflow commands and XML."""

from __future__ import annotations


def github_data(text: str) -> str:
    """A message, as GitHub's toolkit escapes it (actions/toolkit, packages/core/src/command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def github_property(text: str) -> str:
    """A property of a workflow command: a title, a file's name."""
    return github_data(text).replace(":", "%3A").replace(",", "%2C")


def xml_text(text: str) -> str:
    """Without the characters that XML cannot hold, escaped or not."""
    return "".join(c for c in text if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff")
