"""Ends with an error unless the search of a run has tried something: `check_trials.py OUTPUT`."""

import json
import sys
from pathlib import Path

search = json.loads((Path(sys.argv[1]) / "report.json").read_text(encoding="utf-8"))["search"]
finished = [trial for trial in search["trials"] if not trial["error"]]
if len(finished) < 2:
    sys.exit(
        "The search must finish the trial of the baseline and another one. "
        f"Received: {len(finished)} of {len(search['trials'])} trials; "
        f"{search['skipped'] or search['decision']}"
    )
print(f"{len(finished)} trials: {search['decision']}")
