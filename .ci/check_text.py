"""Checks that text files end in one newline and that no line ends in blanks."""

import os
import re
import sys
from pathlib import Path

failed = False
for name in filter(os.path.isfile, sys.argv[1:]):
    text = Path(name).read_text(encoding="utf-8")
    line = next(
        (number for number, line in enumerate(text.split("\n"), 1) if re.search(r"\s$", line)), None
    )
    if line:
        print(f"{name}:{line}: a line must not end in blanks.")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        print(f"{name}: a file must end in one newline.")
        failed = True
    failed |= line is not None
sys.exit(failed)
