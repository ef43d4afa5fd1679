#!/bin/sh
# Makes the virtual environment $1 hold exactly what requirements.lock names, plus this package in editable form.
set -eu
venv="$1"

# An interpreter that was compiled without profile-guided optimisation (as version managers do) runs Python code at half
# the speed of a distribution's, which never is: then the system's is taken. PYTHON=… names another.
fast() {
    "$1" -c 'import sys, sysconfig
given = sysconfig.get_config_var("CONFIG_ARGS") or ""
sys.exit(sys.version_info < (3, 11) or not (sys.base_prefix == "/usr" or "--enable-optimizations" in given))' 2>/dev/null
}
choose_python() {
    if ! fast python3 && fast /usr/bin/python3; then echo /usr/bin/python3; else echo python3; fi
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
