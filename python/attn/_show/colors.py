"""Colours of attn's pictures: the same numbers as io/color.c makes (tests hold the two together).

The scale runs through OKLCh (Ottosson 2020), a space that is even to the eye: lightness falls
steadily while the hue turns from yellow over green and teal to blue, so that it reads the same for
the colour-blind, and in grey. The hues are those of Okabe & Ito (2008).
"""

from __future__ import annotations

import functools
import math

HUES = {
    False: ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a5a5a"),
    True: ("#56b4e9", "#e69f00", "#00b282", "#e091be", "#f0e442", "#eb731e", "#bebebe"),
}
PATH_HUE = 1
NOT_A_NUMBER = "#c83ca0"
# Those of io/page.css: paper, panel, ink, faint ink, lines.
INKS = {
    False: ("#fbfaf7", "#f2f0ea", "#22242b", "#5c5f69", "#d2cfc6"),
    True: ("#15171c", "#1d2027", "#e8e8ea", "#a0a3ad", "#3a3e48"),
}
COUNT = 256


def _linear(lightness: float, a: float, b: float) -> list[float]:
    """OKLab to linear sRGB: the inverse of Ottosson's two matrices around a cube root."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return [
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]


def _byte(linear: float) -> int:
    """By the transfer function of sRGB (IEC 61966-2-1)."""
    encoded = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return int(255 * min(max(encoded, 0), 1) + 0.5)


def _at(position: float) -> str:
    """Position 0 is pale, 1 is dark; as strong as sRGB can show."""
    lightness = 0.985 - 0.765 * position
    hue = math.radians(105 + 175 * position)
    chroma = 0.16 * math.sin(math.pi * (0.06 + 0.80 * position))
    while True:
        rgb = _linear(lightness, chroma * math.cos(hue), chroma * math.sin(hue))
        if all(0 <= part <= 1 for part in rgb) or chroma <= 1e-3:
            return "".join(f"{_byte(part):02x}" for part in rgb)
        chroma *= 0.95


@functools.cache
def scale(dark: bool) -> tuple[str, ...]:
    """256 colours of six hexadecimal digits, from the one that is nearest to the paper's."""
    colors = [_at(i / (COUNT - 1)) for i in range(COUNT)]
    return tuple(reversed(colors) if dark else colors)


def is_pale(color: str) -> bool:
    """Whether black text reads better than white on a colour of six digits."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (0, 2, 4))
    return 0.299 * red + 0.587 * green + 0.114 * blue > 115
