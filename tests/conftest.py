"""How the tests share the machine when pytest-xdist runs them in several processes."""

import os

import pytest

# A session fixture that takes a minute: its tests run in one process, so that it is made once.
_MADE_ONCE = ("finished_run",)
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_THREADS = max(1, (os.cpu_count() or 1) // _WORKERS)

if _WORKERS > 1:
    # Before TensorFlow is imported, and for the processes that tests start.
    for _name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, str(_THREADS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a module in one process, and starts with those that take longest."""
    items.sort(key=lambda item: "pipelines" not in item.path.parts)
    for item in items:
        shared = [name for name in _MADE_ONCE if name in getattr(item, "fixturenames", ())]
        item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.stem))
