"""Activity codes, headcount bands, register numbers and the regime rule: what the register says, taken at its word."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from features.contract import REGIMES
from features.firms import (
    BAND_STAFF,
    BANDS,
    CATEGORY_STAFF,
    NAF_SECTIONS,
    infer_regime,
    naf_part,
    size_conflict,
    valid_siren,
    valid_siret,
)
from features.titles import read_title

BANDS_IN_ORDER = ("NN", "00", "01", "02", "03", "11", "12", "21", "22", "31", "32", "41", "42", "51", "52", "53")


@pytest.mark.parametrize(
    ("code", "section", "division", "class_"),
    [
        ("62.01Z", "J", "62", "62.01"),
        ("6201Z", "J", "62", "62.01"),
        ("62.01", "J", "62", "62.01"),
        ("62.0", "J", "62", None),
        ("62", "J", "62", None),
        (" 62.01z ", "J", "62", "62.01"),
        ("62.01 Z", "J", "62", "62.01"),
        ("01.11Z", "A", "01", "01.11"),
        ("09.90Z", "B", "09", "09.90"),
        ("33.20D", "C", "33", "33.20"),
        ("35.11Z", "D", "35", "35.11"),
        ("39.00Z", "E", "39", "39.00"),
        ("43.99C", "F", "43", "43.99"),
        ("47.11F", "G", "47", "47.11"),
        ("53.10Z", "H", "53", "53.10"),
        ("56.10A", "I", "56", "56.10"),
        ("66.22Z", "K", "66", "66.22"),
        ("68.20B", "L", "68", "68.20"),
        ("75.00Z", "M", "75", "75.00"),
        ("82.99Z", "N", "82", "82.99"),
        ("84.11Z", "O", "84", "84.11"),
        ("85.59A", "P", "85", "85.59"),
        ("86.90D", "Q", "86", "86.90"),
        ("93.13Z", "R", "93", "93.13"),
        ("96.02A", "S", "96", "96.02"),
        ("98.20Z", "T", "98", "98.20"),
        ("99.00Z", "U", "99", "99.00"),
    ],
)
def test_an_activity_code_lies_in_a_section_a_division_and_a_class(
    code: str, section: str, division: str, class_: str | None
) -> None:
    assert [naf_part(code, part) for part in ("section", "division", "class")] == [section, division, class_]


@pytest.mark.parametrize(
    "code", [None, "", "software", "J", "6", "6201", "620", "62.", "62.01ZZ", "04.11Z", "34", "00.00Z", "621.01", "٦٢"]
)
def test_what_is_no_activity_code_has_no_part(code: str | None) -> None:
    assert {naf_part(code, part) for part in ("section", "division", "class")} == {None}


def test_sections_are_those_of_the_nomenclature() -> None:
    """21 sections and 88 divisions; each division in one section, and sections in the order of their divisions."""
    divisions = [n for first, last in NAF_SECTIONS.values() for n in range(first, last + 1)]
    assert "".join(NAF_SECTIONS) == "ABCDEFGHIJKLMNOPQRSTU"
    assert len(divisions) == len(set(divisions)) == 88
    assert divisions == sorted(divisions)


def test_a_part_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="group"):
        naf_part("62.01Z", "group")


def test_bands_stand_in_the_order_of_their_staff() -> None:
    assert tuple(BANDS) == BANDS_IN_ORDER
    assert list(BANDS.values()) == list(range(16))
    assert BANDS["NN"] == 0
    employing = [BAND_STAFF[b] for b in BANDS_IN_ORDER[2:]]
    for (_, highest), (lowest, _) in pairwise(employing):
        assert highest is not None
        assert lowest == highest + 1
    assert (employing[0], employing[-1]) == ((1, 2), (10_000, None))


@pytest.mark.parametrize("threshold", [10, 250, 5000])
def test_no_band_straddles_a_threshold(threshold: int) -> None:
    for lowest, highest in BAND_STAFF.values():
        assert lowest >= threshold or (highest is not None and highest < threshold)


@pytest.mark.parametrize(
    ("category", "headcount", "band", "conflict"),
    [
        ("PME", 249, None, False),
        ("PME", 249.5, None, False),
        ("PME", 250, None, True),
        ("ETI", 249, None, True),
        ("ETI", 250, None, False),
        ("ETI", 4999, None, False),
        ("ETI", 5000, None, True),
        ("GE", 4999, None, True),
        ("GE", 5000, None, False),
        ("GE", None, "01", True),
        ("GE", None, "NN", True),
        ("GE", None, "52", False),
        ("PME", None, "31", False),
        ("PME", None, "32", True),
        ("PME", 300, "01", True),  # the headcount, which is the finer, counts first
        (None, 10, "11", None),
        ("PME", None, None, None),
        ("PME", None, "99", None),
        ("TPE", 10, None, None),
    ],
)
def test_a_category_may_disagree_with_the_own_staff(
    category: str | None, headcount: float | None, band: str | None, conflict: bool | None
) -> None:
    assert size_conflict(category, headcount, band) is conflict


def test_every_band_agrees_with_one_category() -> None:
    for band in BANDS:
        assert [size_conflict(c, None, band) for c in CATEGORY_STAFF].count(False) == 1


@pytest.mark.parametrize(
    ("regime", "deadline", "headcount", "band", "expected"),
    [
        *((given, 1, 5, "53", given) for given in REGIMES),
        (None, 1, 5, "01", "project"),
        (None, 0, None, None, "project"),  # a deadline at the epoch is one
        (None, None, 9, None, "mass"),
        (None, None, 0, "53", "mass"),
        (None, None, 10, "01", "industrial"),
        (None, None, None, "NN", "mass"),
        (None, None, None, "00", "mass"),
        (None, None, None, "03", "mass"),
        (None, None, None, "11", "industrial"),
        (None, None, None, "53", "industrial"),
        (None, None, None, "??", None),
        (None, None, None, None, None),
    ],
)
def test_the_regime_is_given_or_follows_from_a_rule(
    regime: str | None, deadline: int | None, headcount: float | None, band: str | None, expected: str | None
) -> None:
    assert infer_regime(regime, deadline, headcount, band) == expected


@pytest.mark.parametrize("text", ["732829320", "732 829 320", " 732\u00a0829 320 ", "356000000", "552100554"])
def test_a_siren_with_a_sound_check_digit_is_one(text: str) -> None:
    assert valid_siren(text)


@pytest.mark.parametrize("text", ["", "73282932", "7328293200", "732-829-320", "73282932O", "000000000", "٧٣٢٨٢٩٣٢٠"])
def test_other_texts_are_no_siren(text: str) -> None:
    assert not valid_siren(text)


def test_one_wrong_digit_or_two_swapped_are_found() -> None:
    sound = "732829320"
    for place in range(9):
        for digit in "0123456789":
            if digit != sound[place]:
                assert not valid_siren(sound[:place] + digit + sound[place + 1 :])
    for place in range(8):
        a, b = sound[place], sound[place + 1]
        if a != b and {a, b} != {"0", "9"}:
            assert not valid_siren(sound[:place] + b + a + sound[place + 2 :])


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("73282932000074", True),
        ("732 829 320 00074", True),
        ("73282932000075", False),
        ("35600000000048", True),  # the seat of La Poste: sound by Luhn
        ("35600000000001", True),  # 3 + 5 + 6 + 1 = 15
        ("35600000049837", True),  # 14 + 31 = 45; not sound by Luhn
        ("35600000000002", False),
        ("35600000049838", False),
        ("73282932000001", False),  # the exception is La Poste's alone: 36 + 1 = 37
        ("73282932000004", False),  # a sum of 40 helps no one else
        ("7328293200007", False),
        ("00000000000000", False),
    ],
)
def test_a_siret_has_a_sound_check_digit_or_is_of_la_poste(text: str, sound: bool) -> None:
    assert valid_siret(text) is sound


def test_a_siret_holds_a_sound_siren() -> None:
    """A siret that is sound as a whole is none if its siren is not."""
    whole = next(f"732829321{n:05d}" for n in range(100) if _luhn_sum(f"732829321{n:05d}") % 10 == 0)
    assert not valid_siret(whole)


def _luhn_sum(digits: str) -> int:
    return sum(sum(map(int, str(int(d) * (1 + i % 2)))) for i, d in enumerate(reversed(digits)))


def test_the_page_says_what_the_code_does() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "firmographics.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    bands = {row[0]: row[1].replace(",", "") for row in rows if row[0] in BANDS}
    for band, (lowest, highest) in BAND_STAFF.items():
        more = "" if lowest == highest else " and more" if highest is None else f" to {highest}"
        assert bands[band] == f"{lowest}{more}"
    assert list(bands) == list(BANDS)
    titles = {row[0]: tuple(None if cell == "-" else cell for cell in row[1:]) for row in rows[2:] if len(row) == 4}
    assert len(titles) == 20
    assert {title: tuple(read_title(title)) for title in titles} == titles
