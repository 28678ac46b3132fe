"""bench/libattn.py, through which Python reaches the library, has the structs of attn.h and gradients.h."""

import ctypes
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import libattn


def test_offsets_sizes_and_numbers():
    assert libattn.differences() == []


@pytest.mark.parametrize("name", libattn.STRUCTS)
def test_a_forgotten_field_is_noticed(monkeypatch, name):
    whole = libattn.STRUCTS[name]
    part = type(name, (ctypes.Structure,), {"_fields_": whole._fields_[1:]})
    monkeypatch.setitem(libattn.STRUCTS, name, part)
    assert libattn.differences() != []
