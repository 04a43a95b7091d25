"""Specifications as dictionaries, in the words of psij-python before 0.9.5.

psij-zmq, psij-rest and psij-ssh call these.
"""

from __future__ import annotations

import json
import os
from typing import Any

from exaworks.psij import InvalidJobException, JobSpec
from exaworks.psij.serialize import spec_from_dict, spec_to_dict

__all__ = ["Export", "Import"]


class Export:
    """Writes specifications."""

    version = ""
    name = ""

    def to_dict(self, obj: JobSpec) -> dict[str, Any]:
        """The specification as a dictionary of what JSON can hold."""
        if not isinstance(obj, JobSpec):
            raise InvalidJobException(f"only a JobSpec can be exported, not {obj!r}")
        return spec_to_dict(obj)

    def export(self, obj: JobSpec, dest: str | os.PathLike[str]) -> bool:
        """Write a specification to a file as JSON."""
        data = {"version": "0.1", "type": type(obj).__name__, "data": self.to_dict(obj)}
        with open(dest, "w", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False, indent=4)
        return True


class Import:
    """Reads specifications."""

    def from_dict(self, hash: dict[str, Any], target_type: str | None = None) -> JobSpec:
        """The specification that :meth:`Export.to_dict` has written.

        Args:
            hash: the dictionary.
            target_type: ``"JobSpec"``; nothing else was ever written.
        """
        if target_type not in (None, "JobSpec"):
            raise InvalidJobException(f"only a JobSpec can be imported, not a {target_type}")
        return spec_from_dict(hash)

    def load(self, src: str | os.PathLike[str]) -> JobSpec:
        """Read what :meth:`Export.export` has written."""
        with open(src, encoding="utf-8") as file:
            written = json.load(file)
        return self.from_dict(written["data"], written["type"])
