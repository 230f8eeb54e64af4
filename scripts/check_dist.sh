#!/usr/bin/env bash
# Build wheel and sdist, look into both, install the wheel into an empty environment and use it
# from an empty folder, as somebody who never saw the checkout would.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

say() { printf 'check_dist: %s\n' "$*"; }

"$python" -m build --outdir "$work/dist" . >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
wheel=("$work"/dist/asterisk_ai-*.whl)
sdist=("$work"/dist/asterisk_ai-*.tar.gz)

"$python" - "${wheel[0]}" "${sdist[0]}" <<'PY'
import pathlib, sys, tarfile, zipfile

wheel = set(zipfile.ZipFile(sys.argv[1]).namelist())
with tarfile.open(sys.argv[2]) as archive:
    sdist = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
data = [str(f) for d in ("dialplan", "etc-asterisk", "models") for f in pathlib.Path(d).rglob("*") if f.is_file()]
code, tests = (
    [str(f) for f in pathlib.Path(folder).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
    for folder in ("asterisk_ai", "tests")
)
lost = [f"wheel lacks {f}" for f in data if f"asterisk_ai/share/{f}" not in wheel]
lost += [f"wheel lacks {f}" for f in code if f not in wheel]
lost += [f"sdist lacks {f}" for f in [*data, *code, *tests, "setup.py", "pyproject.toml", "LICENSE"] if f not in sdist]
lost += [f"wheel has {f}" for f in wheel if f.startswith(("tests", "scripts", "build"))]
print("\n".join(lost))
sys.exit(bool(lost))
PY
say "wheel and sdist are complete"

"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile "${wheel[0]}"
"$work/venv/bin/python" -m pip check
mkdir "$work/empty"
cd "$work/empty"
export HOME="$work/home" XDG_STATE_HOME="$work/state"
mkdir -p "$HOME"
unset ASTERISK_AI_CONFIG PYTHONPATH
ai="$work/venv/bin/asterisk-ai"
say "$("$ai" --version)"
"$ai" dialplan print >/dev/null
"$ai" dialplan print freepbx >/dev/null
"$ai" dialplan print config >/dev/null
"$ai" check
timeout 120 "$ai" call --serve
say "the wheel works from an empty environment and an empty folder"
