#!/bin/bash
# What the official MySQL image's entry point does, for Debian's MariaDB: initialise an empty data directory, set
# passwords, create database and user from the environment, run /docker-entrypoint-initdb.d, then become the server.
set -eo pipefail

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock
mkdir -p /run/mysqld
# Debian's mariadb-server-core brings the programs but not the user. Without root on the host (a user namespace with
# one user in it) no other user can be had: the server runs as that one.
user=mysql
{
  id mysql || useradd --system --no-create-home --home-dir /nonexistent --shell /bin/false mysql
  chown mysql:mysql /run/mysqld "$data"
} >/dev/null 2>&1 || user=root
server_options=(--user="$user" --datadir="$data" --socket="$socket" --bind-address=0.0.0.0 --skip-name-resolve
  --pid-file=/run/mysqld/mysqld.pid)

quoted() { printf "%s" "$1" | sed "s/\\\\/\\\\\\\\/g; s/'/\\\\'/g"; }

initialise() {
  : "${MYSQL_ROOT_PASSWORD:?the environment must set MYSQL_ROOT_PASSWORD}"
  echo "entrypoint: initialising $data"
  mariadb-install-db --user="$user" --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null
  mariadbd "${server_options[@]}" --skip-networking &
  local server=$!
  for _ in $(seq 300); do
    /usr/bin/mysqladmin --socket="$socket" --user=root ping >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || { echo "entrypoint: the server did not start" >&2; exit 1; }
    sleep 0.1
  done
  local root_password database name password
  root_password=$(quoted "$MYSQL_ROOT_PASSWORD")
  {
    echo "SET @@SESSION.SQL_LOG_BIN=0;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$root_password';"
    # What mariadb-install-db adds without a password: root by address, and nobody at all.
    echo "DELETE FROM mysql.global_priv WHERE User='' OR (User='root' AND Host<>'localhost');"
    echo "FLUSH PRIVILEGES;"
    echo "CREATE USER IF NOT EXISTS 'root'@'%' IDENTIFIED BY '$root_password';"
    echo "GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;"
    if [ -n "$MYSQL_DATABASE" ]; then
      database=${MYSQL_DATABASE//\`/\`\`}
      echo "CREATE DATABASE IF NOT EXISTS \`$database\` CHARACTER SET utf8mb4;"
    fi
    if [ -n "$MYSQL_USER" ]; then
      name=$(quoted "$MYSQL_USER")
      password=$(quoted "$MYSQL_PASSWORD")
      echo "CREATE USER IF NOT EXISTS '$name'@'%' IDENTIFIED BY '$password';"
      [ -z "$MYSQL_DATABASE" ] || echo "GRANT ALL ON \`$database\`.* TO '$name'@'%';"
    fi
    echo "FLUSH PRIVILEGES;"
  } | /usr/bin/mysql --socket="$socket" --user=root

  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh)
        echo "entrypoint: running $file"
        if [ -x "$file" ]; then "$file"; else . "$file"; fi
        ;;
      *.sql)
        echo "entrypoint: loading $file"
        /usr/bin/mysql --socket="$socket" --user=root --password="$MYSQL_ROOT_PASSWORD" $MYSQL_DATABASE <"$file"
        ;;
    esac
  done
  /usr/bin/mysqladmin --socket="$socket" --user=root --password="$MYSQL_ROOT_PASSWORD" shutdown
  wait "$server"
  # Written last: a run that was cut off half-way is done again from the beginning.
  touch "$data/.initialised"
}

if [ ! -e "$data/.initialised" ]; then
  find "$data" -mindepth 1 -delete
  initialise
fi
echo "entrypoint: starting the server"
exec mariadbd "${server_options[@]}" "$@"
