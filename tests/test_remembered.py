"""What texts tell is remembered for the short ones alone."""

from __future__ import annotations

from features.remembered import remembered


def test_short_texts_are_asked_for_once_and_long_ones_each_time() -> None:
    asked: list[str | None] = []

    @remembered(2, 3)
    def read(text: str | None, more: int = 0) -> tuple[str | None, int]:
        """What it says."""
        asked.append(text)
        return text, more

    assert [read("abc", 1), read("abc", 1), read("abc", 2)] == [("abc", 1), ("abc", 1), ("abc", 2)]
    assert [read("abcd"), read("abcd"), read(None), read(None)] == [("abcd", 0), ("abcd", 0), (None, 0), (None, 0)]
    assert asked == ["abc", "abc", "abcd", "abcd", None]
    read("a"), read("b"), read("abc", 1)  # no more than two are kept
    assert asked[5:] == ["a", "b", "abc"]
    assert read.__doc__ == "What it says."
