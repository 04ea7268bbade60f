"""Features of images kept by content, in files that simultaneous runs may share.

Shapes: N images, keys uint8 [N, 32] (the `sha256` of the store), features float32 [N, F]. A file
holds up to a few thousand rows, is written once under a name of its own and never changed; the
checksums of its format tell a damaged one.
"""

import io
import uuid
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from kfp_vision.components.shared.runtime.atomic_files import write_atomically
from kfp_vision.components.shared.runtime.storage import kept_folder

__all__ = ["FeatureCache"]

# Of all features below one root: 400,000 images of 1280 features.
_MAX_BYTES = 2 * 2**30


class FeatureCache:
    """The features of one network at one resolution."""

    def __init__(self, root: Path, identity: str, max_bytes: int = _MAX_BYTES) -> None:
        """Creates nothing yet.

        Args:
            root: Holds the caches of all networks and resolutions.
            identity: Of everything but the image that features depend on.
            max_bytes: Beyond them, the files below `root` that were not used for longest are
                removed.
        """
        self._root, self._max_bytes = root, max_bytes
        self._folder = kept_folder(root / identity, shared=True)

    def find(self, keys: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Writes what is known into `features` [N, F]; returns of which images it is, bool [N]."""
        is_known = np.zeros(len(keys), bool)
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key.tobytes(), []).append(place)
        for path in sorted(self._folder.glob("*.npz")):
            for key, row in _read(path, places, features.shape[1]):
                for place in places[key]:
                    features[place], is_known[place] = row, True
        return is_known

    def add(self, keys: np.ndarray, features: np.ndarray) -> None:
        """Keeps the features of images; on a full disk it says so and keeps none."""
        try:
            content = io.BytesIO()
            np.savez(content, keys=keys, features=features)
            write_atomically(self._folder / f"{uuid.uuid4().hex}.npz", content.getvalue())
            self._remove_oldest()
        except OSError as error:
            print(f"Features are not kept: {error}")

    def _remove_oldest(self) -> None:
        files = [(path.stat(), path) for path in self._root.glob("*/*.npz")]
        files.sort(key=lambda entry: entry[0].st_mtime, reverse=True)
        total = 0
        for status, path in files:
            total += status.st_size
            if total > self._max_bytes:
                path.unlink(missing_ok=True)


def _read(
    path: Path, wanted: Collection[bytes], num_features: int
) -> list[tuple[bytes, np.ndarray]]:
    """Returns the wanted keys of a file and their features; a damaged file is removed.

    Of a file without a wanted key only the keys are read.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            keys = arrays["keys"]
            if keys.shape[1:] != (32,):
                raise ValueError(f"keys of shape {keys.shape}")
            rows = [(key.tobytes(), row) for row, key in enumerate(keys)]
            rows = [(key, row) for key, row in rows if key in wanted]
            if not rows:
                return []
            features = arrays["features"]
            if features.shape != (len(keys), num_features):
                raise ValueError(f"features of shape {features.shape}")
        path.touch()
    except FileNotFoundError:  # Another run has just removed it.
        return []
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"Features in {path} are damaged ({error}); they are computed again.")
        path.unlink(missing_ok=True)
        return []
    except OSError as error:
        print(f"Features in {path} cannot be read ({error}); they are computed again.")
        return []
    return [(key, features[row]) for key, row in rows]
