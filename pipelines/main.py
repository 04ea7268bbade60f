"""The entry point of the command `kfp-vision`."""

import signal

__all__ = ["main"]


def main() -> None:
    """Runs the command line; Ctrl-C during its imports, half a second, prints no traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from kfp_vision.pipelines.cli import main as run

    run()
