#!/bin/sh
# Makes the virtual environment $1 hold exactly what requirements.lock names, plus this package in editable form.
set -eu
venv="$1"

# An interpreter that was compiled without optimisation (as version managers often do) runs Python code at half the
# speed of Debian's: the system's is taken where it is clearly faster. PYTHON=… names another.
microseconds() {
    "$1" -c 'import sys, timeit
sys.version_info < (3, 11) and sys.exit(1)
work = "for i in range(2000):\n d = {i: str(i)}; d.get(i)"
print(int(min(timeit.repeat(work, number=1, repeat=30)) * 1e6))' 2>/dev/null
}
choose_python() {
    first="$(microseconds python3)" || first=""
    system="$(microseconds /usr/bin/python3)" || system=""
    if [ -n "$system" ] && { [ -z "$first" ] || [ $((system * 11)) -lt $((first * 10)) ]; }; then
        echo /usr/bin/python3
    else
        echo python3
    fi
}
python="${PYTHON:-$(choose_python)}"

say() { printf '%s\n' "$*" >&2; }

# Runs apt-get when that is allowed; otherwise says what to run.
need_package() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $* with apt-get"
        apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 ||
            { apt-get update -q >/dev/null && apt-get install -y -q --no-install-recommends "$@" >/dev/null; }
    else
        say "missing: $*. Install it with:  sudo apt-get install $*"
        return 1
    fi
}

command -v "$python" >/dev/null || need_package python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { say "Python 3.11 or newer is needed; $python is $("$python" -V 2>&1). Name another:  make PYTHON=python3.12"; exit 1; }
"$python" -c 'import ensurepip, venv' 2>/dev/null || need_package python3-venv
# LightGBM, XGBoost and scikit-learn load the system's OpenMP; without it they alone are unavailable.
/sbin/ldconfig -p 2>/dev/null | grep -q 'libgomp\.so\.1' || need_package libgomp1 ||
    say "continuing without libgomp1: LightGBM models will not run"

uv_version="$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)"
[ -x "$venv/bin/python" ] || { say "creating $venv"; "$python" -m venv "$venv"; }
"$venv/bin/uv" --version 2>/dev/null | grep -q "^uv $uv_version" ||
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version"

say "installing what requirements.lock names"
"$venv/bin/uv" pip sync -q --python "$venv/bin/python" --require-hashes requirements.lock
"$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
touch "$venv/.installed"
