"""Writes a .safetensors file, the same bytes each time, for the tools that export tensors."""

import json
import os
import struct


def write_safetensors(path, tensors, metadata):
    """Writes the format by hand (8-byte length, JSON, data): the safetensors package writes
    metadata in an order that changes from run to run. The header is padded so that the data starts
    at a multiple of 8."""
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        raw = tensor.numpy().astype("<f4").tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(struct.pack("<Q", len(text)) + text + data)
    os.replace(partial, path)
