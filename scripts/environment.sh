# shellcheck shell=sh
# What ./run and ./test share: an environment of this checkout's own, made from a lock file.
# Sourced by POSIX sh; $root is the checkout.

: "${root:?}"

venv="$root/.venv"
python="$venv/bin/python"

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf '\nerror: %s\n' "$1" >&2
    shift
    for line; do printf '       %s\n' "$line" >&2; done
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

can_install() { is_root && has apt-get; }

# Install Debian packages without asking. Package lists are fetched when they are missing or too old to serve.
apt_install() {
    apt_quietly install --no-install-recommends "$@" && return 0
    apt_quietly update && apt_quietly install --no-install-recommends "$@"
}

# What apt-get says is kept in $apt_said, for whoever fails.
apt_quietly() {
    apt_said="$(DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" \
        2>&1 </dev/null)"
}

# The interpreter to build on: $PYTHON, else the first of these that is 3.11 or newer.
find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
        if has "$candidate" && is_recent "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# prepare LOCKFILE: make .venv hold exactly what the lock file says. Does nothing when it does already.
prepare() {
    lock="$root/$1"
    stamp="$venv/.installed-$1"
    wanted="$(sha256sum <"$lock") $root"
    if [ -x "$python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return 0
    fi
    "$python" -m pip --version >/dev/null 2>&1 || make_venv
    say "Installing packages from $1"
    install_lock || fail "the packages of $1 could not be installed" \
        "See the lines above. They are fetched from the package index that pip is set up for;" \
        "behind a proxy set https_proxy, with an index of your own PIP_INDEX_URL, then try again."
    link_package
    printf '%s\n' "$wanted" >"$stamp"
}

install_lock() {
    "$python" -m pip install --disable-pip-version-check --no-input --quiet --progress-bar off \
        --require-hashes --only-binary :all: --requirement "$lock" </dev/null >&2
}

# The package is used where it lies: a path file and a launcher, no build.
link_package() {
    site="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    printf '%s\n' "$root/src" >"$site/aircheck-checkout.pth"
    printf '#!/bin/sh\nexec "%s" -m aircheck "$@"\n' "$python" >"$venv/bin/aircheck"
    chmod +x "$venv/bin/aircheck"
}

make_venv() {
    base="$(find_python)" || install_python
    say "Making .venv with $("$base" --version 2>&1)"
    rm -rf "$venv"
    "$base" -m venv "$venv" >/dev/null 2>&1 && return 0
    rm -rf "$venv"
    make_venv_without_ensurepip || no_venv
}

# Debian keeps `venv` in a package of its own. Install it, or go around it.
make_venv_without_ensurepip() {
    version="$("$base" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
    if can_install; then
        say "Installing $version-venv"
        apt_install "$version-venv" || apt_install python3-venv || printf '%s\n' "$apt_said" >&2
        "$base" -m venv "$venv" && return 0
        rm -rf "$venv"
    fi
    "$base" -m virtualenv --quiet "$venv" 2>/dev/null && return 0
    { has virtualenv && virtualenv --quiet --python "$base" "$venv" 2>/dev/null; } && return 0
    { has uv && uv venv --quiet --seed --python "$base" "$venv" 2>/dev/null; } && return 0
    "$base" -m venv --without-pip "$venv" 2>/dev/null || return 1
    "$base" -m pip --python "$python" install --quiet pip </dev/null >&2
}

no_venv() {
    rm -rf "$venv"
    fail "this Python cannot make virtual environments: the package $version-venv is missing" \
        "Run:  sudo apt-get install $version-venv    and then the same command again."
}

install_python() {
    can_install || fail "Python 3.11 or newer is needed and was not found" \
        "Debian, Ubuntu:  sudo apt-get install python3 python3-venv" \
        "Another one that is installed elsewhere:  PYTHON=/path/to/python3 $0"
    say "Installing Python"
    apt_install python3 python3-venv || fail "Python could not be installed" "$apt_said"
    base="$(find_python)" || fail "Python 3.11 or newer is needed; this system's packages are older" \
        "Give the path of a newer one:  PYTHON=/path/to/python3 $0"
}
