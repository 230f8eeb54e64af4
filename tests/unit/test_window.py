"""The rolling window that holds what was heard last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asterisk_ai.audio.window import Window

SAMPLES = st.binary(max_size=12).map(lambda data: data[: len(data) & ~1])


@given(st.lists(st.one_of(SAMPLES, st.sampled_from(["take", "clear"])), max_size=40))
def test_it_holds_the_end_of_what_was_pushed_and_counts_the_rest(steps: list[bytes | str]) -> None:
    window, model, dropped = Window(0.005, 1000), b"", 0  # five samples
    for step in steps:
        if isinstance(step, bytes):
            window.push(step)
            dropped += max(0, len(model + step) - 10) // 2
            model = (model + step)[-10:]
        elif step == "take":
            assert b"".join(window.take()) == model
            model = b""
        else:
            window.clear()
            model = b""
        assert b"".join(window) == window.pcm() == model
        assert (bool(window), window.dropped) == (bool(model), dropped)
        assert window.seconds == len(model) / 2000


def test_frames_that_are_kept_are_not_copied() -> None:
    window, frames = Window(0.06, 8000), [bytes([n]) * 320 for n in range(5)]
    for frame in frames:
        window.push(frame)
    assert all(kept is frame for kept, frame in zip(window.take(), frames[2:], strict=True))


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    window = Window(0, 8000)
    window.push(b"\1\2")
    assert (window.pcm(), window.dropped, list(window)) == (b"", 1, [])
