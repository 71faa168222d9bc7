"""How the service is started: the command line and the environment that ``leadscore serve`` runs BentoML with."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from serving.champion import check_home
from serving.keys import check_host
from serving.settings import Settings

SERVICE = "serving.service:LeadScore"


def serve_command(
    home: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    workers: int = 1,
    environ: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a server of ``home``; BentoML's telemetry and tracing are off.

    Raises BadInput where the home is a file, a setting in ``environ`` (by default this process's) is wrong, or other
    machines would be listened to without an API key (``no_keys``), before anything is started.
    """
    given = os.environ if environ is None else environ
    home = Path(home).absolute()
    check_home(home)
    check_host(home, host)
    environment = {
        **given,
        "LEADSCORE_HOME": str(home),
        # BentoML keeps the metrics of a running server there and empties them at start: one place for each server.
        "BENTOML_HOME": str(home / "serve" / str(port)),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_CONFIG_OVERRIDES": json.dumps({"services": {"LeadScore": {"workers": workers}}}),
    }
    Settings.from_environment(environment)
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--working-dir", str(root)]
    return [*command, "--host", host, "--port", str(port)], environment


def serve(home: Path | str, *, host: str = "127.0.0.1", port: int = 3000, workers: int = 1) -> NoReturn:
    """Become the server: replaces this process. Raises BadInput as ``serve_command`` does."""
    command, environment = serve_command(home, host=host, port=port, workers=workers)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, environment)
