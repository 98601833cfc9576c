#!/bin/sh
# Installs Debian packages without starting the services they bring. Run as root: sh install.sh <package>...
set -eu

policy=/usr/sbin/policy-rc.d
mark='# placed by the install.sh of relayd, which removes it when it ends'
ours=

trap '[ -z "$ours" ] || rm -f "$policy"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Package scripts ask this file before they start a service; 101 forbids it. noclobber makes the redirection fail on a
# file that exists: the machine's own policy stays, and only a leftover of a killed run is taken over.
if (set -C; printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy") 2>/dev/null || grep -qsxF "$mark" "$policy"; then
    ours=yes
    chmod 755 "$policy"
fi
if [ ! -x "$policy" ]; then
    echo "cannot write $policy: run this as root" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
# One broken repository in the machine's list must not stop an install that does not need it.
apt-get update </dev/null || echo 'apt-get update failed; going on with the package lists at hand' >&2
apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" </dev/null
