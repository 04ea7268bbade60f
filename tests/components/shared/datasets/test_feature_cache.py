"""The cache gives back what it was given, and nothing of a file that is damaged."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kfp_vision.components.shared.datasets.feature_cache import FeatureCache


def draw(seed, num_images=5):
    generator = np.random.default_rng(seed)
    keys = generator.integers(0, 256, (num_images, 32)).astype(np.uint8)
    return keys, generator.normal(size=(num_images, 7)).astype(np.float32)


def find(cache, keys):
    features = np.zeros((len(keys), 7), np.float32)
    return features, cache.find(keys, features)


def test_what_was_added_is_found_in_any_order(tmp_path):
    cache, (keys, features) = FeatureCache(tmp_path, "network"), draw(0)
    cache.add(keys[:3], features[:3])
    order = np.array([4, 2, 0, 2])
    found, is_known = find(FeatureCache(tmp_path, "network"), keys[order])
    assert is_known.tolist() == [False, True, True, True]
    np.testing.assert_array_equal(found[1:], features[order[1:]])


def test_another_identity_knows_nothing(tmp_path):
    keys, features = draw(0)
    FeatureCache(tmp_path, "network").add(keys, features)
    assert not find(FeatureCache(tmp_path, "newer network"), keys)[1].any()


def damage(content, kind):
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "one bit":
        place = len(content) // 2
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    return {"empty": b"", "text": b"features"}[kind]


@pytest.mark.parametrize("kind", ["truncated", "one bit", "empty", "text"])
def test_a_damaged_file_is_removed_and_the_others_stay(tmp_path, kind, capsys):
    cache, damaged, sound = FeatureCache(tmp_path, "network"), draw(0, 50), draw(1)
    cache.add(*damaged)
    (path,) = (tmp_path / "network").glob("*.npz")
    path.write_bytes(damage(path.read_bytes(), kind))
    cache.add(*sound)
    assert not find(cache, damaged[0])[1].any()
    assert find(cache, sound[0])[1].all()
    assert not path.exists()
    assert f"{path} are damaged" in capsys.readouterr().out


def test_a_file_of_another_number_of_features_is_removed(tmp_path):
    cache, (keys, features) = FeatureCache(tmp_path, "network"), draw(0)
    cache.add(keys, features[:, :3])
    assert not find(cache, keys)[1].any()
    assert not list((tmp_path / "network").iterdir())


def test_the_files_used_last_stay_within_the_bound(tmp_path):
    caches = [FeatureCache(tmp_path, f"network {seed}", 2000) for seed in range(3)]
    for seed, cache in enumerate(caches[:2]):
        cache.add(*draw(seed))
    assert find(caches[0], draw(0)[0])[1].all()
    caches[2].add(*draw(2))
    known = [bool(find(cache, draw(seed)[0])[1].all()) for seed, cache in enumerate(caches)]
    assert known == [True, False, True]


def test_simultaneous_writers_and_readers(tmp_path):
    def write_and_read(seed):
        keys, features = draw(seed)
        cache = FeatureCache(tmp_path, "network")
        cache.add(keys, features)
        found, is_known = find(cache, keys)
        return is_known.all() and np.array_equal(found, features)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write_and_read, range(24)))


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(tmp_path, capsys):
    (tmp_path / "file").touch()
    cache = FeatureCache(tmp_path / "file", "network")
    cache.add(*draw(0))
    assert "Features are not kept" in capsys.readouterr().out
    assert not find(cache, draw(0)[0])[1].any()


def test_of_files_without_a_wanted_image_only_the_keys_are_read(tmp_path):
    cache, wanted, other = FeatureCache(tmp_path, "network"), draw(0), draw(1, 500)
    cache.add(*other)
    (path,) = (tmp_path / "network").glob("*.npz")
    # The features are damaged: who reads them finds out, and removes the file.
    content = path.read_bytes()
    last = content.rindex(other[1][-1].tobytes())
    path.write_bytes(content[:last] + bytes(4) + content[last + 4 :])
    cache.add(*wanted)
    assert find(cache, wanted[0])[1].all()
    assert path.exists()
    assert not find(cache, other[0][:1])[1].any()
    assert not path.exists()
