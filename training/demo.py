"""The demo: a simulated CRM, a trained and promoted model, a running service, and a request with its answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from features.errors import LeadscoreError
from training.registry import Home

# A prospect that the simulated CRM has never seen; the README shows it with its answer.
REQUEST: dict[str, Any] = {
    "prospect": {
        "prospect_id": "p1",
        "created_at": "2025-11-24T09:00:00Z",
        "account_id": "a1",
        "source": "referral",
        "attributes": {"product": "suite", "budget_known": True},
    },
    "account": {"account_id": "a1", "country": "FR", "industry": "28.29B", "headcount": 320},
    "contacts": [{"contact_id": "c1", "role": "buyer"}, {"contact_id": "c2", "role": "user"}],
    "events": [
        {
            "event_id": "e1",
            "type": "page_view",
            "occurred_at": "2025-12-02T10:00:00Z",
            "contact_id": "c2",
            "direction": "inbound",
            "channel": "web",
        },
        {
            "event_id": "e2",
            "type": "demo_request",
            "occurred_at": "2025-12-15T14:30:00Z",
            "contact_id": "c1",
            "direction": "inbound",
            "channel": "web",
        },
        {
            "event_id": "e3",
            "type": "meeting",
            "occurred_at": "2025-12-19T16:00:00Z",
            "contact_id": "c1",
            "direction": "outbound",
            "channel": "visit",
        },
    ],
    "outcomes": [],
    "related": {"prospects": [], "events": [], "outcomes": []},
    "as_of": "2026-01-01T00:00:00Z",
}
READY_SECONDS = 90


def prepare(home: Home, *, prospects: int, seed: int, say: Any) -> dict[str, Any]:
    """Simulate, train and promote, unless the champion was already trained on these very tables."""
    from features.tables import read_tables
    from serving.champion import read_pointer
    from training.run import load_scorer, train
    from training.simulate import simulate

    data = home.path / "demo" / f"crm-{prospects}-{seed}"
    if not data.exists():
        say(f"simulating a CRM: {prospects} prospects over a year, into {data}")
        simulate(prospects=prospects, seed=seed).write(data)
    tables = read_tables(data, need_outcomes=True)
    if read_pointer(home.path) is not None:
        scorer = load_scorer(home)
        if scorer.card["data"]["digest"] == tables.digest:
            say(f"version {scorer.version} was trained on these tables already")
            return {"version": scorer.version, "promoted": True, "data": str(data), "digest": scorer.digest}
    done = train(tables, home=home, say=say)
    return {**done.to_json(), "data": str(data)}


def run_demo(
    home: Home, *, port: int, serve: bool, prospects: int, seed: int, as_json: bool, say: Any
) -> dict[str, Any] | None:
    """Run the demo; with ``serve`` it answers one request, then serves until interrupted."""
    from serving.run import serve_command

    done = prepare(home, prospects=prospects, seed=seed, say=say)
    if not serve:
        if not as_json:
            print(f"Version {done['version']} is the champion. Next: leadscore serve")
        return done
    command, environment = serve_command(home.path, host="127.0.0.1", port=port, workers=1)
    url = f"http://127.0.0.1:{port}"
    say(f"serving on {url}")
    server = subprocess.Popen(command, env=environment, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends with the demo
    try:
        _wait(server, url)
        answer = _post(f"{url}/score", REQUEST)
        body = json.dumps(REQUEST, indent=1, ensure_ascii=False)
        print(f"\nA request to paste:\n\ncurl -s {url}/score -H 'content-type: application/json' -d '{body}'")
        print(f"\nIts answer:\n\n{json.dumps(answer, indent=1, ensure_ascii=False)}")
        if "report" in done:
            print(f"\nHow good the model is, and what it rests on: {done['report']}")
        print(f"\nServing on {url} until Ctrl-C.", flush=True)
        code = server.wait()
        if code:
            raise LeadscoreError(
                "server_ended", f"the service ended with code {code}.", where="serve", remedy="See above."
            )
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(30)
    return None


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(READY_SECONDS * 5):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise LeadscoreError(
        "not_ready", "the service did not become ready.", where="serve", remedy="See its log above; is the port free?"
    )


def _post(url: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)
