#!/bin/sh
# Makes Grafana's password and key in a folder, once; docker-compose.yml runs it before Grafana starts.
set -eu
umask 077
for name in admin_password secret_key; do
  if [ ! -s "$1/$name" ]; then
    head -c 24 /dev/urandom | base64 | tr -d '\n' >"$1/$name.new"
    mv "$1/$name.new" "$1/$name"
  fi
done
if [ "$(id -u)" = 0 ]; then
  chown 472 "$1/admin_password" "$1/secret_key" # the user of Grafana's image
fi
