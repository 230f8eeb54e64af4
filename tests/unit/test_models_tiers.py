"""What is detected on imitated machines, and which models follow from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from asterisk_ai.config import share_path
from asterisk_ai.errors import ConfigError
from asterisk_ai.models import benchmark, registry, tiers
from asterisk_ai.models.hardware import Machine, detect
from asterisk_ai.models.measured import Measured

REGISTRY = registry.load(share_path("models") / "registry.json")
GB = 1_000_000_000
MODERN = "fpu sse2 ssse3 sse4_1 sse4_2 avx f16c fma avx2 bmi2"
OLD = "fpu sse2 ssse3 sse4_1 sse4_2"


class Imitation:
    """The kernel's files of a machine below ``root``."""

    def __init__(self, root: Path, cores: int, memory: int, free: int | None = None, flags: str = MODERN) -> None:
        self.root = root
        name = "Features" if "asimd" in flags else "flags"
        self.write("proc/cpuinfo", "".join(f"processor\t: {n}\n{name}\t\t: {flags}\n\n" for n in range(cores)))
        available = memory * 9 // 10 if free is None else free
        free_lines = f"MemFree: 1 kB\nMemAvailable: {available // 1024} kB\n"
        self.write("proc/meminfo", f"MemTotal: {memory // 1024} kB\n{free_lines}")
        self.allow(f"0-{cores - 1}" if cores > 1 else "0")

    def write(self, path: str, text: str | int) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"{text}\n" if isinstance(text, int) else text)

    def allow(self, cores: str) -> None:
        self.write("proc/self/status", f"Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t{cores}\n")

    def version2(self, own: str, mount_root: str = "/", at: str = "sys/fs/cgroup") -> str:
        """Mount cgroups of version 2; returns the folder of ours."""
        self.write("proc/self/cgroup", f"0::{own}\n")
        self.write(
            "proc/self/mountinfo",
            "24 1 0:22 / /proc rw - proc proc rw\n"
            f"31 23 0:27 {mount_root} /{at} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        )
        folder = f"{at}{own.removeprefix(mount_root.rstrip('/'))}".rstrip("/")
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        return folder

    def version1(self, own: str, mount_root: str = "/") -> tuple[str, str]:
        """Mount cgroups of version 1; returns the folders of cpu and memory."""
        self.write("proc/self/cgroup", f"11:memory:{own}\n4:cpu,cpuacct:{own}\n1:name=systemd:{own}\n0::/\n")
        self.write(
            "proc/self/mountinfo",
            f"35 32 0:30 {mount_root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
            f"36 32 0:31 {mount_root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        )
        inside = own.removeprefix(mount_root.rstrip("/")).rstrip("/")
        folders = f"sys/fs/cgroup/cpu,cpuacct{inside}", f"sys/fs/cgroup/memory{inside}"
        for folder in folders:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        return folders

    def detect(self, disk: int = 100 * GB, architecture: str = "x86_64") -> Machine:
        return detect(Path("/x"), self.root, architecture, lambda path: disk)

    def tier(self) -> str:
        return tiers.best(tiers.judge(REGISTRY, self.detect())).tier.name


@pytest.mark.parametrize(
    ("cores", "memory", "tier"),
    [
        (1, 1, "embedded"),
        (1, 64, "embedded"),
        (2, 1, "embedded"),
        (2, 2, "small"),
        (2, 512, "small"),
        (4, 4, "small"),
        (4, 8, "medium"),
        (6, 16, "medium"),
        (8, 8, "medium"),
        (8, 16, "large"),
        (12, 128, "large"),
        (16, 32, "large"),
        (16, 64, "xlarge"),
        (32, 128, "xlarge"),
        (64, 4, "small"),
        (64, 512, "xlarge"),
    ],
)
def test_without_limits(tmp_path: Path, cores: int, memory: int, tier: str) -> None:
    machine = Imitation(tmp_path, cores, memory * GB)
    found = machine.detect()
    assert (found.cores, found.host_cores, found.limits) == (cores, cores, ())
    assert found.memory_bytes == memory * GB * 9 // 10 // 1024 * 1024
    assert found.disk_bytes == 100 * GB
    assert machine.tier() == tier


LIMITS = [
    # host's cores and GB, the limit's, what follows
    (64, 512, 1, 1, "embedded"),
    (64, 512, 2, 2, "small"),
    (64, 512, 4, 8, "medium"),
    (64, 512, 1.5, 64, "embedded"),
    (64, 512, 8, 16, "large"),
    (64, 512, 16, 40, "xlarge"),
    (4, 8, 64, 512, "medium"),  # a limit that is none
    (1, 1, 4, 8, "embedded"),
]


@pytest.mark.parametrize(("cores", "memory", "quota", "limit", "tier"), LIMITS)
@pytest.mark.parametrize(
    ("own", "mount_root"),
    [("/", "/"), ("/system.slice/asterisk-ai.service", "/"), ("/docker/abc", "/docker/abc"), ("/../outside", "/")],
)
def test_version2_limits(
    tmp_path: Path, cores: int, memory: int, quota: float, limit: int, tier: str, own: str, mount_root: str
) -> None:
    machine = Imitation(tmp_path, cores, memory * GB)
    folder = machine.version2(own, mount_root) if ".." not in own else machine.version2("/")
    machine.write(f"{folder}/cpu.max", f"{int(quota * 100_000)} 100000\n")
    machine.write(f"{folder}/memory.max", limit * GB)
    machine.write(f"{folder}/memory.current", limit * GB // 10)
    machine.write(f"{folder}/memory.stat", f"anon 5\ninactive_file {limit * GB // 20}\n")
    found = machine.detect()
    assert found.cores == min(cores, quota)
    assert found.memory_bytes == min(memory * GB * 9 // 10 // 1024 * 1024, limit * GB - limit * GB // 20)
    assert bool(found.limits) == (quota < cores)
    assert machine.tier() == tier


@pytest.mark.parametrize(("cores", "memory", "quota", "limit", "tier"), LIMITS)
@pytest.mark.parametrize(("own", "mount_root"), [("/", "/"), ("/lxc/one", "/"), ("/docker/abc", "/docker/abc")])
def test_version1_limits(
    tmp_path: Path, cores: int, memory: int, quota: float, limit: int, tier: str, own: str, mount_root: str
) -> None:
    machine = Imitation(tmp_path, cores, memory * GB)
    cpu, memory_folder = machine.version1(own, mount_root)
    machine.write(f"{cpu}/cpu.cfs_quota_us", int(quota * 50_000))
    machine.write(f"{cpu}/cpu.cfs_period_us", 50_000)
    machine.write(f"{memory_folder}/memory.limit_in_bytes", limit * GB)
    machine.write(f"{memory_folder}/memory.usage_in_bytes", limit * GB // 10)
    machine.write(f"{memory_folder}/memory.stat", f"inactive_file 1\ntotal_inactive_file {limit * GB // 20}\n")
    found = machine.detect()
    assert found.cores == min(cores, quota)
    assert found.memory_bytes == min(memory * GB * 9 // 10 // 1024 * 1024, limit * GB - limit * GB // 20)
    assert machine.tier() == tier


def test_the_tightest_limit_on_the_way_up_counts(tmp_path: Path) -> None:
    machine = Imitation(tmp_path, 64, 512 * GB)
    machine.version2("/a/b/c")
    levels = (("a", "400000 100000", 4 * GB), ("a/b", "max 100000", "max"), ("a/b/c", "1600000 100000", 64 * GB))
    for folder, quota, limit in levels:
        machine.write(f"sys/fs/cgroup/{folder}/cpu.max", f"{quota}\n")
        machine.write(f"sys/fs/cgroup/{folder}/memory.max", f"{limit}\n")
    found = machine.detect()
    assert (found.cores, found.memory_bytes) == (4, 4 * GB)
    assert any("cgroup /a" in limit and "4 cores" in limit for limit in found.limits)


def test_no_limit_as_each_version_says_it(tmp_path: Path) -> None:
    machine = Imitation(tmp_path / "2", 8, 16 * GB)
    folder = machine.version2("/x")
    machine.write(f"{folder}/cpu.max", "max 100000\n")
    machine.write(f"{folder}/memory.max", "max\n")
    assert machine.detect().limits == ()
    machine = Imitation(tmp_path / "1", 8, 16 * GB)
    cpu, memory = machine.version1("/x")
    machine.write(f"{cpu}/cpu.cfs_quota_us", -1)
    machine.write(f"{cpu}/cpu.cfs_period_us", 100_000)
    machine.write(f"{memory}/memory.limit_in_bytes", 9_223_372_036_854_771_712)
    assert machine.detect().limits == ()
    assert machine.tier() == "large"


def test_hybrid_hierarchy(tmp_path: Path) -> None:
    """systemd's hybrid mode: an empty version 2 beside the controllers of version 1."""
    machine = Imitation(tmp_path, 8, 16 * GB)
    cpu, _ = machine.version1("/x")
    before = (tmp_path / "proc/self/mountinfo").read_text()
    machine.write("proc/self/mountinfo", before + "37 32 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n")
    machine.write(f"{cpu}/cpu.cfs_quota_us", 200_000)
    machine.write(f"{cpu}/cpu.cfs_period_us", 100_000)
    assert machine.detect().cores == 2


@pytest.mark.parametrize(("allowed", "cores"), [("0", 1), ("0-3", 4), ("0,2,4-5", 4), ("", 8)])
def test_affinity(tmp_path: Path, allowed: str, cores: int) -> None:
    machine = Imitation(tmp_path, 8, 16 * GB)
    machine.allow(allowed)
    found = machine.detect()
    assert found.cores == cores
    assert any("affinity" in limit for limit in found.limits) == (cores < 8)


def test_memory_that_others_use_does_not_count(tmp_path: Path) -> None:
    assert Imitation(tmp_path, 16, 512 * GB, free=2 * GB).tier() == "small"


@pytest.mark.parametrize(
    ("flags", "architecture", "tier"),
    [
        (OLD, "x86_64", "small"),
        (MODERN, "x86_64", "medium"),
        ("fp asimd crc32", "aarch64", "medium"),
        ("x", "riscv64", "small"),
    ],
)
def test_instruction_sets(tmp_path: Path, flags: str, architecture: str, tier: str) -> None:
    found = Imitation(tmp_path, 4, 16 * GB, flags=flags).detect(architecture=architecture)
    assert found.instructions == frozenset(flags.split())
    verdict = tiers.best(tiers.judge(REGISTRY, found))
    assert verdict.tier.name == tier
    lacking = " ".join(tiers.judge(REGISTRY, found)[2].lacks)
    assert ("avx2" in lacking) == (flags == OLD)


def test_gpus(tmp_path: Path) -> None:
    machine = Imitation(tmp_path, 8, 64 * GB)
    assert machine.tier() == "large"
    machine.write("sys/class/drm/renderD128/device/vendor", "0x8086\n")  # within the processor: no help
    assert machine.detect().gpus == ()
    machine.write("sys/class/drm/renderD129/device/vendor", "0x1002\n")
    assert machine.detect().gpus == ("AMD",)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        machine.write(f"dev/{name}", "")
    assert machine.detect().gpus == ("NVIDIA", "NVIDIA")
    assert machine.tier() == "xlarge"


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = detect(Path("/x"), tmp_path, "x86_64", lambda path: 0)
    assert found.memory_bytes == 0
    assert tiers.best(tiers.judge(REGISTRY, found)).tier.name == "embedded"


@pytest.mark.parametrize("text", ["", "nonsense", "0::\n", ":::\n", "x\n0::/a\n"])
def test_odd_files_limit_nothing(tmp_path: Path, text: str) -> None:
    machine = Imitation(tmp_path, 4, 8 * GB)
    machine.write("proc/self/cgroup", text)
    machine.write("proc/self/mountinfo", text)
    assert machine.detect().cores == 4


def test_this_machine(tmp_path: Path) -> None:
    found = detect(tmp_path / "not" / "there")
    assert 0 < found.cores <= found.host_cores
    assert 0 < found.memory_bytes <= found.host_memory_bytes
    assert found.disk_bytes > 0


def names(tier: str, *languages: str) -> tuple[set[str], tuple[str, ...]]:
    models, missing = tiers.models_of(REGISTRY, REGISTRY.tier(tier), languages)
    return {model.id for model in models}, missing


def test_models_for_languages() -> None:
    assert names("embedded", "en-US") == (set(), ())
    english = {"silero-vad-6.2.1", "vosk-model-small-en-us-0.15", "en_US-kristin-medium"}
    assert names("small", "en-US") == (english, ())
    assert names("small", "en-AU")[0] == english
    assert "en_GB-cori-medium" in names("small", "en-GB")[0]
    assert names("small", "en-US", "de_DE")[0] == english | {"vosk-model-small-de-0.15", "de_DE-mls-medium"}
    assert names("small", "hi") == ({"silero-vad-6.2.1", "vosk-model-small-hi-0.22"}, ("no voice for hi",))
    assert names("small", "xx")[1] == ("no models for xx",)
    assert "vosk-model-en-us-0.22-lgraph" in names("large", "en-US")[0]
    assert "vosk-model-small-de-0.15" in names("xlarge", "de")[0]


def test_free_disk(tmp_path: Path) -> None:
    """Models count for the callers' languages, packed ones twice, those that are here not at all."""
    machine = Imitation(tmp_path, 8, 16 * GB)
    english = tiers.Preferences(("en-US",))
    for megabytes, tier in ((2900, "large"), (2800, "medium"), (1400, "medium"), (500, "small"), (300, "embedded")):
        disk = megabytes * 1_000_000
        assert tiers.best(tiers.judge(REGISTRY, machine.detect(disk), None, english)).tier.name == tier
    lacks = tiers.judge(REGISTRY, machine.detect(GB), None, english)[3].lacks
    assert lacks == ("2.8 GB of free disk (1.0 here)",)
    here = frozenset(REGISTRY.models)
    assert (
        tiers.best(tiers.judge(REGISTRY, machine.detect(GB), None, tiers.Preferences(("en-US",), here))).tier.name
        == "large"
    )


def test_measurement_decides(tmp_path: Path) -> None:
    machine = Imitation(tmp_path, 16, 64 * GB).detect()
    fast = Measured(bytes_per_second=200e9, flops=2e12, seconds=2)
    assert tiers.best(tiers.judge(REGISTRY, machine, fast)).tier.name == "xlarge"
    assert tiers.best(tiers.judge(REGISTRY, machine, replace(fast, bytes_per_second=15e9))).tier.name == "large"
    assert tiers.best(tiers.judge(REGISTRY, machine, replace(fast, bytes_per_second=1e9))).tier.name == "small"
    assert tiers.best(tiers.judge(REGISTRY, machine, replace(fast, flops=100e9))).tier.name == "medium"
    lacks = " ".join(tiers.judge(REGISTRY, machine, replace(fast, bytes_per_second=1e9))[2].lacks)
    assert "6 tokens a second from qwen2-1_5b-instruct-q4_0 (at most 1.1 measured)" in lacks


def test_measuring() -> None:
    measured = benchmark.measure(1, GB, seconds=0.05)
    assert measured.bytes_per_second > 1e8
    assert measured.flops > 1e8
    assert measured.seconds < 5


def test_a_registry_without_a_least_tier(tmp_path: Path) -> None:
    machine = Imitation(tmp_path, 1, GB).detect()
    with pytest.raises(ConfigError, match="no tier of the registry fits"):
        tiers.best(tiers.judge(replace(REGISTRY, tiers=REGISTRY.tiers[3:]), machine))
