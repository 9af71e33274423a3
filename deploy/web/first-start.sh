#!/bin/sh
# Makes the desk's token for the page in a folder, once; docker-compose.yml runs it before the web server starts.
set -eu
umask 077
if [ ! -s "$1/desk_token" ]; then
  CROSSMARGIN_WEB_TOKENS="$1/tokens.jsonl" crossmargin web-token add desk --role operator >"$1/desk_token.new"
  mv "$1/desk_token.new" "$1/desk_token"
fi
