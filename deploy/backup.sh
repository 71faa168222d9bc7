#!/bin/sh
# Back up a home while it is in use: deploy/backup.sh HOME TARGET
#
# The order makes the copy whole without stopping anything: the databases first, since their receipts and runs name
# bundles that are on disk before they are named; then the pointer, whose bundles are on disk before it moves; then the
# rest. With the live records in PostgreSQL, run pg_dump before this.
set -eu

home=${1:?"usage: backup.sh HOME TARGET"}
target=${2:?"usage: backup.sh HOME TARGET"}
python=${PYTHON:-python3}
draft=$target.draft

if [ ! -d "$home" ]; then
    echo "backup: there is no folder $home" >&2
    exit 2
fi
if [ -e "$target" ]; then
    echo "backup: $target is there already" >&2
    exit 2
fi
rm -rf "$draft"
trap 'rm -rf "$draft" "$draft.tar"' EXIT
umask 077
mkdir -p "$draft"

for name in live.db mlflow.db; do
    # One snapshot, whoever writes meanwhile; a copy of the file alone would miss its write-ahead log.
    [ ! -e "$home/$name" ] || "$python" -c '
import sqlite3, sys
source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=60)
source.execute("VACUUM INTO ?", (sys.argv[2],))
copy = sqlite3.connect(sys.argv[2])
found = copy.execute("PRAGMA integrity_check").fetchone()[0]
sys.exit(None if found == "ok" else f"backup: {sys.argv[1]} is damaged: {found}")
' "$home/$name" "$draft/$name"
done
for name in champion.json keys.json; do
    [ ! -e "$home/$name" ] || cp -p "$home/$name" "$draft/$name"
done
(cd "$home" && tar -cf - --exclude='./live.db*' --exclude='./mlflow.db*' --exclude=./champion.json \
    --exclude=./keys.json --exclude=./serve .) >"$draft.tar"
tar -C "$draft" -xpf "$draft.tar"
chmod 700 "$draft"  # whatever the home allows: persons are in it
sync
mv "$draft" "$target"
echo "backup: $home is in $target"
