"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core import words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("30s", 30), ("10m", 600), ("8h", 28_800), ("7d", 604_800), ("1.5h", 5400), (" 2M ", 120)],
)
def test_a_duration_is_a_number_and_a_unit(text, wanted):
    """Seconds, minutes, hours, days; case and outer spaces do not matter."""
    assert words.seconds(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1k", 1024), ("512m", 512 << 20), ("2g", 2 << 30), ("1t", 1 << 40), ("0.5G", 1 << 29)],
)
def test_a_size_is_a_number_and_a_unit(text, wanted):
    """Powers of 1024."""
    assert words.size(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "30", "m", "30 m", "-1s", "1w", "30ss", "1e3s", "never", "s3"]
)
def test_anything_else_is_no_duration(text):
    """The refusal says what is allowed."""
    with pytest.raises(ValueError, match=f"^allowed is {words.DURATION_RULE}$"):
        words.seconds(text)


@pytest.mark.parametrize("text", ["", "512", "2gb", "2 g", "-1m", "7d", "never"])
def test_anything_else_is_no_size(text):
    """The same."""
    with pytest.raises(ValueError, match=f"^allowed is {words.SIZE_RULE}$"):
        words.size(text)


@pytest.mark.parametrize("text", ["0s", "0.0h", "000d"])
def test_zero_is_no_duration(text):
    """It would mean 'never', or 'at once', and nobody knows which."""
    with pytest.raises(ValueError, match="^0 is not allowed; allowed is"):
        words.seconds(text)


@pytest.mark.parametrize("text", ["0m", "0.0001k"])
def test_less_than_a_byte_is_no_size(text):
    """To an engine a limit of zero means none."""
    with pytest.raises(ValueError, match="allowed is a number and a unit"):
        words.size(text)


@pytest.mark.parametrize("convert", [words.seconds, words.size])
@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_what_nobody_can_mean_is_refused(convert, digits):
    """A number of any length is refused in words, and overflows nothing later."""
    unit = "d" if convert is words.seconds else "t"
    with pytest.raises(ValueError, match="allowed is a number and a unit"):
        convert("9" * digits + unit)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_durations_scale_with_their_unit(number, unit):
    """Or are longer than anybody waits."""
    wanted = number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    if wanted <= 3650 * 86400:
        assert words.seconds(f"{number}{unit}") == wanted
    else:
        with pytest.raises(ValueError, match="3650d"):
            words.seconds(f"{number}{unit}")


# ----------------------------------------------------------------------------------- periods


@pytest.mark.parametrize("text", ["never", "NEVER", " Never "])
def test_a_period_can_have_no_end(text):
    """As people write it; no duration and no size can."""
    assert words.period(text) is None
    for convert in (words.seconds, words.size):
        with pytest.raises(ValueError, match="^allowed is a number and a unit"):
            convert(text)


@pytest.mark.parametrize(("text", "wanted"), [("30m", 1800), ("1.5h", 5400), (" 7D ", 604_800)])
def test_any_other_period_is_a_duration(text, wanted):
    """In the same words."""
    assert words.period(text) == wanted


@pytest.mark.parametrize("text", ["", "30", "never!", "never 1h", "nie", "-1h", "1w"])
def test_anything_else_is_no_period(text):
    """The refusal says that `never` would be one."""
    with pytest.raises(ValueError, match=f"^allowed is {words.PERIOD_RULE}$"):
        words.period(text)


def test_zero_and_centuries_are_no_periods():
    """Nor do they lose the way out in their refusals."""
    with pytest.raises(ValueError, match=f"^0 is not allowed; allowed is {words.PERIOD_RULE}$"):
        words.period("0s")
    with pytest.raises(ValueError, match=f"longer than 3650d; allowed is {words.PERIOD_RULE}$"):
        words.period("99999d")


# ---------------------------------------------------------------------------------- for people


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (-5, "0 s"),
        (1, "1 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (3661, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (86_460, "1 d"),
        (90_000, "1 d 1 h"),
        (100 * 86_400 + 7200, "100 d 2 h"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(seconds, wanted):
    """Nobody wants to know the minutes of days."""
    assert words.spoken(seconds) == wanted


@given(st.floats(0, 3650 * 86_400))
def test_what_is_told_is_near_what_is_meant(seconds):
    """Less than the smaller unit is left out; what is told could be read back."""
    units = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
    parts = words.spoken(seconds).split(" ")
    told = [(int(count), units[unit]) for count, unit in zip(parts[::2], parts[1::2], strict=True)]
    sizes = [size for _, size in told]
    assert sizes == sorted(sizes, reverse=True)
    assert len(told) <= 2
    largest = sizes[0]
    assert 0 <= round(seconds) - sum(count * size for count, size in told) < max(1, largest / 24)
