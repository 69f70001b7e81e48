#!/bin/sh
# Find or install a python3, then let tools/setup.py do the rest.
if ! command -v python3 >/dev/null 2>&1; then
  install="apt-get install -y --no-install-recommends python3 python3-venv python3-dev"
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "The system lacks python3; installing with: $install"
    apt-get update -qq && $install -qq || exit 1
  else
    echo "python3 is missing. Type this, then run the command again:" >&2
    echo "    sudo $install" >&2
    exit 1
  fi
fi
exec python3 "$(dirname "$0")/setup.py"
