"""Seconds and bytes of the report of a run on 10 and on 1000 classes.

The artifacts are those of the tests: a real run on scikit-learn's digits, and the same run with the
tables of 1000 classes.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from kfp_vision.components.reporting.build import build_report

TESTS = Path(__file__).resolve().parents[1] / "components/reporting"
CASES = {"10": "plain", "1000": "1000 classes"}


def main() -> None:
    """Prints one line `RESULT {json}`."""
    sys.path.insert(0, str(TESTS))
    from report_artifacts import classification_run
    from report_cases import CASES as CHANGES

    digits = load_digits()
    images = (digits.images * 15.9).astype(np.uint8)
    run = classification_run(images, digits.target, [str(name) for name in range(10)], 1000)
    result = {}
    for classes, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            artifacts = CHANGES[case](run).write(root)
            started = time.perf_counter()
            build_report(artifacts, root / "report")
            result[f"seconds_{classes}_classes"] = round(time.perf_counter() - started, 3)
            size = (root / "report/report.html").stat().st_size
            result[f"bytes_{classes}_classes"] = size
    print("RESULT", json.dumps(result))


if __name__ == "__main__":
    main()
