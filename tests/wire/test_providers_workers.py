"""The pool of worker processes: real processes, killed, stopped, slowed down and misled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
from asterisk_ai.providers.workers import WorkerPool, wire

HERE = Path(__file__).parents[1] / "fakes"
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a coroutine on either loop, and sees to it that nothing is left behind."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def go(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.sleep(0))  # what the loop itself keeps open for good
        before = descriptors()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)
        assert descriptors() == before
        assert not children()

    return go


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> list[str]:
    out = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False)
    return [line for line in out.stdout.splitlines() if "workers.child" in line]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def counting(workers: int = 1, **more: Any) -> WorkerPool:
    settings = more.pop("settings", {})
    return WorkerPool("counting", "worker_engines:Counting", settings, workers=workers, **more)


def test_many_streams_at_once(run: Run) -> None:
    async def main() -> None:
        pool = counting(workers=2)
        assert not pool.readiness().ready
        await pool.start()
        assert pool.readiness().ready

        async def one(pieces: int) -> dict[str, Any]:
            async with pool.open({}) as stream:
                for _ in range(pieces):
                    stream.feed(b"\1\0" * 160)
                    await asyncio.sleep(0)
                return await stream.finish()

        results = await asyncio.gather(*(one(n) for n in range(40)))
        assert [r["bytes"] for r in results] == [320 * n for n in range(40)]
        assert {r["pid"] for r in results} == set(pool.pids)
        assert (await pool.ask({"a": 1}))["question"] == {"a": 1}
        with pytest.raises(ProviderUnavailable, match="no answer"):
            await pool.ask({"fail": 1})
        await pool.stop()
        await pool.stop()
        assert pool.pids == ()

    run(main())


def test_killed_in_mid_utterance(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        (pid,) = pool.pids
        async with pool.open({}) as stream:
            stream.feed(bytes(320))
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ProviderUnavailable, match="died"):
                await stream.finish()
            stream.feed(bytes(320))
        assert not pool.readiness().ready
        assert "started again" in pool.readiness().reason
        with pytest.raises(ProviderUnavailable, match="started again"):
            async with pool.open({}):
                pass
        await until(lambda: pool.readiness().ready)
        async with pool.open({}) as stream:
            stream.feed(bytes(320))
            assert (await stream.finish())["bytes"] == 320
        await pool.stop()

    run(main())


def test_engines_stand_behind_the_audio(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        (pid,) = pool.pids
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists() and group.read_text().strip():  # a session of its own: nice alone would count for nothing
            assert group.read_text().split()[-1] == "10"
        await pool.stop()

    run(main())


def test_the_memory_of_one_answer_serves_for_the_next(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        faults = [(await pool.ask({"bytes": 8_000_000}))["faults"] for _ in range(3)]
        await pool.stop()
        assert max(faults[1:]) < 100, "of some 2,000 pages"

    run(main())


def test_a_crash_takes_only_its_own_worker(run: Run) -> None:
    async def main() -> None:
        pool = counting(workers=2)
        await pool.start()
        async with pool.open({"crash": True}) as bad, pool.open({}) as good:
            bad.feed(bytes(640))
            good.feed(bytes(640))
            with pytest.raises(ProviderUnavailable):
                await bad.finish()
            assert (await good.finish())["bytes"] == 640
            assert pool.readiness().ready
        await pool.stop()

    run(main())


def test_a_worker_that_hangs_is_replaced(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        (pid,) = pool.pids
        async with pool.open({"hang": True}) as stream:
            with pytest.raises(ProviderUnavailable, match="said nothing"):
                await stream.finish(seconds=0.2)
        await until(lambda: gone(pid))
        await until(lambda: pool.readiness().ready)
        await pool.stop()

    run(main())


def test_rejected_options_and_settings(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        async with pool.open({"bad": True}) as stream:
            stream.feed(bytes(640))
            with pytest.raises(ProviderRejected, match="counting: bad options"):
                await stream.finish()
        await pool.stop()
        for engine, settings in (("worker_engines:Counting", {"refuse": True}), ("no_such_module:X", {})):
            pool = WorkerPool("counting", engine, settings)
            with pytest.raises(ProviderRejected, match=r"cannot be (set up|imported)"):
                await pool.start()
            assert not pool.readiness().ready

    run(main())


def test_loading_that_takes_too_long(run: Run) -> None:
    async def main() -> None:
        pool = counting(settings={"slow_start": True}, start_seconds=0.3)
        with pytest.raises(ProviderUnavailable, match="did not load"):
            await pool.start()

    run(main())


def test_cancelled_while_starting_leaves_nothing(run: Run) -> None:
    async def main() -> None:
        pool = counting(settings={"slow_start": True})
        task = asyncio.create_task(pool.start())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.pids == ()

    run(main())


def test_a_slow_worker_drops_the_oldest_and_never_blocks(run: Run) -> None:
    async def main() -> None:
        pool = counting(backlog_bytes=64_000)
        await pool.start()
        async with pool.open({"slow": 0.05}) as slow, pool.open({}) as quick:
            began = time.perf_counter()
            for _ in range(5_000):
                slow.feed(bytes(3_200))
            assert time.perf_counter() - began < 1.0
            assert slow.dropped > 0
            quick.feed(bytes(320))
            result = await quick.finish()
            assert result["bytes"] <= 320
        await pool.stop()

    run(main())


def test_streams_take_turns(run: Run) -> None:
    """A stream with a long backlog does not keep a short one waiting."""

    async def main() -> None:
        pool = counting()
        await pool.start()
        async with pool.open({"slow": 0.02}) as long, pool.open({}) as short:
            long.feed(bytes(64_000))
            began = time.perf_counter()
            short.feed(bytes(640))
            await short.finish()
            assert time.perf_counter() - began < 0.5
        await pool.stop()

    run(main())


def test_full_workers_refuse_at_once_and_take_more_when_one_is_done(run: Run) -> None:
    async def main() -> None:
        pool = counting(workers=2, max_requests=3)
        await pool.start()
        async with contextlib.AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(pool.open({})) for _ in range(6)]
            for stream in streams:
                stream.feed(bytes(320))
            begun = time.monotonic()
            for _ in range(3):
                with pytest.raises(ProviderUnavailable, match=r"counting: all workers are full \(2 with 3 requests"):
                    async with pool.open({}):
                        pass
            with pytest.raises(ProviderUnavailable, match="full"):
                await pool.ask({})
            assert time.monotonic() - begun < 0.1
            assert pool.refused == 4
            assert pool.readiness().ready, "full is not out of order: a fallback takes what is too much, no more"
            assert (await streams[0].finish())["bytes"] == 320
            async with pool.open({}) as stream:
                stream.feed(bytes(320))
                assert (await stream.finish())["bytes"] == 320
            for stream in streams[1:]:
                assert (await stream.finish())["bytes"] == 320
        async with pool.open({}) as stream:
            assert (await stream.finish())["bytes"] == 0
        await pool.stop()

    run(main())


def test_the_call_is_told_that_a_recogniser_is_full(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asterisk_ai.providers.engines.pocketsphinx.WorkerPool", partial(WorkerPool, max_requests=1))

    async def main() -> None:
        engine = PocketSphinx()
        await engine.start()
        async with engine.open(rate=8000, hints=Hints()) as one:
            one.feed(bytes(3200))
            with pytest.raises(ProviderUnavailable, match="pocketsphinx: all workers are full"):
                async with engine.open(rate=8000, hints=Hints()):
                    pass
            assert (await one.finish()).text == ""
        await engine.stop()

    run(main())


def test_stop_fails_open_streams(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        async with pool.open({}) as stream:
            await pool.stop()
            with pytest.raises(ProviderUnavailable):
                await stream.finish()

    run(main())


def test_leaving_the_context_ends_a_wait(run: Run) -> None:
    async def main() -> None:
        pool = counting()
        await pool.start()
        async with pool.open({"slow": 0.01}) as stream:
            stream.feed(bytes(64_000))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stream.finish()
        async with pool.open({}) as stream:
            assert (await stream.finish(5.0))["bytes"] == 0
        await pool.stop()

    run(main())


def test_workers_outlive_signals_but_not_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio
            from asterisk_ai.providers.workers import WorkerPool
            async def main():
                pool = WorkerPool("counting", "worker_engines:Counting")
                await pool.start()
                print(*pool.pids, flush=True)
                await asyncio.sleep(60)
            asyncio.run(main())
            """
        )
    )
    env = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parent}"}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.2)
        assert not gone(pid)
        parent.kill()
    end = time.monotonic() + 5
    while not gone(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert gone(pid)


def test_frames_survive_any_split() -> None:
    frames = wire.audio(7, b"abc") + wire.message(wire.Kind.OPEN, 8, {"a": 1}) + wire.message(wire.Kind.FINISH, 7)
    for size in range(1, len(frames) + 1):
        reader = wire.Reader()
        found = [f for i in range(0, len(frames), size) for f in reader.feed(frames[i : i + size])]
        assert found == [(wire.Kind.AUDIO, 7, b"abc"), (wire.Kind.OPEN, 8, b'{"a": 1}'), (wire.Kind.FINISH, 7, b"{}")]


@pytest.mark.parametrize("junk", [b"\xff" * 9, bytes(9), b"Hello world, this is no frame"])
def test_junk_is_told(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"out of step|not a valid Kind"):
        list(wire.Reader().feed(junk))
