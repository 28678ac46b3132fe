"""bench/libattn.py and bench/libattn_nn.py, through which Python reaches the libraries, have the structs
of their headers."""

import ctypes
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import libattn
import libattn_nn

MIRRORS = (libattn, libattn_nn)
STRUCTS = [(mirror, name) for mirror in MIRRORS for name in mirror.STRUCTS]


@pytest.fixture(scope="module")
def headers():
    return {m: libattn.header_layout(m.HEADERS, m.STRUCTS, {}) for m in MIRRORS}


@pytest.mark.parametrize("mirror", MIRRORS, ids=lambda m: m.__name__)
def test_offsets_sizes_and_numbers(mirror):
    assert mirror.differences() == []


@pytest.mark.parametrize(("mirror", "name"), STRUCTS, ids=[name for _, name in STRUCTS])
def test_a_forgotten_field_is_noticed(headers, mirror, name):
    whole = mirror.STRUCTS[name]
    part = type(name, (ctypes.Structure,), {"_fields_": whole._fields_[1:]})
    mirrored = libattn.mirrored_layout({name: part}, {})
    assert any(at != headers[mirror][field] for field, at in mirrored.items())
