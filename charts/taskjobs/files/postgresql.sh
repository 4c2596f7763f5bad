# Starts a PostgreSQL for trials; `ready` asks whether it answers. Makes the database on its first start.
set -eu
for folder in /usr/lib/postgresql/*/bin; do
  [ -d "$folder" ] && PATH="$PATH:$folder"
done
export PATH
if [ "${1:-}" = ready ]; then
  exec pg_isready --quiet --host=127.0.0.1 --dbname=taskjobs
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Made beside its place: a start that was interrupted leaves nothing that looks finished.
  rm -rf "$PGDATA.new"
  (umask 077 && printf '%s\n' "$PASSWORD" >/tmp/password)
  initdb --pgdata="$PGDATA.new" --username=taskjobs --pwfile=/tmp/password --encoding=UTF8 --locale=C \
    --auth-local=reject --auth-host=scram-sha-256
  rm /tmp/password
  echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
  echo 'CREATE DATABASE taskjobs;' | postgres --single -D "$PGDATA.new" postgres
  mv "$PGDATA.new" "$PGDATA"
fi
# A volume that an earlier release left has that release's password.
quoted=$(printf '%s' "$PASSWORD" | sed "s/'/''/g")
printf "ALTER USER taskjobs PASSWORD '%s';\n" "$quoted" | postgres --single -D "$PGDATA" postgres >/dev/null
unset PASSWORD quoted
exec postgres -D "$PGDATA" -c listen_addresses='*' -c "port=$PGPORT" -c unix_socket_directories=/tmp
