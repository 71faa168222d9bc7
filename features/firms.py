"""What the French register tells of a firm: its activity's hierarchy, headcount bands, numbers, and how it then buys.

Pure and light to import: the service loads it too. The nomenclatures are public (INSEE): NAF rev. 2, the headcount
bands and firm categories of the Sirene register.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from features.remembered import remembered

NAF_PARTS = ("section", "division", "class")
# The first and the last division of each section of NAF rev. 2 (and of NACE rev. 2, whose divisions it shares).
NAF_SECTIONS: Mapping[str, tuple[int, int]] = {
    "A": (1, 3),
    "B": (5, 9),
    "C": (10, 33),
    "D": (35, 35),
    "E": (36, 39),
    "F": (41, 43),
    "G": (45, 47),
    "H": (49, 53),
    "I": (55, 56),
    "J": (58, 63),
    "K": (64, 66),
    "L": (68, 68),
    "M": (69, 75),
    "N": (77, 82),
    "O": (84, 84),
    "P": (85, 85),
    "Q": (86, 88),
    "R": (90, 93),
    "S": (94, 96),
    "T": (97, 98),
    "U": (99, 99),
}
_SECTION_OF = {f"{n:02d}": section for section, (first, last) in NAF_SECTIONS.items() for n in range(first, last + 1)}

# Lowest and highest staff of each headcount band of Sirene, in order; None is without end.
# NN is a unit that employs nobody, which is known; 00 one that had staff during the year and none at its end.
BAND_STAFF: Mapping[str, tuple[int, int | None]] = {
    "NN": (0, 0),
    "00": (0, 0),
    "01": (1, 2),
    "02": (3, 5),
    "03": (6, 9),
    "11": (10, 19),
    "12": (20, 49),
    "21": (50, 99),
    "22": (100, 199),
    "31": (200, 249),
    "32": (250, 499),
    "41": (500, 999),
    "42": (1000, 1999),
    "51": (2000, 4999),
    "52": (5000, 9999),
    "53": (10_000, None),
}
BANDS: Mapping[str, int] = {band: order for order, band in enumerate(BAND_STAFF)}

CATEGORIES = ("PME", "ETI", "GE")
CATEGORY_STAFF: Mapping[str, tuple[int, int | None]] = {"PME": (0, 249), "ETI": (250, 4999), "GE": (5000, None)}

MASS_BELOW = 10  # staff: the very small firms, which buy off the shelf and often

LA_POSTE = "356000000"  # the siren whose establishments have numbers of their own kind

_NAF = re.compile(r"(\d\d)(?:\.(\d)(?:(\d)\s?[A-Za-z]?)?|(\d\d)\s?[A-Za-z])?", re.ASCII)
# What may stand between the digits of a register number, on every engine.
SPACES = " \t\n\r\x0b\x0c\u00a0\u2009\u202f"
_NO_SPACES = str.maketrans("", "", SPACES)


@remembered(10_000, 40)
def naf_part(code: str | None, part: str) -> str | None:
    """The section ("J"), division ("62") or class ("62.01") that an activity code of NAF rev. 2 lies in.

    Reads ``62.01Z``, ``6201Z``, ``62.01``, ``62.0`` and ``62``; None where the code is of another form, its division
    does not exist or, for the class, it is too short. Four bare digits are not read: American codes look like that.
    """
    if part not in NAF_PARTS:
        raise ValueError(f"{part!r} is none of {', '.join(NAF_PARTS)}")
    found = None if code is None else _NAF.fullmatch(code.strip())
    if found is None or found[1] not in _SECTION_OF:
        return None
    division, group, last, both = found.groups()
    if part == "section":
        return _SECTION_OF[division]
    if part == "division":
        return division
    if both:
        return f"{division}.{both}"
    return f"{division}.{group}{last}" if last else None


def staff(headcount: float | None, band: str | None) -> float | None:
    """The fewest staff that a firm has by its headcount or else by its band; None where neither tells."""
    if headcount is not None:
        return headcount
    return BAND_STAFF[band][0] if band is not None and band in BAND_STAFF else None


def size_conflict(category: str | None, headcount: float | None, band: str | None) -> bool | None:
    """Whether a firm's category disagrees with its own staff; None where the one or the other is unknown.

    The category (PME, ETI, GE) is set on the group that the unit belongs to, so a conflict is a signal, not an error:
    a small unit of a large group, or a large one whose turnover is small.
    """
    own = staff(headcount, band)
    if own is None or category is None or category not in CATEGORY_STAFF:
        return None
    lowest, highest = CATEGORY_STAFF[category]
    return own < lowest or (highest is not None and own >= highest + 1)


def infer_regime(
    regime: str | None, tender_deadline: object | None, headcount: float | None, band: str | None
) -> str | None:
    """How a firm buys: the given regime, else by rule; None where nothing tells.

    A tender's deadline makes it a project; else fewer than 10 staff (by headcount, or else by band) mass, 10 or more
    industrial. No band straddles 10.
    """
    if regime is not None:
        return regime
    if tender_deadline is not None:
        return "project"
    own = staff(headcount, band)
    return None if own is None else "mass" if own < MASS_BELOW else "industrial"


def clean_number(text: str) -> str:
    """A register number without its spaces: ``732 829 320`` is ``732829320``."""
    return text.translate(_NO_SPACES)


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        total += digit if place % 2 == 0 else 2 * digit - (9 if digit > 4 else 0)
    return total % 10 == 0


def _digits(text: str, count: int) -> str | None:
    number = clean_number(text)
    sound = len(number) == count and number.isascii() and number.isdigit() and number.strip("0")
    return number if sound else None


def valid_siren(text: str) -> bool:
    """Whether a text is a siren: 9 digits, spaces aside, with a sound check digit (Luhn), and not all zeros."""
    number = _digits(text, 9)
    return number is not None and _luhn(number)


def valid_siret(text: str) -> bool:
    """Whether a text is a siret: 14 digits, spaces aside: a siren and an establishment's five.

    Both the whole and its siren have sound check digits (Luhn). Establishments of La Poste are the exception: theirs
    are sound by Luhn or where the sum of their digits is a multiple of 5.
    """
    number = _digits(text, 14)
    if number is None or not _luhn(number[:9]):
        return False
    return _luhn(number) or (number[:9] == LA_POSTE and sum(map(int, number)) % 5 == 0)
