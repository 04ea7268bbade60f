"""What `import kfp_vision` costs: nothing that takes a second."""

import subprocess
import sys

HEAVY = {"keras", "kfp", "numpy", "pyarrow", "scipy", "sklearn", "tensorflow"}


def test_importing_the_package_loads_no_framework():
    code = "import sys, kfp_vision; print(*{name.split('.')[0] for name in sys.modules})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert not HEAVY & set(answer.stdout.split())
