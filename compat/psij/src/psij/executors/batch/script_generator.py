"""Submit scripts from mustache templates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import IO, Any

from exaworks.psij import Job, JobExecutorConfig
from psij.executors.batch.escape_functions import bash_escape

__all__ = ["SubmitScriptGenerator", "TemplatedScriptGenerator"]


class SubmitScriptGenerator(ABC):
    """Turns a job into a submit script."""

    def __init__(self, config: JobExecutorConfig | None) -> None:
        self.config = config

    @abstractmethod
    def generate_submit_script(self, job: Job, context: dict[str, object], out: IO[str]) -> None:
        """Write the script of ``job`` to ``out``."""


class TemplatedScriptGenerator(SubmitScriptGenerator):
    """Uses a mustache template (https://mustache.github.io); needs the package pystache."""

    def __init__(
        self,
        config: JobExecutorConfig | None,
        template_path: Path,
        escape: Callable[[object], str] = bash_escape,
    ) -> None:
        """Read a template.

        Args:
            config: settings.
            template_path: the template. It can use the partials ``batch_lib``, ``stagein``,
                ``stageout`` and ``cleanup``.
            escape: how ``{{values}}`` are written.

        Raises:
            ImportError: pystache is not installed.
        """
        super().__init__(config)
        try:
            import pystache
        except ImportError as problem:
            raise ImportError(
                "templates need pystache: pip install 'psij-python[templates]'"
            ) from problem

        class Renderer(pystache.Renderer):  # type: ignore[misc]
            def str_coerce(self, val: object) -> str:
                if isinstance(val, Enum):
                    return str(val.value)
                return str(int(val)) if isinstance(val, bool) else str(super().str_coerce(val))

        self.template = pystache.parse(template_path.read_text())
        partials = Path(__file__).parent / "common"
        self.renderer: Any = Renderer(escape=escape, search_dirs=[str(partials)])

    def generate_submit_script(self, job: Job, context: dict[str, object], out: IO[str]) -> None:
        """Write the script of ``job`` to ``out``."""
        out.write(self.renderer.render(self.template, context))
